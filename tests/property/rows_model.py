"""What row storage does, said in a few lines of Python: a dict of rows, and functions over it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

TYPES = {
    "s": "string",
    "t": "text",
    "i": "integer",
    "f": "float",
    "b": "boolean",
    "d": "datetime",
}
LEAST, MOST = -(2**63), 2**63 - 1

Row = dict[str, Any]


class OutOfRange(Exception):  # noqa: N818  # what the model raises where the library has an error
    """A result that its field cannot hold: the field, and the row."""


def moment(text: str) -> str:
    """A moment as an answer has it."""
    found = datetime.fromisoformat(text)
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return found.astimezone(UTC).isoformat(timespec="microseconds")


def value(name: str, given: Any) -> Any:
    """A value as an answer has it."""
    if given is None:
        return None
    if TYPES.get(name) == "datetime":
        return moment(given)
    return float(given) if TYPES.get(name) == "float" else given


def row(given: Mapping[str, Any]) -> Row:
    """A stored row without its id."""
    return {name: value(name, given.get(name)) for name in TYPES}


# -- filters ---------------------------------------------------------------------------------------


def like(text: str, pattern: str, *, same_case: bool) -> bool:
    """Whether text is like a pattern; only ASCII has two cases."""
    if not same_case:
        text, pattern = _lower(text), _lower(pattern)
    rest = iter(pattern)
    parts = [{"%": ".*", "_": "."}.get(one) or re.escape(next(rest) if one == "\\" else one) for one in rest]
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def _lower(text: str) -> str:
    return "".join(one.lower() if one.isascii() else one for one in text)


COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda found, wanted: found == wanted,
    "$ne": lambda found, wanted: found != wanted,
    "$gt": lambda found, wanted: found is not None and found > wanted,
    "$gte": lambda found, wanted: found is not None and found >= wanted,
    "$lt": lambda found, wanted: found is not None and found < wanted,
    "$lte": lambda found, wanted: found is not None and found <= wanted,
    "$in": lambda found, wanted: found in wanted,
    "$nin": lambda found, wanted: found not in wanted,
    "$like": lambda found, wanted: found is not None and like(found, wanted, same_case=True),
    "$ilike": lambda found, wanted: found is not None and like(found, wanted, same_case=False),
    "$exists": lambda found, wanted: (found is not None) is wanted,
    "$null": lambda found, wanted: (found is None) is wanted,
}


def passes(found: Row, condition: Mapping[str, Any]) -> bool:
    """Whether a row passes a filter: every key of an object holds."""
    return all(_holds(found, key, given) for key, given in condition.items())


def _holds(found: Row, key: str, given: Any) -> bool:
    if key == "$and":
        return all(passes(found, one) for one in given)
    if key == "$or":
        return any(passes(found, one) for one in given)
    if key == "$not":
        return not passes(found, given)
    if not isinstance(given, Mapping):
        return bool(found[key] == value(key, given))
    return all(
        not _holds(found, key, wanted)
        if operator == "$not"
        else COMPARE[operator](found[key], _wanted(key, operator, wanted))
        for operator, wanted in given.items()
    )


def _wanted(key: str, operator: str, given: Any) -> Any:
    if operator in ("$like", "$ilike", "$exists", "$null"):
        return given
    return [value(key, one) for one in given] if isinstance(given, list) else value(key, given)


# -- reads -----------------------------------------------------------------------------------------


def ordered(rows: Iterable[Row], sort: list[dict[str, str]] | None) -> list[Row]:
    """Rows in order; null is below everything."""
    found = sorted(rows, key=lambda one: one["id"])
    for by in reversed(sort or []):
        name = by["field"]
        found.sort(key=lambda one: (one[name] is not None, one[name]), reverse=by.get("order") == "desc")
    return found


def page(rows: list[Any], limit: int, offset: int) -> dict[str, Any]:
    some = rows[offset : offset + limit]
    return {"rows": some, "count": len(some), "truncated": len(rows) > offset + limit}


def aggregated(rows: list[Row], wanted: Mapping[str, Mapping[str, str]]) -> Row:
    return {name: _aggregate(rows, *next(iter(one.items()))) for name, one in wanted.items()}


def _aggregate(rows: list[Row], function: str, name: str) -> Any:
    if name == "*":
        return len(rows)
    values = [one[name] for one in rows if one[name] is not None]
    if function == "$count":
        return len(values)
    if not values:
        return None
    if function == "$sum":
        return sum(values)
    if function == "$avg":
        return sum(values) / len(values)
    return (min if function == "$min" else max)(values)


def grouped(rows: list[Row], wanted: Mapping[str, Any], names: list[str]) -> list[Row]:
    """A row for each group, sorted by the fields of the groups."""

    def key(one: Row) -> list[Any]:
        return [(one[name] is not None, one[name]) if one[name] is not None else (False, 0) for name in names]

    found = []
    for _, some in groupby(sorted(rows, key=key), key=key):
        group = list(some)
        found.append({name: group[0][name] for name in names} | aggregated(group, wanted))
    return found


# -- changes ---------------------------------------------------------------------------------------


def changed(found: Row, operations: Mapping[str, Mapping[str, Any]]) -> Row:
    """A row after one operator for each field. Raises OutOfRange."""
    after = dict(found)
    for name, one in operations.items():
        ((operator, given),) = one.items()
        wanted, before = value(name, given), found[name]
        if operator == "$set":
            after[name] = wanted
        elif operator in ("$max", "$min"):
            best = max if operator == "$max" else min
            after[name] = wanted if before is None else best(before, wanted)
        else:
            count = before or 0
            sums = {"$inc": count + wanted, "$dec": count - wanted, "$mul": count * wanted}
            after[name] = sums[operator]
            if TYPES[name] == "integer" and not LEAST <= after[name] <= MOST:
                raise OutOfRange(name, found["id"])
    return after
