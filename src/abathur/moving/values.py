"""Values on their way into another database: what it can hold, and the digest by which rows are compared."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from abathur.schema.compare import affinity

Values: TypeAlias = tuple[Any, ...]
"""The values of a row, in the order of the table's declared columns."""

MODULUS: Final = 1 << 256

_HELD: Final[dict[str, frozenset[type]]] = {
    "INTEGER": frozenset({int, type(None)}),
    "TEXT": frozenset({str, type(None)}),
    "REAL": frozenset({float, int, type(None)}),
    "BLOB": frozenset({bytes, type(None)}),
    "NUMERIC": frozenset({float, int, type(None)}),
}
"""What a column of PostgreSQL holds, by the kind of its declared type; SQLite's hold everything."""
_SAID: Final = {
    int: "a whole number",
    float: "a number with a fraction",
    str: "text",
    bytes: "bytes",
}


def kind(declared: str) -> str:
    """The kind of a declared type: SQLite's affinity, except that a TIMESTAMP is text everywhere."""
    return "TEXT" if declared.upper() == "TIMESTAMP" else affinity(declared)


def unfit(kinds: Sequence[str], rows: Sequence[Values], dialect: str) -> tuple[int, int, str] | None:
    """The first value that a database of the dialect cannot hold: its row, its column, and what it is.

    Columns are looked at as a whole, which costs little; rows only in one where something is wrong.
    """
    if not rows:
        return None
    for column, (wanted, values) in enumerate(zip(kinds, zip(*rows, strict=True), strict=True)):
        if not _is_suspect(wanted, values, dialect):
            continue
        for row, value in enumerate(values):
            problem = _problem(wanted, value, dialect)
            if problem is not None:
                return row, column, problem
    return None


def _is_suspect(wanted: str, values: Values, dialect: str) -> bool:
    types = set(map(type, values))
    if dialect == "postgres" and not types <= _HELD[wanted]:
        return True
    if float in types:
        return True  # few columns, and one that is no number is not equal to itself
    if str not in types:
        return False
    joined = "".join([value for value in values if type(value) is str])
    return not joined.isascii() or "\0" in joined


def _problem(wanted: str, value: Any, dialect: str) -> str | None:
    if dialect == "postgres" and type(value) not in _HELD[wanted]:
        return _SAID.get(type(value), type(value).__name__)
    if isinstance(value, float) and math.isnan(value):
        return "NaN, which is no number"
    if not isinstance(value, str):
        return None
    if dialect == "postgres" and "\0" in value:
        return "text with the character NUL"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "text that is no UTF-8"
    return None


def digest(kinds: Sequence[str], rows: Iterable[Values]) -> int:
    """A number for these rows, whatever their order: those of two parts are added, modulo MODULUS.

    A number has the same digest whether a database keeps it with a fraction or without.
    """
    numbers = [place for place, wanted in enumerate(kinds) if wanted in ("REAL", "NUMERIC")]
    total = 0
    for row in rows:
        values: Values = _plain(row, numbers) if numbers else row
        text = repr(values).encode("utf-8", "surrogatepass")
        total += int.from_bytes(hashlib.sha256(text).digest(), "big")
    return total % MODULUS


def _plain(row: Values, places: Sequence[int]) -> Values:
    values = list(row)
    for place in places:
        value = values[place]
        if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
            values[place] = int(value)
    return tuple(values)
