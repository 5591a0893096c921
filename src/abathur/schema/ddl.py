"""The parts of a CREATE TABLE statement, as SQLite keeps it in `sqlite_master`.

Only what must be found or cut out is understood: columns and their constraints, and the table's
constraints. Everything else is carried along as it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from attrs import frozen

from abathur.schema.tokens import Token, tokenize, unquoted

# The words that begin a constraint of a column, and of a table.
_OF_COLUMN = tuple(
    "constraint primary not null unique check default collate references generated as".split()  # noqa: SIM905
)
_OF_TABLE = ("constraint", "primary", "unique", "check", "foreign")


@frozen
class Clause:
    """One constraint: `kind` is its first keyword, `start` and `end` are offsets in the text.

    `body` is what is compared: the tokens in its brackets, or a collation's name. `columns` are the
    columns that a key, UNIQUE or FOREIGN KEY names.
    """

    kind: str
    start: int
    end: int
    body: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


@frozen
class Definition:
    """A column (`name`), or what stands between two commas after the columns (`name` is None)."""

    name: str | None
    start: int
    end: int
    clauses: tuple[Clause, ...]

    def of(self, kind: str) -> Iterator[Clause]:
        """Its clauses of one kind."""
        return (clause for clause in self.clauses if clause.kind == kind)


@frozen
class TableText:
    """A CREATE TABLE text in its parts; `name_start` and `name_end` enclose the table's name."""

    sql: str
    name_start: int
    name_end: int
    definitions: tuple[Definition, ...]
    tail: tuple[str, ...]

    @property
    def without_rowid(self) -> bool:
        """Whether the table has no rowid."""
        return "without" in self.tail

    @property
    def autoincrement(self) -> bool:
        """Whether its ids come from `sqlite_sequence`."""
        return any("autoincrement" in clause.body for clause in self.clauses("primary"))

    def column(self, name: str) -> Definition | None:
        """The definition of a column."""
        return next((part for part in self.definitions if part.name == name.lower()), None)

    def clauses(self, kind: str) -> Iterator[Clause]:
        """All clauses of one kind, those of columns and those of the table."""
        return (clause for part in self.definitions for clause in part.of(kind))


@lru_cache(maxsize=256)
def parse(sql: str) -> TableText:
    """Take a CREATE TABLE statement apart."""
    tokens = tokenize(sql)
    opening = next((at for at, token in enumerate(tokens) if token.key == "("), len(tokens))
    name = tokens[opening - 1]
    parts: list[Definition] = []
    at = opening + 1
    while at < len(tokens):
        end = _skip(tokens, at, ",")
        is_over = bool(parts) and parts[-1].name is None
        parts.append(_definition(sql, tokens[at:end], columns_are_over=is_over))
        at = end + 1
        if end >= len(tokens) or tokens[end].key == ")":
            break
    tail = tuple(token.key for token in tokens[at:])
    return TableText(sql, name.start, name.end, tuple(parts), tail)


def _skip(tokens: Sequence[Token], at: int, stop: str) -> int:
    """The position of the next `stop`, or of the bracket that closes what `at` stands in."""
    depth = 0
    while at < len(tokens):
        key = tokens[at].key
        if depth == 0 and key in (stop, ")"):
            return at
        depth += (key == "(") - (key == ")")
        at += 1
    return at


def _definition(sql: str, tokens: Sequence[Token], *, columns_are_over: bool) -> Definition:
    start, end = tokens[0].start, tokens[-1].end
    if columns_are_over or tokens[0].is_word(*_OF_TABLE):
        return Definition(None, start, end, tuple(_clauses(sql, tokens, _OF_TABLE)))
    name = unquoted(sql[tokens[0].start : tokens[0].end]).lower()
    return Definition(name, start, end, tuple(_clauses(sql, tokens[1:], _OF_COLUMN)))


def _clauses(sql: str, tokens: Sequence[Token], openers: Sequence[str]) -> Iterator[Clause]:
    at = 0
    while at < len(tokens) and not tokens[at].is_word(*openers):
        # What stands before the first clause is a type, perhaps VARCHAR(20).
        at = _skip(tokens, at + 2, ")") + 1 if _opens(tokens, at + 1) else at + 1
    while at < len(tokens):
        begin = at
        if tokens[at].is_word("constraint"):
            at += 2
        if at >= len(tokens):
            return
        end = _end_of(tokens, at, openers)
        yield _clause(sql, tokens[at:end], tokens[begin].start)
        at = end


def _opens(tokens: Sequence[Token], at: int) -> bool:
    return at < len(tokens) and tokens[at].key == "("


def _end_of(tokens: Sequence[Token], at: int, openers: Sequence[str]) -> int:
    """Where the clause that begins at `at` ends: before the next one, outside of brackets."""
    kind = tokens[at].key
    at += 1
    if kind == "default" and not _opens(tokens, at):
        at += 2 if tokens[at].key in ("+", "-") else 1  # a word may follow that looks like a clause: NULL
    elif kind in ("not", "generated"):
        at = next((p for p in range(at, len(tokens)) if tokens[p].is_word("null", "as")), at) + 1
    while at < len(tokens):
        token, before = tokens[at], tokens[at - 1]
        if token.key == "(":
            at = _skip(tokens, at + 1, ")")
        elif token.is_word(*openers) and not _continues(tokens, at, before, kind):
            return at
        at += 1
    return at


def _continues(tokens: Sequence[Token], at: int, before: Token, kind: str) -> bool:
    """Whether an opening word belongs to the clause before it: ON DELETE SET NULL, NOT DEFERRABLE."""
    if kind not in ("references", "foreign"):
        return False
    follows = tokens[at + 1] if at + 1 < len(tokens) else None
    return before.is_word("set") or (
        tokens[at].is_word("not") and follows is not None and follows.is_word("deferrable")
    )


def _clause(sql: str, tokens: Sequence[Token], start: int) -> Clause:
    kind, end = tokens[0].key, tokens[-1].end
    opening = next((at for at, token in enumerate(tokens) if token.key == "("), None)
    if kind in ("check", "as", "generated") and opening is not None:
        closing = _skip(tokens, opening + 1, ")")
        body = tuple(token.key for token in tokens[opening + 1 : closing])
    else:
        body = tuple(token.key for token in tokens[1:])
    columns: tuple[str, ...] = ()
    if kind in ("primary", "unique", "foreign") and opening is not None:
        listed = tokens[opening + 1 : _skip(tokens, opening + 1, ")")]
        columns = tuple(
            unquoted(sql[token.start : token.end]).lower()
            for at, token in enumerate(listed)
            if at == 0 or listed[at - 1].key == ","
        )
    return Clause("generated" if kind == "as" else kind, start, end, body, columns)
