"""Values on their way into another database: what it can hold, and the digest by which rows are compared."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

from abathur.schema.declare import Column
from abathur.schema.types import type_on_postgres

Values: TypeAlias = tuple[Any, ...]
"""The values of a row, in the order of the table's declared columns."""

MODULUS: Final = 1 << 256

_NUMBERS: Final = frozenset({float, int, Decimal, type(None)})
_HELD: Final[dict[str, frozenset[type]]] = {
    "bigint": frozenset({int, type(None)}),
    "text": frozenset({str, type(None)}),
    "bytea": frozenset({bytes, type(None)}),
    "double precision": _NUMBERS,
    "numeric": _NUMBERS,
}
"""What a column of PostgreSQL holds."""
_SQLITE: Final = _NUMBERS | {bool, str, bytes}
"""What every column of SQLite holds. Decimals are made floats."""
_SAID: Final = {int: "a whole number", float: "a number with a fraction", str: "text", bytes: "bytes"}
_ALIKE: Final = frozenset({int, str, bytes, type(None)})
"""Types whose values are written alike wherever they come from."""


def unfit(columns: Sequence[Column], rows: Sequence[Values], dialect: str) -> tuple[int, int, str] | None:
    """The first value that a database of the dialect cannot hold: its row, its column, and what it is.

    Columns are looked at as a whole, which costs little; rows only in one where something may be wrong.
    """
    if not rows:
        return None
    for at, (column, values) in enumerate(zip(columns, zip(*rows, strict=True), strict=True)):
        # What an application's own type for PostgreSQL holds, only the server knows.
        held = _HELD.get(type_on_postgres(column)) if dialect == "postgres" else _SQLITE
        if not _is_suspect(held, values):
            continue
        for row, value in enumerate(values):
            problem = _problem(held, value)
            if problem is not None:
                return row, at, problem
    return None


def _is_suspect(held: frozenset[type] | None, values: Values) -> bool:
    types = set(map(type, values))
    if not types <= _ALIKE or (held is not None and not types <= held):
        return True
    if str not in types:
        return False
    joined = "".join([value for value in values if type(value) is str])
    return not joined.isascii() or "\0" in joined


def _problem(held: frozenset[type] | None, value: Any) -> str | None:
    if held is not None and type(value) not in held:
        return _SAID.get(type(value), type(value).__name__)
    if isinstance(value, (float, Decimal)) and math.isnan(value):
        return "NaN, which is no number"
    if isinstance(value, Decimal) and held is _SQLITE and not _is_kept(value):
        return "a number with more digits than SQLite keeps"
    if not isinstance(value, str):
        return None
    if held is not _SQLITE and "\0" in value:
        return "text with the character NUL"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "text that is no UTF-8"
    return None


def _is_kept(value: Decimal) -> bool:
    number = plain(value)
    if isinstance(number, int):
        return -(2**63) <= number < 2**63
    return value in (Decimal(number), Decimal(repr(number)))


def plain(value: Any) -> Any:
    """A number as every database gives it back: whole ones without a fraction, others as a float."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return int(value) if whole else float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def digest(rows: Sequence[Values]) -> int:
    """A number for these rows, whatever their order: those of two parts are added, modulo MODULUS.

    A number has the same digest whether a database keeps it with a fraction or without.
    """
    columns = enumerate(zip(*rows, strict=True))
    numbers = [place for place, values in columns if not _ALIKE.issuperset(map(type, values))]
    total = 0
    for row in rows:
        values: Values = _plain(row, numbers) if numbers else row
        text = repr(values).encode("utf-8", "surrogatepass")
        total += int.from_bytes(hashlib.sha256(text).digest(), "big")
    return total % MODULUS


def _plain(row: Values, places: Sequence[int]) -> Values:
    values = list(row)
    for place in places:
        values[place] = plain(values[place])
    return tuple(values)


def for_sqlite(rows: Sequence[Values]) -> Sequence[Values]:
    """The rows without numbers of a type that SQLite does not know."""
    types = {type(value) for row in rows for value in row}
    if types <= _ALIKE | {float}:
        return rows
    return [tuple([plain(one) if isinstance(one, Decimal) else one for one in row]) for row in rows]
