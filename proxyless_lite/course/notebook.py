"""What the notebooks need: setup, the package's source on the page, a check of the environment, and runs under papermill.

    python -m proxyless_lite.course.notebook notebooks/03_cifar10_search.ipynb --out runs/x -p preset lesson
"""

import ast
import importlib.metadata
import inspect
import json
import math
import os
import re
import shutil
import statistics
import sys
import tempfile
import textwrap
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import papermill
import torch
from IPython import get_ipython
from IPython.display import Markdown
from papermill.exceptions import PapermillExecutionError

from .. import presets, runtime
from ..runtime import cli
from . import plots
from .controls import png

DATA = runtime.TABLES  # the small tables that come with the course
CHECKOUT = Path(__file__).parents[2]
SWITCH = {**dict.fromkeys(("true", "yes", "on", "1"), True), **dict.fromkeys(("false", "no", "off", "0"), False)}


def setup(*names):
    """Start a notebook: refuse unknown parameters and presets, set the figure style, one thread for "quick". Returns the folder to write to.

    `names` are the notebook's parameters. papermill only warns of a misspelt -p and uses the default; here it is a
    ValueError. The folder is the parameter `out`, or a temporary one if that is empty.
    """
    scope = get_ipython().user_ns
    for cell in scope["In"]:
        if cell.startswith("# Parameters"):  # papermill's own first line
            check_parameters(cell, names)
    if "preset" in scope:
        presets.experiment(scope["preset"])
        if scope["preset"] == "quick":
            torch.set_num_threads(1)  # its tensors are small: more threads cost time, above all on a shared machine
    plt.rcParams.update(plots.STYLE)
    get_ipython().display_formatter.formatters["image/png"].for_type(plots.Figure, with_alt_text)
    out = Path(scope.get("out") or tempfile.mkdtemp(prefix="proxyless_lite-"))
    out.mkdir(parents=True, exist_ok=True)
    return out


def with_alt_text(figure):
    """For IPython: the PNG of a figure, and its description."""
    return png([figure]), {"alt": figure.get_label()}


def check_parameters(cell, names):
    """Raises ValueError for a name assigned in papermill's parameter cell that is not one of `names`."""
    given = [target.id for line in ast.parse(cell).body if isinstance(line, ast.Assign) for target in line.targets]
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"unknown parameter {', '.join(unknown)}; allowed: {', '.join(names)}")


def source(*objects):
    """The source of the package's functions, methods or classes, as the last value of a cell."""
    return Markdown("\n".join(f"```python\n{textwrap.dedent(inspect.getsource(o)).rstrip()}\n```" for o in objects))


def check_environment():
    """Print what this machine offers and what is missing. Returns True if the notebooks can run."""
    good = True
    for name, least in (("torch", "2.6"), ("torchvision", "0.21"), ("papermill", "2.6"), ("jupyterlab", "4.2")):
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "none"
        if release(found) >= release(least):
            print(f"  ok    {name} {found}")
        else:
            good = False
            print(f"  MISS  {name}: {found} here; install {name}>={least}, or run make setup")
    print(f"  ok    {runtime.processor()}, {os.cpu_count()} cores, threads used: {torch.get_num_threads()}")
    gpu = torch.cuda.is_available()
    print(f"  {'ok   ' if gpu else 'note '} {torch.cuda.get_device_name() if gpu else 'no CUDA GPU: quick and lesson run on the CPU, paper needs one'}")
    root = runtime.default_root()
    found = [name for name in ("cifar10", "cifar-10-batches-py") if (root / name).is_dir()]
    shown = root.relative_to(CHECKOUT) if root.is_relative_to(CHECKOUT) else root
    print(f"  {'ok   ' if found else 'note '} CIFAR-10 {'in' if found else 'not yet in'} {shown} (quick does not need it)")
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    print(f"  {'ok   ' if free > 2 else 'note '} {free:.0f} GB of disk free")
    return good


def release(version):
    """The part of a version that is compared: "2.6.1+cpu" -> [2, 6]."""
    return [int(part) for part in re.findall(r"\d+", version)[:2]]


def run(notebook, out, parameters):
    """Execute a notebook with papermill into folder `out`, printing its output as it comes. Returns the executed file.

    `parameters` are texts; one whose default is a text stays one, the others are read as Python. Raises ValueError for a text where the
    default is a number, or is True or False.
    """
    out, known = Path(out).resolve(), papermill.inspect_notebook(str(notebook))
    given = {name: like(known.get(name, {}).get("default"), name, text) for name, text in parameters.items()}
    if "out" in known:
        given["out"] = str(out)
    executed = out / Path(notebook).name
    if executed == Path(notebook).resolve():
        raise ValueError(f"{executed} is the notebook itself, and would be replaced; give another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    with own_kernel():
        papermill.execute_notebook(str(notebook), str(executed), parameters=given, kernel_name="python3",
                                   log_output=True, progress_bar=False, stdout_file=sys.stdout, stderr_file=sys.stderr)
    return executed


@contextmanager
def own_kernel():
    """Within it a kernel called python3 runs in this interpreter, whatever other environments call theirs."""
    before = os.environ.get("JUPYTER_PATH")
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "kernels/python3/kernel.json"
        spec.parent.mkdir(parents=True)
        command = [sys.executable, "-m", "ipykernel_launcher", "--log-level=ERROR", "-f", "{connection_file}"]  # no warning of its local port
        spec.write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}))
        os.environ["JUPYTER_PATH"] = os.pathsep.join([folder, *filter(None, [before])])
        try:
            yield
        finally:
            os.environ.pop("JUPYTER_PATH") if before is None else os.environ.update(JUPYTER_PATH=before)


def summary(result):
    """The last lines of `make search`, from the content of result.json."""
    accuracies = [100 * a for a in result["random_accuracies"]]
    spread = " % (one of equal cost, "
    if len(accuracies) > 1:
        spread = f" ± {statistics.stdev(accuracies):.2f} % ({len(accuracies)} of equal cost, mean ± sd, "
    others = f"{statistics.mean(accuracies):.2f}{spread}trained alike)" if accuracies else "none of equal cost was found"
    return "\n".join([
        f"found network ({result['params']:,} params, {result['macs']:,} MACs):", result["network"],
        f"test accuracy   {100 * result['test_accuracy']:.2f} %",
        f"random networks {others}", *difference(result, accuracies),
        f"search {runtime.clock(result['search_seconds'])}, training {runtime.clock(result['train_seconds'])} "
        f"({result['dataset']}, preset {result['preset']}, seed {result['seed']})"])


def difference(result, accuracies):
    """A line on whether the found network differs by more than chance explains, where result.json has the number of test images: by the
    choice of these, or by how random networks differ, whichever is more."""
    if not (n := result.get("test_images")) or not accuracies:
        return []
    mean = statistics.mean(accuracies)
    p = (mean * n / 100 + 1) / (n + 2)  # Laplace's estimate: twenty right answers of twenty do not show that none is ever wrong
    variance = max(100 ** 2 * p * (1 - p) / n, statistics.variance(accuracies) if len(accuracies) > 1 else 0)
    by, chance = 100 * result["test_accuracy"] - mean, 2 * math.sqrt(variance * (1 + 1 / len(accuracies)))  # two standard errors
    says = "more than" if abs(by) > chance else "no more than"
    return [f"difference      {by:+.2f} points, {says} chance gives with {n:,} test images and {len(accuracies)} random networks (± {chance:.2f})"]


def parser():
    line = cli.OneLineParser(prog="python -m proxyless_lite.course.notebook", allow_abbrev=False,
                             description="Execute a notebook and report its result.")
    line.add_argument("notebook")
    line.add_argument("--out", required=True, help="run folder; run again with the same one to resume")
    line.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a parameter of the notebook")
    return line


def is_text(default):
    """Whether the default of a parameter, as papermill found it in the notebook, is a text."""
    return isinstance(default, str) and isinstance(typed(default), str) and default[:1] in ("'", '"')


def like(default, name, text):
    """The value of a parameter, of the kind of its default, which papermill tells as it is written in the notebook."""
    if is_text(default):
        return text
    usual, value = typed(str(default)), typed(text)
    if isinstance(usual, bool):
        value = SWITCH.get(text.strip().lower())
        if value is None:
            raise ValueError(f"-p {name} {text}: give True or False")
    elif isinstance(usual, (int, float)) and isinstance(value, str):
        raise ValueError(f"-p {name} {text}: give a number, like {default}")
    return value


def typed(text):
    """A parameter as Python reads it: 3, 50.5, False, None, a list, a dict; anything else is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main(arguments=None):
    args = parser().parse_args(arguments)
    result = Path(args.out) / "result.json"
    written = lambda: result.exists() and result.stat().st_mtime_ns  # noqa: E731
    before = written()
    try:
        executed = run(args.notebook, args.out, dict(args.p))
    except PapermillExecutionError as error:
        sys.exit(f"error: {error.ename}: {error.evalue} (cell {error.exec_count} of {Path(args.out) / Path(args.notebook).name})")
    print()
    if written() != before:  # else it is from another run
        print(summary(json.loads(result.read_text())))
        print(f"result   {result}")
    print(f"notebook {executed}")


if __name__ == "__main__":
    cli.run(main)
