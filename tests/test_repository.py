"""The repository's own promises: one list of dependencies, one direction of imports, nothing of one machine."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ORDER = ["frozen", "ops", "mixed_op", "spaces", "runtime", "cli", "download", "released", "architecture", "export", "zoo", "supernet",
         "latency", "objective", "baselines", "folders", "augment", "batches", "resident", "streams", "packed", "data", "presets", "rules",
         "loop", "search", "training", "ground_truth", "paper", "plots", "widgets", "checks", "notebook"]  # each may import only what stands before it


def pyproject():
    tomllib = pytest.importorskip("tomllib", reason="tomllib comes with Python 3.11")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirement_name(line):
    return re.split(r"[<>=!~\[; ]", line)[0].lower()


def test_environment_yml_adds_nothing_to_pyproject():
    project = pyproject()
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    listed = [d for d in environment["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert f"python{project['requires-python']}" in listed and set(listed) == {f"python{project['requires-python']}", "pip"}
    assert pip == ["-e .[dev]"] and "dev" in project["optional-dependencies"]
    assert environment["name"] == project["name"]


def test_every_dependency_has_a_lower_bound_and_is_used():
    project = pyproject()
    lines = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    assert all(">=" in line and "<" not in line for line in lines)
    text = "\n".join(p.read_text() for p in ROOT.rglob("*") if p.suffix in {".py", ".ipynb", ".yml"} and ".venv" not in p.parts)
    text += (ROOT / "Makefile").read_text()
    imported = {"pillow": "PIL", "scikit-learn": "sklearn", "pyyaml": "yaml", "ipython": "IPython", "jupyterlab": "jupyter lab"}
    unused = [name for name in map(requirement_name, lines) if not re.search(rf"\b{imported.get(name, name)}\b", text)]
    assert unused == []


def test_everything_that_is_imported_is_declared():
    project = pyproject()
    module = {"pillow": "PIL", "scikit-learn": "sklearn", "pyyaml": "yaml", "ipython": "IPython"}
    names = map(requirement_name, project["dependencies"] + sum(project["optional-dependencies"].values(), []))
    files = [p for folder in ("proxyless_lite", "tools", "benchmarks", "tests") for p in (ROOT / folder).rglob("*.py")]
    known = {module.get(name, name) for name in names} | sys.stdlib_module_names | {p.stem for p in files} | {"proxyless_lite"}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            found = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert {name.split(".")[0] for name in found} <= known, f"{path.name} imports {found}"


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            own_package = path.relative_to(ROOT / "proxyless_lite").parts[:-1]
            base = own_package[:len(own_package) - node.level + 1]
            yield from [[*base, node.module.split(".")[0]][0]] if node.module else [[*base, a.name][0] for a in node.names]


def test_imports_point_one_way():
    for path in (ROOT / "proxyless_lite").rglob("*.py"):
        module = path.relative_to(ROOT / "proxyless_lite").with_suffix("").parts[0]
        if module in ("__init__",):
            continue
        for imported in imports_of(path):
            if imported != module and imported in ORDER:
                assert ORDER.index(imported) < ORDER.index(module), f"{path.name} imports {imported}, which stands below it"


def test_files_can_be_read_in_a_sitting():
    long = {str(p): n for p in (ROOT / "proxyless_lite").rglob("*.py") if (n := p.read_text().count("\n")) > 300}
    assert long == {}


def test_nothing_names_the_machine_it_was_made_on():
    home = re.compile("|".join(map(re.escape, {str(ROOT.parent) + "/", str(Path.home()) + "/", sys.prefix + "/"} - {"//", "/"})))
    named = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.suffix in {".py", ".md", ".ipynb", ".yml", ".toml", ""}
             and p.is_file() and not {".venv", ".git", "runs"} & set(p.relative_to(ROOT).parts) and home.search(p.read_text(errors="replace"))]
    assert named == []
