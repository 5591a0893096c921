"""The small faults that are put into a module, each as the whole text of the changed module.

A mutant changes one place: a comparison is turned or moved by one, `and` and `or` change places, a
`not` or a statement is missing, a condition is turned, a number is one more or one less. Texts,
annotations and docstrings are left as they are: what they say is no behaviour.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterator
from typing import Final

from attrs import frozen

COMPARISONS: Final[dict[type[ast.cmpop], tuple[str, ...]]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
ARITHMETIC: Final[dict[type[ast.operator], str]] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "+",
    ast.FloorDiv: "*",
    ast.Div: "*",
}
HAS_ITS_OWN: Final = (ast.Compare, ast.Constant, ast.UnaryOp)
"""Conditions that are turned by a fault of their own."""


@frozen
class Mutant:
    """One fault in one module."""

    path: str
    """The module, relative to the root of the repository."""
    line: int
    was: str
    """The source of the place."""
    now: str
    source: str
    """The whole text of the changed module."""

    @property
    def key(self) -> str:
        """The same for the same fault in the same text, whenever it is made."""
        return hashlib.sha256(f"{self.path}\0{self.source}".encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: `{_short(self.was)}` -> `{_short(self.now)}`"


def mutants(path: str, source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines; each differs from all others."""
    tree = ast.parse(source)
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    data = source.encode()
    found: dict[str, Mutant] = {}
    for node, now in _changes(tree, lambda node: _text(data, starts, node)):
        begin, end = _span(starts, node)
        text = (data[:begin] + now.encode() + data[end:]).decode()
        try:
            changed = ast.dump(ast.parse(text)) != ast.dump(tree)
        except SyntaxError:
            continue
        if changed:
            line = node.lineno  # type: ignore[attr-defined]
            found.setdefault(text, Mutant(path, line, data[begin:end].decode(), now, text))
    return sorted(found.values(), key=lambda mutant: (mutant.line, mutant.was, mutant.now))


def _changes(tree: ast.Module, text: Callable[[ast.AST], str]) -> Iterator[tuple[ast.AST, str]]:
    """(node, new source of the node) for every fault."""
    for node in _behaviour(tree):
        match node:
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                for other in COMPARISONS.get(type(operator), ()):
                    yield node, f"({text(left)} {other} {text(right)})"
            case ast.BoolOp(op=operator, values=values):
                word = "or" if isinstance(operator, ast.And) else "and"
                yield node, "(" + f" {word} ".join(f"({text(value)})" for value in values) + ")"
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                yield node, f"({text(operand)})"
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in ARITHMETIC:
                yield node, f"({text(left)} {ARITHMETIC[type(operator)]} {text(right)})"
            case ast.Constant(value=bool(value)):
                yield node, str(not value)
            case ast.Constant(value=int() | float() as value):
                yield node, f"({value + 1})"
                yield node, f"({value - 1})"
            case ast.IfExp(test=test, body=body, orelse=orelse):
                yield node, f"({text(orelse)} if {text(test)} else {text(body)})"
            case ast.If(test=test) | ast.While(test=test) if not isinstance(test, HAS_ITS_OWN):
                yield test, f"(not ({text(test)}))"
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
                yield node, "pass"
            case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break():
                yield node, "pass"
            case ast.Return(value=value) if value is not None and not _is_none(value):
                yield node, "return None"
            case ast.comprehension(ifs=[condition]):
                yield condition, "True"
            case _:
                pass


def _behaviour(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but docstrings, other lone texts, imports and annotations."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom():
                continue
            case ast.arg() | ast.JoinedStr():
                continue
            case ast.AnnAssign(value=value):
                if value is not None:
                    yield value
                    yield from _behaviour(value)
                continue
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                for part in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
                    yield part
                for part in node.body:
                    if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)):
                        yield part
                        yield from _behaviour(part)
                continue
            case _:
                yield node
                yield from _behaviour(node)


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _span(starts: list[int], node: ast.AST) -> tuple[int, int]:
    """Where the node's source begins and ends, in bytes; columns of `ast` are bytes too."""
    place = node
    return (
        starts[place.lineno - 1] + place.col_offset,  # type: ignore[attr-defined]
        starts[place.end_lineno - 1] + place.end_col_offset,  # type: ignore[attr-defined]
    )


def _text(data: bytes, starts: list[int], node: ast.AST) -> str:
    begin, end = _span(starts, node)
    return data[begin:end].decode()


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 70 else line[:67] + "..."
