"""A statement that is written for one row, made into one that takes many: for engines across a network.

    UPDATE tasks SET rank = rank - $1 WHERE id = $2
    UPDATE tasks SET rank = rank - given.p1 FROM unnest($1::int8[], $2::text[]) AS given (p1, p2)
    WHERE id = given.p2

It does the same as one execution for each row as long as no two of the rows change the same one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache, partial

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


def _columns(text: str) -> str:
    return _PARAMETER.sub(lambda match: f"given.p{match[1]}" if match[1] else match[0], text)
