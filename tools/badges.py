"""Write Colab and Binder badges into the README and the notebooks, and what Colab must fetch, from the repository's address.

    python tools/badges.py                                # the remote "origin" of this clone
    python tools/badges.py --repository owner/name

Run again, it replaces what it wrote before. The repository must be public on GitHub.
"""

import re
import subprocess
from pathlib import Path

import nbformat

from proxyless_lite.cli import OneLineParser, run

SETUP = """\
# Google Colab: fetch the course and what it needs. Anywhere else the next five lines do nothing.
import os, subprocess, sys
if "COLAB_RELEASE_TAG" in os.environ and not os.path.exists("/content/{name}"):
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", "https://github.com/{repository}", "/content/{name}"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-e", "/content/{name}"], check=True)
    sys.path.insert(0, "/content/{name}")  # pip's own entry counts only from the next start on

"""


def repository_of(address):
    """The "owner/name" of a GitHub address. Raises ValueError for another one."""
    match = re.search(r"github\.com[:/]+([\w.-]+/[\w.-]+?)(?:\.git)?/?$", address)
    if not match:
        raise ValueError(f"the remote origin is {address!r}, no repository on GitHub; give its name: make badges REPOSITORY=owner/name")
    return match[1]


def badges(repository, branch, notebook):
    """One line of Markdown: open this notebook in Colab, or in Binder."""
    colab = f"https://colab.research.google.com/github/{repository}/blob/{branch}/notebooks/{notebook}"
    binder = f"https://mybinder.org/v2/gh/{repository}/{branch}?labpath=notebooks%2F{notebook}"
    return (f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) "
            f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder})")


def under_title(text, line):
    """`text` with `line` below its title, in the place of badges that are there."""
    title, _, rest = text.partition("\n")
    rest = re.sub(r"^\[!\[Open in Colab.*\n?", "", rest.lstrip(), count=1)
    return f"{title}\n\n{line}\n\n{rest.lstrip()}"


def mark(path, repository, branch):
    """Write the badge of one notebook, and the lines for Colab above the imports, which are in its second code cell."""
    notebook = nbformat.read(path, 4)
    header, _, imports = notebook.cells[:3]
    header.source = under_title(header.source, badges(repository, branch, path.name))
    setup = SETUP.format(repository=repository, name=repository.split("/")[1])
    imports.source = setup + re.sub(r"\A# Google Colab:.*?\n\n", "", imports.source, flags=re.S)
    nbformat.write(notebook, path)


def git(root, *words):
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True).stdout.strip()


def main(arguments=None, root=Path(__file__).parents[1]):
    cli = OneLineParser(prog="python tools/badges.py", description="Write Colab and Binder badges.", allow_abbrev=False)
    cli.add_argument("--repository", default="", help="owner/name on GitHub; default: the remote origin of this clone")
    cli.add_argument("--branch", default="main")
    args = cli.parse_args(arguments)
    repository = args.repository or repository_of(git(root, "remote", "get-url", "origin"))
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"--repository {repository!r} is no owner/name, for example someone/proxyless_lite")
    readme = root / "README.md"
    readme.write_text(under_title(readme.read_text(), badges(repository, args.branch, "00_start_here.ipynb")))
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        mark(path, repository, args.branch)
    print(f"badges for {repository}, branch {args.branch}")


if __name__ == "__main__":
    run(main)
