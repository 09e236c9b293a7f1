"""The course, the documents and an API reference as web pages, from stored outputs and without a network.

    python site/book.py runs/site

Pages are staged in runs/site-source, where they stand as in the repository; Sphinx turns them into runs/site, and book_check.py
goes through the result. A warning of Sphinx or a complaint of the check ends this with status 1.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

from sphinx.cmd.build import build_main

import book_check

ROOT, SITE = Path(__file__).parents[1], Path(__file__).parent
MARKDOWN = ("README.md", "CONTRIBUTING.md", "docs/*.md", "notebooks/*.md", "proxyless_lite/tables/**/README.md")
NOTEBOOKS = ("notebooks/*.ipynb", "notebooks/solutions/*.ipynb")
WIDGET = "application/vnd.jupyter.widget-view+json"
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")  # the target of a relative link, without its anchor
SOLUTIONS = "# Solutions\n\nTry an exercise before you look.\n\n```{toctree}\n:glob:\n:maxdepth: 1\n\n[0-9]*\n```\n"


def found(*patterns):
    return [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]


# -- pages ---------------------------------------------------------------------------------------------------------------


def stage(source):
    """Write what Sphinx reads into the folder `source`."""
    remove(source, "conf.py")
    for name in ("conf.py", "static"):
        (shutil.copytree if (SITE / name).is_dir() else shutil.copy)(SITE / name, write(source / name))
    for path in found(*MARKDOWN):
        write(source / path.relative_to(ROOT)).write_text(linked(path.read_text(), path, source))
    for path in found(*NOTEBOOKS):
        notebook = staged(json.loads(path.read_text()))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = linked("".join(cell["source"]), path, source)
        write(source / path.relative_to(ROOT)).write_text(json.dumps(notebook))
    write(source / "notebooks/solutions/index.md").write_text(SOLUTIONS)
    front = linked((SITE / "index.md").read_text(), ROOT / "index.md", source)
    write(source / "index.md").write_text(front.replace("<!-- course -->", course()))
    for name, text in reference().items():
        write(source / "api" / f"{name}.rst").write_text(text)


def remove(folder, mark):
    """Remove what an earlier build left, known by a file; a folder of something else stays."""
    if folder.exists() and not (folder / mark).exists():
        sys.exit(f"error: {folder} holds something else than a site; name another folder")
    shutil.rmtree(folder, ignore_errors=True)


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def linked(text, path, source):
    """The Markdown of `path`, with links that work in the site. A folder's link leads to its index; a linked file that is no page is staged."""
    for target in LINK.findall(text):
        file = (path.parent / target).resolve()
        if file.is_dir():
            text = text.replace(f"]({target})", f"]({target}/index.md)")
        elif file.is_file() and file.suffix not in (".md", ".ipynb"):
            shutil.copy(file, write(source / file.relative_to(ROOT)))
    return re.sub(r"\]\(#([^)]+)\)", lambda found: f"](#{anchor(found[1])})", text)


def anchor(name):
    """An anchor of JupyterLab, which keeps capitals and marks of a heading, as one of GitHub and of the site."""
    return re.sub(r"[^\w-]", "", name.lower())


def staged(notebook):
    """A notebook as the site shows it: alt texts where myst-nb looks for them, the setup collapsed, no widgets."""
    notebook["metadata"].pop("widgets", None)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell in code:
        tags, shown = cell["metadata"].setdefault("tags", []), cell["metadata"].setdefault("mystnb", {})
        if "parameters" in tags or "notebook.setup(" in "".join(cell["source"]):
            tags.append("hide-input")
            shown["code_prompt_show"] = shown["code_prompt_hide"] = "Parameters" if "parameters" in tags else "Imports and setup"
        for output in cell["outputs"]:
            if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
                shown["image"] = {"alt": alt}
            if output.get("data", {}).pop(WIDGET, None):
                output["data"].pop("text/plain")  # its still picture stays
    return notebook


def course():
    """A table of the notebooks, with the question that each asks."""
    rows = ["| page | question |", "|---|---|"]
    for path in found(NOTEBOOKS[0]):
        header = "".join(json.loads(path.read_text())["cells"][0]["source"])
        question = re.search(r"\*\*Question\.\*\* (.+?)\n\n", header, re.DOTALL)[1]
        rows.append(f"| [{path.stem.replace('_', ' ')}](notebooks/{path.name}) | {' '.join(question.split())} |")
    return "\n".join(rows)


# -- API reference -------------------------------------------------------------------------------------------------------


def modules():
    """Top-level modules in the order of CONTRIBUTING's tree of files, which is the paper's."""
    tree = re.search(r"```\nproxyless_lite/\n(.+?)\n\S", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[1]
    package = ROOT / "proxyless_lite"
    here = lambda name: (package / f"{name}.py").exists() or (package / name / "__init__.py").exists()
    return [name for name in dict.fromkeys(re.findall(r"(\w+)(?:\.py|/)", tree)) if name != "course" and here(name)]


def reference():
    """Name of a page -> its text: first the names of the package itself, then a page for each module."""
    import proxyless_lite as pl
    public = {name: value for name, value in vars(pl).items() if not name.startswith("_") and not isinstance(value, ModuleType)}
    names = [f"{value.__module__.split('.')[1]}.{name}" for name, value in public.items()]
    listed = lambda names: ".. autosummary::\n   :nosignatures:\n\n" + "".join(f"   ~proxyless_lite.{name}\n" for name in names)
    pages = {"index": "\n".join([
        heading("API reference"), "``import proxyless_lite as pl`` offers these names, and the modules below, in the order of the paper.", "",
        listed(names), heading("Modules", "-"), listed(modules()),
        ".. toctree::", "   :hidden:", "", *(f"   {name}" for name in modules()), ""])}
    for name in modules():
        imported = "   :imported-members:\n" if (ROOT / "proxyless_lite" / name).is_dir() else ""
        pages[name] = f"{heading(name)}\n.. automodule:: proxyless_lite.{name}\n   :members:\n{imported}"
    return pages


def heading(text, line="="):
    return f"{text}\n{line * len(text)}\n"


# -- build ---------------------------------------------------------------------------------------------------------------


def build(source, out):
    """Sphinx's exit status; a warning is an error."""
    remove(out, ".buildinfo")
    return build_main(["-W", "--keep-going", "-q", "-b", "html", "-d", f"{source}/.doctrees", str(source), str(out)])


def main(out):
    out = Path(out).resolve()
    source = out.with_name(f"{out.name}-source")
    stage(source)
    status = build(source, out)
    complaints = list(book_check.complaints(out, found(*NOTEBOOKS)))
    for complaint in complaints:
        print(f"error: {complaint}", file=sys.stderr)
    pages = len(list(out.rglob("*.html")))
    print(f"{pages} pages, {sum(p.stat().st_size for p in out.rglob('*') if p.is_file()) / 1e6:.1f} MB: {out.name}/index.html")
    sys.exit(status or bool(complaints))


if __name__ == "__main__":
    main(*sys.argv[1:])
