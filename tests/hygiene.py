"""The rules of the course's notebooks. A rule is a function of a Page that yields one complaint for each place that breaks it."""

import ast
import inspect
import io
import re
from contextlib import redirect_stdout
from functools import cached_property
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from proxyless_lite.course import checks, widgets

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))
SECTIONS = ("## The idea", "## By hand", "## The module's own code", "## Exercises",
            "## What the paper or its code did differently", "## Next")
FIGURE = re.compile(r"\*Figure( \d+[^:*]*)?: .+?\*\s+\*\*Takeaway:\*\* \S", re.DOTALL)
WIDGET = "application/vnd.jupyter.widget-view+json"
MACHINE = re.compile(r"(?<![\w.…])(/(home|Users|root|tmp|work|private/var)/|[A-Z]:\\)|site-packages")


class Page:
    """A notebook as the rules see it: cells by number, source without code that is quoted, syntax trees, outputs."""

    def __init__(self, path):
        self.path, self.name = Path(path), Path(path).stem
        self.notebook = nbformat.read(path, 4)
        self.cells = list(enumerate(self.notebook.cells))
        self.code = [(i, c) for i, c in self.cells if c.cell_type == "code"]
        self.markdown = [(i, c) for i, c in self.cells if c.cell_type == "markdown"]

    def at(self, cell, message):
        return f"{self.path.parent.name}/{self.path.name}, cell {cell}: {message}"

    @cached_property
    def trees(self):
        """(cell number, syntax tree) of each code cell; magics become calls."""
        return [(i, ast.parse(TransformerManager().transform_cell(c.source))) for i, c in self.code]

    def calls(self, module):
        """(cell number, call) of each `module.name(…)`."""
        return [(i, node) for i, tree in self.trees for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name) and node.func.value.id == module]

    def heading(self, line):
        """Number of the cell that holds this line of markdown; None where no cell does."""
        return next((i for i, c in self.markdown if line in prose(c.source).splitlines()), None)


def prose(source):
    """Markdown without code, whose brackets are no links and whose # are no headings."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", source, flags=re.DOTALL)


def printed(cell):
    return [line for o in cell.outputs if o.output_type == "stream" for line in o.text.splitlines() if line.strip()]


def pictures(cell):
    return [o for o in cell.outputs if "image/png" in o.get("data", {}) and WIDGET not in o["data"]]


def compared(cell):
    """Whether nbval compares the outputs of this cell with the stored ones."""
    return not {"nbval-ignore-output", "nbval-skip"} & set(cell.metadata.get("tags", []))


# -- every notebook ----------------------------------------------------------------------------------------------------


def valid(page):
    try:
        nbformat.validate(page.notebook)
    except nbformat.ValidationError as error:
        yield page.at("?", f"not valid: {error.message}")


def kernel(page):
    if page.notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield page.at("?", "the kernel's name must be python3, which every machine has")


def counts(page):
    for wanted, (i, cell) in enumerate(page.code, 1):
        if cell.execution_count != wanted:
            yield page.at(i, f"execution count {cell.execution_count} in place of {wanted}; run make refresh")


def errors(page):
    for i, cell in page.code:
        for output in cell.outputs:
            if output.output_type == "error":
                yield page.at(i, f"stored error {output.ename}")


def short_cells(page):
    for i, cell in page.code:
        if (lines := len(cell.source.splitlines())) > 25:
            yield page.at(i, f"{lines} lines; at most 25")


def checks_apart(page):
    """Asserts are for the tests: in cells of their own, which slides and the site leave out."""
    for i, tree in page.trees:
        asserts = [isinstance(statement, ast.Assert) for statement in tree.body]
        if any(asserts) and not all(asserts):
            yield page.at(i, "an assert beside other code; give it a cell of its own, tagged remove-cell")
        elif any(asserts) and "remove-cell" not in page.cells[i][1].metadata.get("tags", []):
            yield page.at(i, "a cell of asserts without the tag remove-cell")


def narrow(page):
    """Code is read on a page, of 100 columns."""
    for i, cell in page.code:
        if long := [line for line in cell.source.splitlines() if len(line) > 100]:
            yield page.at(i, f"{len(long)} lines of more than 100 columns")


def small_file(page):
    if (size := page.path.stat().st_size) >= 500_000:
        yield page.at("?", f"{size:,} bytes; must stay under 500,000")


def no_machine(page):
    """No path of the machine that stored the notebook, in text, outputs or metadata."""
    def texts(value):
        if isinstance(value, dict):
            return [t for key, v in value.items() if key != "image/png" for t in texts(v)]
        return [t for v in value for t in texts(v)] if isinstance(value, list) else [str(value)]
    for i, part in [*page.cells, ("metadata", page.notebook.metadata)]:
        for text in texts(part):
            if found := MACHINE.search(text):
                yield page.at(i, f"names a path of a machine: …{text[max(0, found.start() - 20):found.end() + 20]}…")


def no_semicolon(page):
    for i, cell in page.code:
        if any(line.rstrip().endswith(";") for line in cell.source.splitlines()):
            yield page.at(i, "a line ends with ;")


def comparable(page):
    """Nothing in compared cells that differs from run to run."""
    for i, cell in page.code:
        data = [o.get("data", {}) for o in cell.outputs] if compared(cell) else []
        for what, varies in (("SVG", any("image/svg+xml" in d for d in data)),
                             ("a widget", any(WIDGET in d for d in data)),
                             ("a Styler", any('id="T_' in "".join(d.get("text/html", "")) for d in data))):
            if varies:
                yield page.at(i, f"{what} in a cell whose output is compared; tag it nbval-ignore-output")


def figures(page):
    """Every figure has an alt text and, in the cell below it, a caption with a takeaway."""
    for i, cell in page.code:
        shown = pictures(cell)
        if len(shown) > 1:
            yield page.at(i, f"{len(shown)} figures in one cell; one caption cannot belong to all")
        for output in shown:
            if not output.metadata.get("image/png", {}).get("alt", "").strip():
                yield page.at(i, "a figure without alt text; make it with a @described function of plots, then run make refresh")
        below = page.cells[i + 1][1] if i + 1 < len(page.cells) else None
        if shown and not (below and below.cell_type == "markdown" and FIGURE.match(below.source)):
            yield page.at(i, "no cell below the figure begins *Figure: what is drawn.* **Takeaway:** one sentence.")


def images(page):
    for i, cell in page.markdown:
        if re.search(r"!\[\s*\]\(|<img(?![^>]*\salt=\"[^\"]+\")", prose(cell.source)):
            yield page.at(i, "an image in markdown without alt text")


def links(page):
    for i, cell in page.markdown:
        for target in broken_links(cell.source, page.path):
            yield page.at(i, f"broken link {target}")


def broken_links(markdown, path):
    """Relative links of `markdown`, a text of file `path`, that name no file of the repository or no heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:href|src)=\"([^\"]+)\"", prose(markdown)):
        target = "".join(target)
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path.resolve()
        inside = file.is_relative_to(ROOT) or file.is_relative_to(path.parent.resolve())
        if not file.exists() or not inside or anchor and anchor not in anchors(file):
            yield target


def anchors(file):
    """The anchors of a file's headings: JupyterLab joins words by hyphens, GitHub also drops case and punctuation."""
    text = file.read_text()
    if file.suffix == ".ipynb":
        cells = nbformat.reads(text, 4).cells
        text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    headings = [h.strip() for h in re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)]
    if file.suffix == ".ipynb":
        return {h.replace(" ", "-") for h in headings}
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


# -- course notebooks --------------------------------------------------------------------------------------------------


def header(page):
    first = page.cells[0][1].source
    for part, pattern in ((f"# {page.name[:2]} · the question in short", rf"\A# {page.name[:2]} · \S"),
                          ("**Question.** …", r"^\*\*Question\.\*\* \S"),
                          ("**You will** and a list", r"^\*\*You will\*\*.*\n+[*-] "), ("**Paper** …", r"\*\*Paper\*\* \S"),
                          ("**Before** …", r"\*\*Before\*\* \S")):
        if not re.search(pattern, first, re.MULTILINE):
            yield page.at(0, f"the header lacks {part}")
    rows = runtimes(page)
    for preset in ("quick", "lesson", "paper"):
        if not rows.get(preset) or "…" in rows[preset]:
            yield page.at(0, f"the table | preset | … | runtime | says nothing about `{preset}`")


def runtimes(page):
    """What the table of the header says in its column runtime: preset -> text."""
    lines = [line for line in page.cells[0][1].source.splitlines() if line.startswith("|")]
    rows = [[cell.strip(" `") for cell in line.strip("| ").split("|")] for line in lines]
    if not rows or rows[0][0] != "preset" or not rows[0][-1].startswith("runtime"):
        return {}
    return {row[0]: row[-1] for row in rows[2:]}


def parameters(page):
    """One cell tagged parameters, of literals with a type and a comment; setup names exactly these."""
    tagged = [(i, c) for i, c in page.code if "parameters" in c.metadata.get("tags", [])]
    if len(tagged) != 1 or tagged[0][0] != 1:
        yield page.at(1, f"must be the one cell tagged parameters; cells so tagged: {[i for i, _ in tagged]}")
        return
    lines, values = tagged[0][1].source.splitlines(), {}
    for statement in ast.parse(tagged[0][1].source).body:
        try:
            values[statement.targets[0].id] = value = ast.literal_eval(statement.value)
            typed = isinstance(value, (str, bool, int, float)) and len(statement.targets) == 1
        except (AttributeError, ValueError):
            typed = False
        if not typed:
            yield page.at(1, f"{ast.unparse(statement)} is no assignment of a string, number or truth value")
        elif "#" not in lines[statement.end_lineno - 1][statement.end_col_offset:]:
            yield page.at(1, f"{ast.unparse(statement)} has no comment behind it; papermill --help-notebook shows it")
    if values.get("preset") != "quick":
        yield page.at(1, 'preset must be "quick" by default')
    setups = [call for i, call in page.calls("notebook") if call.func.attr == "setup" and i == 2]
    if len(setups) != 1 or sorted(ast.literal_eval(a) for a in setups[0].args) != sorted(values):
        yield page.at(2, f"notebook.setup must name {', '.join(values)} here")


def predict_first(page):
    asked = [(i, c) for i, c in page.markdown if "**Predict first.**" in c.source]
    if not asked:
        yield page.at("?", "no **Predict first.** prompt")
    for i, cell in asked:
        if not re.search(r"\*\*Predict first\.\*\*.*<details>\s*<summary>.+?</summary>.+?</details>", cell.source, re.DOTALL):
            yield page.at(i, "a prompt without <details><summary>An answer</summary> … </details>")
        if not any(later > i and not calls_check(c) for later, c in page.code):
            yield page.at(i, "a prompt with no run after it")


def sections(page):
    places = [page.heading(line) for line in SECTIONS]
    for line, place in zip(SECTIONS, places):
        if place is None:
            yield page.at("?", f"no section {line}")
    found = [(place, page.cells[place][1].source.find(line), line) for place, line in zip(places, SECTIONS) if place is not None]
    if found != sorted(found):
        yield page.at(min(found)[0], f"sections in another order: {', '.join(line for *_, line in sorted(found))}")
    if not any(call.func.attr == "source" for _, call in page.calls("notebook")):
        yield page.at("?", "notebook.source shows none of the module's own code")
    last = page.heading("## Next")
    if last is not None and not re.search(r"\]\([^)]+\)", page.cells[last][1].source.split("## Next")[1]):
        yield page.at(last, "## Next has no link")


def has_figure(page):
    if not any(pictures(c) for _, c in page.code):
        yield page.at("?", "no figure")


def static_before_widget(page):
    """Above a widget stands a picture by one of its plot functions, for who reads without a kernel."""
    for i, call in page.calls("widgets"):
        functions = plots_of(getattr(widgets, call.func.attr)) if hasattr(widgets, call.func.attr) else set()
        drawn = {other.func.attr for j, other in page.calls("plots") if j < i and pictures(page.cells[j][1])}
        if not functions & drawn:
            yield page.at(i, f"no static figure above widgets.{call.func.attr}: plots.{' or plots.'.join(sorted(functions))}")
    for i, cell in page.code:
        if any(WIDGET in o.get("data", {}) and "image/png" not in o["data"] for o in cell.outputs):
            yield page.at(i, "no still picture in place of the widget")


def plots_of(function):
    """Names of the plot functions that a function of `widgets` calls, itself or through others of that module."""
    own = {name: f for name, f in inspect.getmembers(widgets, callable) if f.__module__ == widgets.__name__}
    names, seen, todo = set(), set(), [function]
    while todo:
        seen.add(one := todo.pop())
        nodes = list(ast.walk(ast.parse(inspect.getsource(one))))
        names |= {n.attr for n in nodes if isinstance(n, ast.Attribute) and getattr(n.value, "id", None) == "plots"}
        todo += [own[n.id] for n in nodes if isinstance(n, ast.Name) and n.id in own and own[n.id] not in seen]
    return names


def exercises(page):
    """Numbered from 1, at least two with a check that has no answer yet, the last one open."""
    first, last = page.heading("## Exercises"), page.heading("## What the paper or its code did differently")
    if first is None or last is None:
        return  # `sections` complains
    numbers, checked = [], {}
    for i, cell in page.cells[first:last + 1]:
        if cell.cell_type == "markdown":
            numbers += map(int, re.findall(r"^\*\*(\d+)\.\*\*", cell.source, re.MULTILINE))
        elif calls_check(cell) and numbers:
            checked[numbers[-1]] = cell
            if not printed(cell) or any("no answer yet" not in line for line in printed(cell)):
                yield page.at(i, 'a check must print "no answer yet" until the reader has put an answer in place of None')
    if numbers != list(range(1, len(numbers) + 1)):
        yield page.at(first, f"exercises numbered {numbers}")
    if len(checked) < 2:
        yield page.at(first, f"{len(checked)} exercises with a check; at least two")
    if numbers and numbers[-1] in checked:
        yield page.at(last, "the last exercise must be open, without a check")


def calls_check(cell):
    return re.search(r"\bchecks\.\w+\(", cell.source) is not None


def has_solution(page):
    solution = page.path.parent / "solutions" / page.path.name
    if not solution.exists():
        yield page.at("?", f"no solutions/{page.path.name}")
        return
    asked, solved = ({call.func.attr for _, call in p.calls("checks")} for p in (page, Page(solution)))
    for name in sorted(asked - solved):
        yield page.at("?", f"solutions/{page.path.name} does not call checks.{name}")


# -- solutions ---------------------------------------------------------------------------------------------------------


def says_right(page):
    """Below each check stands "right" for all that it asks; the cell may print its computation too."""
    for i, call in page.calls("checks"):
        for asked in asks(getattr(checks, call.func.attr)):
            if f"{asked}: right" not in printed(page.cells[i][1]):
                yield page.at(i, f"checks.{call.func.attr} does not print '{asked}: right'")


def asks(check):
    """What a check asks for: the names in the lines that it prints while there is no answer."""
    said = io.StringIO()
    with redirect_stdout(said):
        check(*[None] * len(inspect.signature(check).parameters))
    return [line.removesuffix(": no answer yet") for line in said.getvalue().splitlines()]


def computed(page):
    """Answers are computed, not written down."""
    def literal(node):
        return isinstance(node, (ast.Constant, ast.UnaryOp)) and not any(isinstance(n, ast.Name) for n in ast.walk(node))
    assigned = {}
    for _, tree in page.trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                assigned.setdefault(node.targets[0].id, []).append(node.value)
    for i, call in page.calls("checks"):
        for answer in call.args:
            values = assigned.get(answer.id, [answer]) if isinstance(answer, ast.Name) else [answer]
            if all(map(literal, values)):
                yield page.at(i, f"{ast.unparse(answer)} is written down; compute it")


# -- the checks themselves ---------------------------------------------------------------------------------------------


def checks_by_notebook(source):
    """Public functions of `checks` below each line `# -- NN title ---`: "02" -> names."""
    found, section = {}, None
    for line in source.splitlines():
        if title := re.match(r"# -- (\d\d) ", line):
            section = title[1]
        elif line.startswith('"""'):
            section = None  # another module begins
        elif section and (function := re.match(r"def ([a-z]\w*)\(", line)):
            found.setdefault(section, []).append(function[1])
    return found


def unused_checks(source, pages, tests):
    """Checks that their notebook or its solution does not call, or that the text `tests`, of tests/test_checks*.py, does not name."""
    for number, names in checks_by_notebook(source).items():
        for name in names:
            for folder in ("notebooks", "solutions"):
                here = [p for p in pages if p.name.startswith(number) and p.path.parent.name == folder]
                if not any(call.func.attr == name for p in here for _, call in p.calls("checks")):
                    yield f"checks.{name} is not used in {folder}/{number}_*.ipynb"
            if not re.search(rf"\bchecks\.{name}\b", tests):
                yield f"checks.{name} is not tested in tests/test_checks.py"


EVERYWHERE = (valid, kernel, counts, errors, short_cells, small_file, no_machine, no_semicolon, comparable,
              figures, images, links)
COURSE = (header, parameters, predict_first, sections, has_figure, static_before_widget, exercises, has_solution, checks_apart, narrow)
SOLUTION = (says_right, computed)


def complaints(path):
    """All complaints about a notebook of the course, or of its folder solutions."""
    page = Page(path)
    rules = EVERYWHERE + (SOLUTION if page.path.parent.name == "solutions" else COURSE)
    return [complaint for rule in rules for complaint in rule(page)]
