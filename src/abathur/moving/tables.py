"""Which tables are moved, in which order, and what of a database would be left behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any, Final

from attrs import frozen

from abathur.moving.values import Values
from abathur.schema.declare import Column, Schema, Table
from abathur.schema.found import META, Found
from abathur.schema.inspect import inspect
from abathur.schema.render import quoted
from abathur.schema.tables import WORKERS
from abathur.script import Built, Row, Script

ELSEWHERE: Final = frozenset({META, WORKERS.name})
"""Tables that are not copied as they are: the stamp has rows about its own place, and runners that are
started again on the target announce themselves."""


@frozen
class Moving:
    """A declared table whose rows are moved."""

    table: Table

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @cached_property
    def declared(self) -> tuple[Column, ...]:
        """The columns that are copied: all that are declared, except those that the database computes."""
        return tuple(column for column in self.table.columns if column.generated is None)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(column.name for column in self.declared)

    @property
    def key(self) -> tuple[str, ...]:
        """The columns by which its rows are read in pages; none for a table without a key."""
        return self.table.key

    @property
    def numbered(self) -> str | None:
        """The column whose numbers the database gives out, if there is one."""
        if len(self.key) != 1:
            return None
        (column,) = (one for one in self.table.columns if one.name == self.key[0])
        return column.name if column.type.upper() == "INTEGER" and column.postgres is None else None

    @property
    def never_again(self) -> bool:
        """Whether a number that was given out is not given out again when its row is gone."""
        return any(column.autoincrement for column in self.table.columns)

    @cached_property
    def values(self) -> Callable[[Row], Values]:
        """Takes the values of a row, by name."""
        if len(self.columns) == 1:
            (only,) = self.columns
            return lambda row: (row[only],)
        return itemgetter(*self.columns)


def moving(schemas: Sequence[Schema]) -> tuple[Moving, ...]:
    """The tables to move: those that others refer to come before those."""
    left = [table for schema in schemas for table in schema.tables if table.name not in ELSEWHERE]
    ordered: list[Table] = []
    while left:
        waiting = {table.name for table in left}
        # Where tables refer to each other in a circle, the first one goes ahead and the database says so.
        following = next((table for table in left if not _parents(table) & waiting), left[0])
        ordered.append(following)
        left.remove(following)
    return tuple(map(Moving, ordered))


def _parents(table: Table) -> set[str]:
    single = {column.references.table for column in table.columns if column.references is not None}
    return (single | {key.table for key in table.foreign_keys}) - {table.name}


@frozen
class LeftBehind:
    """Something that is not copied."""

    name: str
    """A table, or a column as ``table.column``."""
    rows: int | None
    """How many rows it has, or of a column, how many of them hold something; None for a virtual table,
    which is not looked into."""
    declared: bool = False
    """Whether the program declares it: a virtual table, which the program fills again."""

    def __str__(self) -> str:
        rows = "1 row" if self.rows == 1 else f"{self.rows or 0:,} rows"
        return f"{self.name} ({'virtual' if self.rows is None else rows})"


def left_behind(dialect: str, schemas: Sequence[Schema]) -> Script[tuple[LeftBehind, ...]]:
    """What the database holds that is not declared, and would not be copied; empty tables are not named."""
    found = yield from inspect(dialect, schemas)
    declared = {table.name: Moving(table) for schema in schemas for table in schema.tables}
    virtual = {table.name for schema in schemas for table in schema.virtual_tables}
    left = [
        LeftBehind(thing.name, None, thing.name.lower() in virtual)
        for thing in found.objects
        if thing.kind == "virtual"
    ]
    for name in _strange_tables(found, set(declared)):
        rows = yield from _count(f"SELECT count(*) AS n FROM {quoted(name)}")
        left.append(LeftBehind(name, rows))
    for name, there in sorted(found.tables.items()):
        if name not in declared or name in ELSEWHERE:
            continue
        for column in there.columns.values():
            if column.name.lower() in declared[name].columns or column.hidden:
                continue
            sql = f"SELECT count({quoted(column.name)}) AS n FROM {quoted(there.name)}"
            left.append(LeftBehind(f"{name}.{column.name}", (yield from _count(sql))))
    return tuple(one for one in left if one.rows != 0)


def _strange_tables(found: Found, declared: set[str]) -> list[str]:
    """Ordinary tables that nobody declares, without those in which virtual tables keep their rows."""
    shadows = tuple(f"{thing.name.lower()}_" for thing in found.objects if thing.kind == "virtual")
    names = [thing.name for thing in found.objects if thing.kind == "table"]
    return sorted(
        name for name in names if name.lower() not in declared and not name.lower().startswith(shadows)
    )


def _count(sql: str) -> Script[Any]:
    return (yield Built(sql))[0]["n"]
