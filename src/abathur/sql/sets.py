"""A statement that is written for one row, made into one that takes many: for engines across a network.

    UPDATE tasks SET rank = rank - $1 WHERE id = $2
    UPDATE tasks SET rank = rank - given.p1 FROM unnest($1::int8[], $2::text[]) AS given (p1, p2)
    WHERE id = given.p2

It does the same as one execution for each row as long as no two of the rows change the same one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PARAMETER = re.compile(r"'(?:[^']|'')*'|\$(\d+)")
_INSERT = re.compile(
    r"(INSERT INTO \w+ \([^)]*\)) VALUES \((?P<values>.*?)\)(?P<conflict> ON CONFLICT .*)?", re.DOTALL
)
_UPDATE = re.compile(r"(?P<head>UPDATE \w+ SET .*?)\s(?P<where>WHERE .*)", re.DOTALL)
_DELETE = re.compile(r"(?P<head>DELETE FROM \w+)\s(?P<where>WHERE .*)", re.DOTALL)


def set_based(sql: str, types: Sequence[str]) -> str | None:
    """The statement over arrays of these types, or None for one that is not understood.

    sql: with `$1`, `$2` and so on, one for each place. types: the types of its parameters, in order.
    """
    arrays = ", ".join(f"${at}::{name}[]" for at, name in enumerate(types, 1))
    names = ", ".join(f"p{at}" for at in range(1, len(types) + 1))
    given = f"unnest({arrays}) AS given ({names})"
    text = " ".join(sql.split()) if "'" not in sql else re.sub(r"\s*\n\s*", " ", sql)
    if not types:
        return None
    if match := _INSERT.fullmatch(text):
        return f"{match[1]} SELECT {_columns(match['values'])} FROM {given}{match['conflict'] or ''}"
    if match := _UPDATE.fullmatch(text):
        return f"{_columns(match['head'])} FROM {given} {_columns(match['where'])}"
    if match := _DELETE.fullmatch(text):
        return f"{match['head']} USING {given} {_columns(match['where'])}"
    return None


def _columns(text: str) -> str:
    return _PARAMETER.sub(lambda match: f"given.p{match[1]}" if match[1] else match[0], text)
