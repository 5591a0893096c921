"""A statement that is written for one row, made into one that takes many: for engines across a network.

    UPDATE tasks SET rank = rank - $1 WHERE id = $2
    UPDATE tasks SET rank = rank - given.p1 FROM unnest($1::int8[], $2::text[]) AS given (p1, p2)
    WHERE id = given.p2

and where all rows have the same rank to give, `rank - $1::int8` with an array of ids alone: to put a value
into an array costs the driver more than all else that it does for a row. It does the same as one execution
for each row as long as no two of the rows change the same one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final

from attrs import define, field

_PARAMETER = re.compile(r"'(?:[^']|'')*'|\$(\d+)")
_INSERT = re.compile(
    r"(INSERT INTO \w+ \([^)]*\)) VALUES \((?P<values>.*?)\)(?P<conflict> ON CONFLICT .*)?", re.DOTALL
)
_UPDATE = re.compile(r"(?P<head>UPDATE \w+ SET .*?)\s(?P<where>WHERE .*)", re.DOTALL)
_DELETE = re.compile(r"(?P<head>DELETE FROM \w+)\s(?P<where>WHERE .*)", re.DOTALL)


VARIANTS: Final = 8
"""Texts that one statement is given at most: the server keeps a plan for each."""


@define
class SetBased:
    """One statement over many rows. Its texts differ by which columns hold the same value in all of them."""

    sql: str
    """With `$1`, `$2` and so on, one for each place."""
    types: tuple[str, ...]
    """The types of its parameters, in order."""
    _texts: dict[tuple[bool, ...], str | None] = field(factory=dict, init=False)

    def over(self, rows: Sequence[tuple[Any, ...]]) -> tuple[str, list[Any]] | None:
        """The text for these rows, and its values; None for a statement that is not understood."""
        columns = list(zip(*rows, strict=True))
        same = tuple(
            [column[0] == column[-1] and column.count(column[0]) == len(column) for column in columns]
        )
        if same not in self._texts and len(self._texts) >= VARIANTS:
            same = (False,) * len(columns)
        if same not in self._texts:
            self._texts[same] = set_based(self.sql, self.types, same)
        text = self._texts[same]
        if text is None:
            return None
        return text, [column[0] if one else column for column, one in zip(columns, same, strict=True)]


def set_based(sql: str, types: Sequence[str], same: Sequence[bool] = ()) -> str | None:
    """The statement over arrays of these types, or None for one that is not understood.

    sql: with `$1`, `$2` and so on, one for each place. types: the types of its parameters, in order.
    same: for each whether all rows have the same value, which is then given once, without an array.
    """
    whole = dict(enumerate(types, 1))
    arrays = {at: name for at, name in whole.items() if not any(same[at - 1 : at])}
    given = (
        f"unnest({', '.join(f'${at}::{name}[]' for at, name in arrays.items())})"
        f" AS given ({', '.join(f'p{at}' for at in arrays)})"
    )
    columns = {at: f"given.p{at}" if at in arrays else f"${at}::{name}" for at, name in whole.items()}
    text = " ".join(sql.split()) if "'" not in sql else re.sub(r"\s*\n\s*", " ", sql)
    if not arrays:
        return None
    if match := _INSERT.fullmatch(text):
        values = _columns(match["values"], columns)
        return f"{match[1]} SELECT {values} FROM {given}{match['conflict'] or ''}"
    if match := _UPDATE.fullmatch(text):
        return f"{_columns(match['head'], columns)} FROM {given} {_columns(match['where'], columns)}"
    if match := _DELETE.fullmatch(text):
        return f"{match['head']} USING {given} {_columns(match['where'], columns)}"
    return None


@lru_cache(maxsize=512)
def joined(texts: tuple[str, ...]) -> str:
    """One statement that does what several do, none of which needs another; its places are theirs, in order.

    INSERT INTO a (x) VALUES ($1) and DELETE FROM b WHERE y = $1
    WITH part1 AS (INSERT INTO a (x) VALUES ($1)) DELETE FROM b WHERE y = $2
    """
    before = 0
    parts = []
    for text in texts:
        parts.append(_PARAMETER.sub(partial(_moved, before), text))
        before += max((int(match[1]) for match in _PARAMETER.finditer(text) if match[1]), default=0)
    *first, last = parts
    named = ", ".join(f"part{place} AS ({part})" for place, part in enumerate(first, 1))
    return f"WITH {named} {last}" if named else last


def _moved(by: int, match: re.Match[str]) -> str:
    return f"${int(match[1]) + by}" if match[1] else match[0]


def _columns(text: str, columns: Mapping[int, str]) -> str:
    return _PARAMETER.sub(lambda match: columns[int(match[1])] if match[1] else match[0], text)
