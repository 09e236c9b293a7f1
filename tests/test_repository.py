"""The repository's own promises: one list of dependencies, one direction of imports, nothing of one machine."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "proxyless_lite"
ORDER = ["runtime", "config", "data", "ops", "mixed_op", "spaces", "activations", "architecture", "supernet", "costs", "zoo", "objective", "limits", "choose", "baselines",
         "export", "latency", "presets", "training", "rules", "search", "ground_truth", "course"]  # each imports only what stands before it
MODULES = {"pillow": "PIL", "scikit-learn": "sklearn", "pyyaml": "yaml", "ipython": "IPython", "jupyterlab": "jupyter lab", "ai-edge-litert": "ai_edge_litert",
           "litert-torch": "litert_torch", "myst-nb": "myst_nb", "sphinx-book-theme": "sphinx_book_theme"}  # distribution -> module
COMMANDS = {"ruff", "mypy", "pre-commit", "pytest-xdist"}  # of developers, called by hand or by hooks


def toml():
    tomllib = pytest.importorskip("tomllib", reason="tomllib comes with Python 3.11")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirement_name(line):
    return re.split(r"[<>=!~\[; ]", line)[0].lower()


def requirements():
    """Group -> its requirements without the package's own extras; the group of what every installation needs is ""."""
    project = toml()["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {group: [line for line in lines if requirement_name(line) != project["name"]] for group, lines in groups.items()}


def test_environment_yml_adds_nothing_to_pyproject():
    project = toml()["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    listed = [d for d in environment["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert f"python{project['requires-python']}" in listed and set(listed) == {f"python{project['requires-python']}", "pip"}
    assert pip == ["-e .[dev]"] and "dev" in project["optional-dependencies"]
    assert environment["name"] == project["name"]


def test_every_dependency_has_a_lower_bound_and_is_used():
    lines = sum(requirements().values(), [])
    assert all(">=" in line and "<" not in line for line in lines) and len(set(lines)) == len(lines)
    files = [p for p in ROOT.rglob("*") if p.suffix in {".py", ".ipynb", ".yml", ".yaml"} and not {".venv", "runs", "build"} & set(p.parts)]
    text = "\n".join(p.read_text() for p in [*files, ROOT / "Makefile", ROOT / "CONTRIBUTING.md"])
    used = {name for name in map(requirement_name, lines) if re.search(rf"\b{MODULES.get(name, name)}\b", text)}
    unused = set(map(requirement_name, lines)) - used - COMMANDS
    assert unused == set()


def imported(path):
    """Names of the packages that a file imports; not those of the package's own modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        yield from (name.split(".")[0] for name in names)


@pytest.mark.parametrize("folders, groups", [
    (["proxyless_lite"], ["", "export", "openvino", "ncnn", "litert"]), (["proxyless_lite/course"], ["", "course"]),
    (["tools", "benchmarks", "site", "tests"], ["", "course", "export", "site", "dev", "browser"])], ids=["package", "course", "the rest"])
def test_everything_that_is_imported_is_declared(folders, groups):
    listed = requirements()
    names = {requirement_name(line) for group in groups for line in listed[group]}
    files = [p for folder in folders for p in (ROOT / folder).rglob("*.py")]
    if "course" not in groups:
        files = [p for p in files if PACKAGE / "course" not in p.parents]
    known = {MODULES.get(name, name) for name in names} | sys.stdlib_module_names | {p.stem for p in files} | {"proxyless_lite"}
    known |= {p.stem for p in (ROOT / "benchmarks").glob("*.py")}
    assert {str(p): found for p in files if (found := set(imported(p)) - known)} == {}


def test_the_workflow_tests_what_is_promised():
    """The oldest versions that it installs are the lower bounds of pyproject.toml, its oldest Python the oldest allowed."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    pythons = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert f">={pythons[0]}" == toml()["project"]["requires-python"]
    bounds = dict(line.split(">=") for line in requirements()[""])
    oldest = dict(line.split("==") for line in (ROOT / ".github/oldest.txt").read_text().splitlines() if not line.startswith("#"))
    assert oldest and all(version.removesuffix(".*") == bounds[name] for name, version in oldest.items())


def imports_of(path):
    """Top-level modules of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            own_package = path.relative_to(PACKAGE).parts[:-1]
            base = own_package[:len(own_package) - node.level + 1]
            yield from [[*base, *(node.module or alias.name).split(".")][0] for alias in node.names]


def test_imports_point_one_way():
    upwards = []
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if module != "__init__":
            upwards += [f"{path.relative_to(PACKAGE)} imports {name}, which stands below it" for name in imports_of(path)
                        if name != module and ORDER.index(name) > ORDER.index(module)]
    assert upwards == []


def test_files_can_be_read_in_a_sitting():
    long = {str(p): n for p in (ROOT / "proxyless_lite").rglob("*.py") if (n := p.read_text().count("\n")) > 300}
    assert long == {}


def test_nothing_names_the_machine_it_was_made_on():
    home = re.compile("|".join(map(re.escape, {str(ROOT.parent) + "/", str(Path.home()) + "/", sys.prefix + "/"} - {"//", "/"})))
    named = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.suffix in {".py", ".md", ".ipynb", ".yml", ".toml", ""}
             and p.is_file() and not {".venv", ".git", "runs"} & set(p.relative_to(ROOT).parts) and home.search(p.read_text(errors="replace"))]
    assert named == []
