"""Rows in pages, in the order of a table's key: how they are read, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from attrs import define, field, frozen

from abathur.errors import UnmovableValueError
from abathur.moving.tables import Moving
from abathur.moving.values import Values, unfit
from abathur.schema.render import quoted
from abathur.schema.types import type_on_postgres
from abathur.script import Built, Script

MOST: Final = 2_000
"""Rows that one transaction copies at most. Each is synced: with 500 it takes more than twice as long."""
FIRST: Final = 200
"""Rows of a table's first page, before it is known how large they are."""
SIZE: Final = 4 * 1024 * 1024
"""Characters and bytes that a page should have: all of it is in memory, and some rows have half a million."""
PARAMETERS: Final = 1_500
"""Values that one statement takes at most. The same text serves all pages, so a server prepares it once,
if it is short enough to be kept."""
AT: Final = "abathur_at"
"""The name under which the place of a row is read, of a table without a key."""
PLACES: Final = {
    # What tells a row of a table without a key: the value to read, to compare with a stored one, to order by.
    "sqlite": ("_rowid_", "?", "_rowid_"),
    "postgres": ("CAST(ctid AS text)", "CAST(CAST(? AS text) AS tid)", "ctid"),
}

Key = tuple[Any, ...]


@define
class Pace:
    """How many rows the next page of a table may have, from how large those of the last one were."""

    limit: int = field(factory=lambda: min(FIRST, MOST))

    def look(self, rows: Sequence[Values]) -> None:
        """Adapt to a page."""
        size = sum([len(value) for row in rows for value in row if isinstance(value, (str, bytes))])
        self.limit = min(MOST, max(len(rows) * SIZE // max(size, 1), 1))


@frozen
class Page:
    """Some rows of a table, one after the other by its key."""

    rows: Sequence[Values]
    last: Key
    """The key of the last one, after which the next page begins."""


def read(moving: Moving, dialect: str, after: Key | None, limit: int) -> Script[Page]:
    """So many rows after a key, or the first ones. The page is empty where there are no more.

    Raises UnmovableValueError for a row without a key, after which no page could begin.
    """
    names = [quoted(name) for name in moving.columns]
    order = ", ".join(quoted(name) for name in moving.key)
    begin = f"({order}) > ({', '.join('?' * len(moving.key))})"
    if not moving.key:
        place, given, order = PLACES[dialect]
        names.append(f"{place} AS {AT}")
        begin = f"{order} > {given}"
    where = "" if after is None else f" WHERE {begin}"
    sql = f"SELECT {', '.join(names)} FROM {quoted(moving.name)}{where} ORDER BY {order} LIMIT ?"
    rows = yield Built(sql, [*(after or ()), limit], damaged=True)
    if not rows:
        return Page((), ())
    keys = [tuple(row[name] for name in moving.key or (AT,)) for row in (rows[0], rows[-1])]
    if any(value is None for value in keys[0]):  # NULL sorts first
        raise UnmovableValueError(moving.name, keys[0], moving.key[keys[0].index(None)], "NULL, as a key")
    return Page([moving.values(row) for row in rows], keys[1])


def check(moving: Moving, page: Page, dialect: str) -> None:
    """Raise UnmovableValueError for a value that a database of this dialect cannot hold."""
    found = unfit(moving.declared, page.rows, dialect)
    if found is not None:
        row, column, problem = found
        places = [moving.columns.index(name) for name in moving.key]
        key = tuple(page.rows[row][place] for place in places)
        raise UnmovableValueError(moving.name, key, moving.columns[column], problem)


def write(moving: Moving, rows: Sequence[Values]) -> Script[None]:
    """Insert rows, many with one statement."""
    into = f"INSERT INTO {quoted(moving.name)} ({', '.join(map(quoted, moving.columns))}) VALUES "
    one = f"({', '.join('?' * len(moving.columns))})"
    at_once = max(PARAMETERS // len(moving.columns), 1)
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        yield Built(into + ", ".join([one] * len(some)), [value for row in some for value in row])


def count(moving: Moving) -> Script[int]:
    """How many rows the table has."""
    (row,) = yield Built(f"SELECT count(*) AS n FROM {quoted(moving.name)}")
    return int(row["n"])


_NUMBER: Final = "typeof({0}) IN ('real', 'integer', 'null')"
_FITS: Final = {
    "bigint": "typeof({0}) IN ('integer', 'null')",
    "text": "typeof({0}) IN ('text', 'null') AND NOT coalesce(instr({0}, char(0)), 0)",
    "bytea": "typeof({0}) IN ('blob', 'null')",
    "double precision": _NUMBER,
    "numeric": _NUMBER,
}


def suspects(moving: Moving) -> Script[Page]:
    """The first row of an SQLite table with a value that PostgreSQL cannot hold, found without copying."""
    forms = [(column, _FITS.get(type_on_postgres(column))) for column in moving.declared]
    checks = [form.format(quoted(column.name)) for column, form in forms if form is not None] or ["true"]
    names = ", ".join(map(quoted, moving.columns))
    sql = f"SELECT {names} FROM {quoted(moving.name)} WHERE NOT ({' AND '.join(checks)}) LIMIT 1"
    rows = yield Built(sql, damaged=True)
    return Page([moving.values(row) for row in rows], ())
