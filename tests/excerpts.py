"""What a widget needs of its notebook: the few statements above it on which its cell depends."""

import ast
from itertools import chain

import nbformat

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}


def excerpt(page, cell):
    """A notebook of two cells: what cell number `cell` of a hygiene.Page depends on, and that cell.

    Walks backwards and keeps each statement that sets, or calls a method of, a name that is needed so far.
    """
    above = list(chain.from_iterable(tree.body for i, tree in page.trees if i < cell))
    (tree,) = [tree for i, tree in page.trees if i == cell]
    needed, kept = loaded(tree), []
    for statement in reversed(above):
        if changes(statement) & needed or "notebook.setup" in ast.unparse(statement):
            kept.insert(0, ast.unparse(statement))
            needed |= loaded(statement)
    return of("\n".join(kept), page.cells[cell][1].source)


def of(*sources):
    return nbformat.v4.new_notebook(metadata=KERNEL, cells=[nbformat.v4.new_code_cell(source) for source in sources])


def loaded(tree):
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def changes(statement):
    """Names that a statement binds, or whose object it changes by an index, an attribute or a method called for its effect."""
    names = set()
    for node in ast.walk(statement):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(a.asname or a.name).split(".")[0] for a in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
            names.add(base(node))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
            names.add(base(node.value.func))
    return names


def base(node):
    """The name at the root of a.b[c].d, or None."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None
