"""The part of a notebook that one of its cells needs: a backward slice by names.

From the cell's last statement one goes back to the statements that define, or change in place, what
it reads, and so on. What nobody needs is not run: figures, prints, other experiments.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from course_lib.classroom.changes import changed_in_place, imported_names


@dataclass
class Names:
    """What a statement reads before it defines it, defines, and changes in place."""

    reads: set[str] = field(default_factory=set)
    defines: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)


def names_of(statement: ast.stmt) -> Names:
    """The global names of one statement of a cell."""
    names = Names(changes=changed_in_place(statement))
    for part in _in_order(statement):
        reads, defines = _of_statement(part)
        names.reads |= reads - names.defines
        names.defines |= defines
    return names


def _in_order(statement: ast.stmt) -> Iterator[ast.stmt]:
    """A loop or a block as the simple statements that run one after the other."""
    if isinstance(statement, (ast.For, ast.AsyncFor)):
        yield ast.Assign([statement.target], statement.iter, lineno=1)
    elif isinstance(statement, (ast.While, ast.If)):
        yield ast.Expr(statement.test)
        yield from _kept(statement)
    elif isinstance(statement, (ast.With, ast.AsyncWith)):
        for item in statement.items:
            given, name = item.context_expr, item.optional_vars
            yield ast.Assign([name], given, lineno=1) if name else ast.Expr(given)
    elif isinstance(statement, ast.AugAssign):
        # ``a += 1`` reads a
        yield ast.Expr(_loaded(statement.target))
        yield statement
        return
    elif isinstance(statement, ast.Try):
        yield from _kept(statement)
    else:
        yield statement
        return
    handlers = [inner for one in getattr(statement, "handlers", ()) for inner in one.body]
    for block in (statement.body, handlers, getattr(statement, "orelse", ()),
                  getattr(statement, "finalbody", ())):  # fmt: skip
        for inner in block:
            yield from _in_order(inner)


def _kept(branch: ast.stmt) -> Iterator[ast.stmt]:
    """Reads of what a branch defines: if it is not taken, the earlier value stays."""
    for name in sorted(_of_statement(branch)[1]):
        yield ast.Expr(ast.Name(name))


def _loaded(target: ast.expr) -> ast.expr:
    return ast.parse(ast.unparse(target), mode="eval").body


def _of_statement(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """Globals that a statement reads and defines; what a function reads counts as read."""
    reads, defines = set(), set()
    tables = [symtable.symtable(ast.unparse(statement), "<cell>", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            if not (top or symbol.is_global()):
                continue
            if symbol.is_referenced():
                reads.add(symbol.get_name())
            if symbol.is_assigned() or symbol.is_imported():
                defines.add(symbol.get_name())
    return reads, defines


def statements_of(source: str) -> list[ast.stmt]:
    """A cell's statements, with IPython's own as calls; none if it is not Python."""
    try:
        return ast.parse(TransformerManager().transform_cell(source)).body
    except SyntaxError:
        return []


def slice_for(cells: Sequence[NotebookNode], targets: Sequence[int]) -> dict[int, str]:
    """The part of a notebook that the last statements of the cells `targets` need.

    Parameters
    ----------
    cells : sequence of cells
        All cells of the notebook.
    targets : sequence of int
        Numbers of cells.

    Returns
    -------
    dict of int to str
        Number of a cell to the statements to run of it, in order. Set-up cells are whole;
        exercises' stubs and checks are left out, and so are prints and figures nobody needs.
    """
    units: list[tuple[int, ast.stmt]] = []
    todo: list[int] = []
    for index, cell in enumerate(cells[: max(targets) + 1]):
        tags = set(cell.metadata.get("tags", ()))
        if cell.cell_type != "code" or tags & {"exercise-stub", "exercise-check", "launch"}:
            continue
        own = [(index, statement) for statement in statements_of(cell.source)]
        if "setup" in tags:
            todo += range(len(units), len(units) + len(own))
        units += own
        if index in targets and own:
            todo.append(len(units) - 1)
    modules = {name for _, statement in units for name in imported_names(statement)}
    names = [names_of(statement) for _, statement in units]
    _share_changes([statement for _, statement in units], names)
    chosen: set[int] = set()
    while todo:
        unit = todo.pop()
        if unit not in chosen:
            chosen.add(unit)
            for name in names[unit].reads:
                todo += _sources(name, names, unit, modules)
    parts: dict[int, list[str]] = {}
    for unit in sorted(chosen):
        index, statement = units[unit]
        parts.setdefault(index, []).append(ast.unparse(statement))
    return {index: "\n".join(lines) for index, lines in parts.items()}


def _share_changes(statements: Sequence[ast.stmt], names: Sequence[Names]) -> None:
    """Who calls a function that changes something, such as a generator, changes it, too."""
    inside: dict[str, set[str]] = {}
    for statement, own in zip(statements, names, strict=True):
        for function in own.reads & inside.keys():
            own.changes |= inside[function]
        if isinstance(statement, ast.FunctionDef):
            own.changes &= own.reads  # the rest are names of the function's own
            inside[statement.name] = own.changes


def _sources(name: str, names: Sequence[Names], before: int, modules: set[str]) -> list[int]:
    """The last statement before `before` that defines `name`, and those that change it since.

    A function may read what a later statement defines: if no earlier one does, nor the function's
    own statement, any counts.
    """
    found = []
    for unit in range(before - 1, -1, -1):
        if name in names[unit].defines:
            return [*found, unit]
        if name in names[unit].changes and name not in modules:
            found.append(unit)
    if found or name in names[before].defines:
        return found
    return [u for u in range(before + 1, len(names)) if name in names[u].defines]
