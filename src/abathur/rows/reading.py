"""Reads: scripts that give back a row or many, if the schema is still the one they were made for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import frozen

from abathur.rows.names import check_number, check_object, invalid, is_list, shown, unknown
from abathur.rows.registry import Known
from abathur.rows.values import given_back
from abathur.rows.writing import STALE
from abathur.script import Built, Script, Statement

MOST_ROWS: Final = 1_000
"""Rows of one answer."""
FARTHEST: Final = 2**62
"""The largest offset."""
MOST_SORTED: Final = 20
"""Fields by which rows are sorted."""

ORDERS: Final = {"asc": "ASC NULLS FIRST", "desc": "DESC NULLS LAST"}
"""Null is below everything, on every engine."""


@frozen
class Read:
    """A statement that reads rows of a table, and how many may be answered; None: one by its id."""

    known: Known
    sql: str
    values: tuple[Any, ...]
    types: Mapping[str, str]
    """The type of each column of the answer, by the name that the answer gives it."""
    columns: Mapping[str, str]
    """That name for each column."""
    limit: int | None


def by_id(known: Known, row_id: int) -> Read:
    """The row of an id."""
    sql = f'SELECT {_listed(known)} FROM {known.table} WHERE "id" = ?'
    return Read(known, sql, (row_id,), known.types, known.named, None)


def sorted_rows(
    known: Known, condition: tuple[str, list[Any]] | None, sort: Any, limit: int, offset: int
) -> Read:
    """Rows that pass a condition, in order; one more than the limit, to know whether there are more."""
    order = [f"{known.identifiers[name]} {ORDERS[word]}" for name, word in sorting(sort, known.types)]
    order.append('"id" ASC')
    where, values = (f" WHERE {condition[0]}", condition[1]) if condition else ("", [])
    sql = f"SELECT {_listed(known)} FROM {known.table}{where} ORDER BY {', '.join(order)} LIMIT ? OFFSET ?"
    return Read(known, sql, (*values, limit + 1, offset), known.types, known.named, limit)


def sorting(sort: Any, known: Iterable[str]) -> list[tuple[str, str]]:
    """Fields with ``asc`` or ``desc``. Raises RowValidationError."""
    if sort is None:
        return []
    given = sort if is_list(sort) else [sort]
    if not 1 <= len(given) <= MOST_SORTED:
        raise invalid(
            f"sort has {len(given)} fields",
            f"Expected an object, or a list of 1 to {MOST_SORTED}, or no sort at all.",
        )
    names = list(known)
    found = []
    for one in given:
        told = check_object(one, "sort")
        strange = sorted(set(told) - {"field", "order"})
        if strange or "field" not in told:
            what = f"has the key {shown(strange[0])}" if strange else "names no field"
            raise invalid(f"sort {what}", 'Expected {"field": ..., "order": "asc" or "desc"}.')
        name, order = told["field"], told.get("order", "asc")
        if not isinstance(name, str) or name not in names:
            raise unknown(name, names, " in sort")
        if not isinstance(order, str) or order.lower() not in ORDERS:
            raise invalid(
                f"Field '{name}': order must be asc or desc, not {shown(order)}", "Expected asc or desc."
            )
        found.append((name, order.lower()))
    return found


def check_limit(limit: Any) -> int:
    """How many rows are answered: what is asked for, up to 1,000. Raises RowValidationError."""
    return min(check_number(limit, "limit", 1, FARTHEST), MOST_ROWS)


def check_offset(offset: Any) -> int:
    """How many rows are left out first. Raises RowValidationError."""
    return check_number(offset, "offset", 0, FARTHEST)


def read(call: Read) -> Script[Any]:
    """Answer, or say STALE."""
    heads = yield Statement("rows.revision", id=call.known.number)
    if not heads or heads[0]["revision"] != call.known.revision:
        return STALE
    rows = yield Built(call.sql, call.values)
    if call.limit is None:
        return {"exists": True, "data": _row(call, rows[0])} if rows else {"exists": False}
    found = [_row(call, row) for row in rows[: call.limit]]
    return {"rows": found, "count": len(found), "truncated": len(rows) > call.limit}


def _row(call: Read, row: Any) -> dict[str, Any]:
    return {name: given_back(call.types[name], row[column]) for column, name in call.columns.items()}


def _listed(known: Known) -> str:
    return ", ".join(known.identifiers.values())
