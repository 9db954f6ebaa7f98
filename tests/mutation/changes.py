"""The changes that are made to a module, one at a time."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Change", "changes", "marked"]

_COMPARED: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
_REPLACED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Change:
    """One change: in which function, in words, and the code of the module that has it."""

    function: str
    words: str
    code: Any


def changes(source: str, path: str) -> Iterator[Change]:
    """All of them. What a function says in words is left as it is; so is what runs at import."""
    tree = ast.parse(source, path)
    zeros = frozenset(_zeros(tree))
    future = [
        each
        for each in tree.body
        if isinstance(each, ast.ImportFrom) and each.module == "__future__"
    ]
    for statement in tree.body:
        # The rest of the module is as it was, and would take its time to be compiled each time.
        own = ast.Module([*future, statement], [])
        for function, parts in _functions(own, ""):
            told: Counter[str] = Counter()
            for shown, apply, undo in _edits_of(parts, zeros):
                before = shown()
                apply()
                words = f"{before} -> {shown()}"
                code = compile(ast.fix_missing_locations(own), path, "exec", dont_inherit=True)
                undo()
                told[words] += 1
                again = f" ({told[words]})" if told[words] > 1 else ""
                yield Change(function, " ".join(words.split()) + again, code)


def _zeros(tree: ast.Module) -> Iterator[str]:
    """The module's own names for 0: to take it away and to add it are the same."""
    for statement in tree.body:
        if not isinstance(statement, ast.Assign):
            continue
        for target in statement.targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            value = statement.value
            values = value.elts if isinstance(value, ast.Tuple) else [value]
            for name, each in zip(names, values, strict=False):
                if isinstance(name, ast.Name) and ast.unparse(each) == "0":
                    yield name.id


def marked(source: str, path: str, mark: str) -> Any:
    """The code of the module in which each function first calls `mark`, with its own name."""
    tree = ast.parse(source, path)
    for name, function in _named_functions(tree, ""):
        for each in ast.walk(function):
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                called = ast.Call(ast.Name(mark, ast.Load()), [ast.Constant(name)], [])
                each.body.insert(0, ast.copy_location(ast.Expr(called), each.body[0]))
    return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


_Part = tuple[ast.AST, tuple[ast.AST, str, int] | None]


def _functions(node: ast.AST, inside: str) -> Iterator[tuple[str, list[_Part]]]:
    """Functions and methods that stand in a module or class, with the parts to be changed."""
    for name, function in _named_functions(node, inside):
        yield name, list(_parts(function))


def _named_functions(
    node: ast.AST, inside: str
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _named_functions(child, f"{inside}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{inside}{child.name}", child
        elif isinstance(child, ast.If | ast.Try):
            yield from _named_functions(child, inside)


def _parts(function: ast.AST) -> Iterator[_Part]:
    """Every node below a function; statements that may go are told with their place."""
    waiting: list[_Part] = []
    for field in ("body", "orelse", "finalbody"):
        for index, statement in enumerate(getattr(function, field, [])):
            if isinstance(statement, ast.stmt):
                waiting.append((statement, (function, field, index)))
    for statement, place in waiting:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # a docstring
        goes = isinstance(statement, ast.Expr | ast.AugAssign | ast.Delete) or (
            isinstance(statement, ast.Assign)
            and all(isinstance(each, ast.Attribute | ast.Subscript) for each in statement.targets)
        )
        yield statement, place if goes else None
        yield from _parts(statement)
        for handler in [*getattr(statement, "handlers", []), *getattr(statement, "cases", [])]:
            yield from _parts(handler)
        yield from ((each, None) for each in _expressions(statement))


def _expressions(statement: ast.AST) -> Iterator[ast.AST]:
    """The expressions of a statement, without those of statements within it."""
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            continue
        if isinstance(child, ast.JoinedStr | ast.arguments | ast.arg):
            continue
        if getattr(child, "arg", "") == "strict" and ast.unparse(statement).startswith("zip("):
            continue  # it asserts that lengths are alike, and does nothing else
        if isinstance(statement, ast.AnnAssign) and child is statement.annotation:
            continue
        if isinstance(statement, ast.Raise):
            continue
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue  # its annotations; what it does comes with its body
        yield child
        yield from _expressions(child)


# What is changed in words, the change, and the way back.
_Edit = tuple[Callable[[], str], Callable[[], object], Callable[[], object]]


def _edits_of(parts: list[_Part], zeros: frozenset[str]) -> Iterator[_Edit]:
    for part, place in parts:
        match part:
            case ast.BinOp(op=ast.Add() | ast.Sub(), right=ast.Name(id=name)) if name in zeros:
                edits = []
            case _:
                edits = list(_edits(part))
        if place is not None:
            edits.append(_left_out(part, *place))
        yield from edits


def _edits(node: ast.AST) -> Iterator[_Edit]:
    """What may be changed in this very node."""
    match node:
        case ast.Compare(ops=ops):
            for at, kind in enumerate(ops):
                for other in _COMPARED[type(kind)]:
                    yield _item(node, ops, at, other())
        case ast.BinOp(op=kind) | ast.AugAssign(op=kind) if type(kind) in _REPLACED:
            yield _attribute(node, "op", _REPLACED[type(kind)]())
        case ast.BoolOp(op=kind):
            yield _attribute(node, "op", ast.Or() if isinstance(kind, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            # A double negation is true of what the operand is true of.
            yield _attribute(node, "operand", ast.UnaryOp(ast.Not(), operand))
        case ast.UnaryOp(op=ast.USub()):
            yield _attribute(node, "op", ast.UAdd())
        case ast.Constant(value=bool(value)):
            yield _attribute(node, "value", not value)
        case ast.Constant(value=int(value)) | ast.Constant(value=float(value)):
            yield _attribute(node, "value", value + 1)
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            if not isinstance(test, ast.Compare | ast.UnaryOp | ast.Constant):
                yield _attribute(node, "test", ast.UnaryOp(ast.Not(), test), shown="test")
        case ast.Call(func=ast.Name(id=name) as called) if name in _SWAPPED:
            yield _attribute(called, "id", _SWAPPED[name], of=node)
        case ast.Return(value=value) if ast.unparse(value or node) not in ("None", "return"):
            yield _attribute(node, "value", ast.Constant(None))


def _attribute(
    node: Any, name: str, value: Any, shown: str = "", of: ast.AST | None = None
) -> _Edit:
    before = getattr(node, name)

    def words() -> str:
        return ast.unparse(getattr(node, shown) if shown else of or node)

    return words, lambda: setattr(node, name, value), lambda: setattr(node, name, before)


def _item(node: ast.AST, items: list[Any], at: int, value: Any) -> _Edit:
    before = items[at]

    def put(value: Any) -> Callable[[], object]:
        return lambda: items.__setitem__(at, value)

    return lambda: ast.unparse(node), put(value), put(before)


def _left_out(statement: Any, parent: ast.AST, field: str, index: int) -> _Edit:
    body = getattr(parent, field)
    nothing = ast.copy_location(ast.Pass(), statement)

    def put(value: ast.AST) -> Callable[[], object]:
        return lambda: body.__setitem__(index, value)

    return lambda: ast.unparse(body[index]), put(nothing), put(statement)
