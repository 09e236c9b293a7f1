"""Which statements of a notebook give a name its value, for tools/assignments.py."""

import ast

ORDER = {ast.Assign: ("value", "targets"), ast.AugAssign: ("value", "target"), ast.AnnAssign: ("value", "target"),
         ast.For: ("iter", "target", "body", "orelse"),
         ast.comprehension: ("iter", "target", "ifs"), ast.DictComp: ("generators", "key", "value"),
         **dict.fromkeys((ast.ListComp, ast.SetComp, ast.GeneratorExp), ("generators", "elt"))}  # what is evaluated first, first
IMPORTS = (ast.Import, ast.ImportFrom)
CERTAIN = (*IMPORTS, ast.Assign, ast.FunctionDef, ast.ClassDef)  # they give a value whatever was before
SCOPES = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def names(node):
    """Names that code takes from outside, and names that it gives a value to or changes in place: x = 1, x[0] = 1, x.append(1)."""
    reads, binds = set(), set()
    values = [getattr(node, field, None) for field in ORDER.get(type(node), node._fields)]
    for child in (each for value in values for each in (value if isinstance(value, list) else [value]) if isinstance(each, ast.AST)):
        read, bound = names(child)
        reads |= read - binds
        binds |= bound
    if isinstance(node, SCOPES):
        binds = {node.name} if hasattr(node, "name") else set()
    elif isinstance(node, ast.Name):
        (reads if isinstance(node.ctx, ast.Load) else binds).add(node.id)
    elif isinstance(node, ast.arg):
        binds.add(node.arg)
    elif isinstance(node, ast.alias):
        binds.add((node.asname or node.name).split(".")[0])
    elif isinstance(node, ast.AugAssign):
        reads |= names(node.target)[1]
    elif isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
        binds |= root(node)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
        binds |= root(node.value)
    return reads, binds


def root(node):
    """The name x in x.a[0].f(); all names where a chain begins with something else, as in (x + y).f()."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return names(node)[0]


def statements(source):
    """Each statement of a cell: its lines and its syntax tree."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
        yield "\n".join(lines[first - 1:node.end_lineno]), node


def sliced(sources, wanted, given=()):
    """The statements that give the names `wanted` their values, in order, each with all that it needs itself; without the sources `given`."""
    parts = [(text, node, *names(node)) for source in sources for text, node in statements(source)]
    modules = {name for source in (*given, *sources) for _, node in statements(source) if isinstance(node, IMPORTS) for name in names(node)[1]}
    kept, wanted = [], set(wanted)
    for text, node, reads, binds in reversed(parts):
        if wanted & (binds if isinstance(node, IMPORTS) else binds - modules):
            wanted = (wanted - binds if isinstance(node, CERTAIN) else wanted) | reads
            kept.append(text)
    return kept[::-1]
