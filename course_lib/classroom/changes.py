"""Which names' objects a piece of code may change without defining the names anew."""

from __future__ import annotations

import ast


def changed_in_place(code: ast.AST) -> set[str]:
    """Names whose object the code may change: ``a[i] = 1``, ``a.b = 1``, ``a.append(1)``.

    A random generator that is handed on is changed by whoever draws from it.
    """
    found: set[str | None] = set()
    for node in ast.walk(code):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
            found.add(_root(node))
        elif isinstance(node, ast.AugAssign):
            found.add(_root(node.target))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            if isinstance(node.value.func, ast.Attribute):
                found.add(_root(node.value.func))
        if isinstance(node, ast.Call):
            handed = [*node.args, *(keyword.value for keyword in node.keywords)]
            found |= {a.id for a in handed if isinstance(a, ast.Name) and "generator" in a.id}
    return found - {None}


def _root(node: ast.expr) -> str | None:
    """``a`` of ``a.b[0].c``."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def imported_names(code: ast.AST) -> set[str]:
    """Names that it imports: calling a module's function does not change the module."""
    imports = [n for n in ast.walk(code) if isinstance(n, (ast.Import, ast.ImportFrom))]
    aliases = [alias for node in imports for alias in node.names]
    return {alias.asname or alias.name.partition(".")[0] for alias in aliases}
