"""Aggregates: counts, sums, averages and extremes, of all rows or of groups of them.

The sum of whole numbers is exact, however large: SQLite's own would overflow, and so is that of two halves
put together here. Averages are made of sums here, so that both engines give the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from abathur.rows.names import check_field, check_object, invalid, is_list, kind, shown, unknown
from abathur.rows.reading import ORDERS, sorting
from abathur.rows.registry import Known
from abathur.rows.values import NUMBERS, given_back
from abathur.rows.writing import STALE
from abathur.schema.render import quoted
from abathur.script import Built, Script, Statement

FUNCTIONS: Final = ("$count", "$sum", "$avg", "$min", "$max")
MOST: Final = 50
"""Aggregates of one request, and fields of its groups."""
_TAKEN: Final = frozenset({"aggregates", "success", "error"})
"""Names that an answer has for something else."""


@frozen
class Aggregate:
    """One value: a function of a field, or of all rows."""

    name: str
    function: str
    field: str | None
    at: int
    """Its place, from which the names of its columns are made."""

    def column(self, part: int) -> str:
        """The name of one of the columns from which it is made; no field has such a name."""
        return f"@{self.at}_{part}"


@frozen
class Summary:
    """A statement that computes aggregates; `limit` None: of all rows together."""

    known: Known
    sql: str
    values: tuple[Any, ...]
    aggregates: tuple[Aggregate, ...]
    groups: tuple[str, ...]
    limit: int | None


def summary(
    known: Known,
    condition: tuple[str, list[Any]] | None,
    aggregates: Any,
    group_by: Any,
    sort: Any,
    limit: int,
    offset: int,
    dialect: str,
) -> Summary:
    """The statement for these aggregates. Raises RowValidationError."""
    wanted = tuple(_aggregates(known, aggregates))
    groups = tuple(_groups(known, group_by))
    double = sorted({one.name for one in wanted} & set(groups))
    if double:
        raise invalid(
            f"'{double[0]}' is both an aggregate and a field of group_by", "Expected different names."
        )
    columns = [known.identifiers[name] for name in groups]
    computed = [text for one in wanted for text in _computed(known, one, dialect)]
    where, values = (f" WHERE {condition[0]}", condition[1]) if condition else ("", [])
    sql = f"SELECT {', '.join([*columns, *computed])} FROM {known.table}{where}"
    order = sorting(sort, [*groups, *(one.name for one in wanted)])
    if not groups:
        return Summary(known, sql, tuple(values), wanted, (), None)
    by_name = {one.name: _sorted_by(known, one, dialect) for one in wanted}
    by_name |= {name: known.identifiers[name] for name in groups}
    words = [f"{by_name[name]} {ORDERS[word]}" for name, word in order]
    words += [f"{column} {ORDERS['asc']}" for column in columns]
    sql += f" GROUP BY {', '.join(columns)} ORDER BY {', '.join(words)} LIMIT ? OFFSET ?"
    return Summary(known, sql, (*values, limit + 1, offset), wanted, groups, limit)


def summarize(call: Summary) -> Script[Any]:
    """Answer, or say STALE."""
    heads = yield Statement("rows.revision", id=call.known.number)
    if not heads or heads[0]["revision"] != call.known.revision:
        return STALE
    rows = yield Built(call.sql, call.values)
    if call.limit is None:
        named = {one.name: _value(call.known, one, rows[0]) for one in call.aggregates}
        return {**named, "aggregates": named}
    found = []
    for row in rows[: call.limit]:
        group = {
            name: given_back(call.known.types[name], row[call.known.columns.get(name, name)])
            for name in call.groups
        }
        found.append(group | {one.name: _value(call.known, one, row) for one in call.aggregates})
    return {"rows": found, "count": len(found), "truncated": len(rows) > call.limit}


# -- what is asked for -----------------------------------------------------------------------------


def _aggregates(known: Known, given: Any) -> Iterator[Aggregate]:
    told = check_object(given, "aggregates")
    if not 1 <= len(told) <= MOST:
        raise invalid(f"aggregates has {len(told)} names", f"Expected 1 to {MOST}.")
    for at, (name, inner) in enumerate(told.items()):
        check_field(name)
        if name in _TAKEN:
            raise invalid(f"An aggregate cannot be called {name}", "Expected another name.")
        one = check_object(inner, f"The aggregate '{name}'")
        if len(one) != 1:
            raise invalid(f"The aggregate '{name}' has {len(one)} functions", "Expected one, such as $sum.")
        ((function, field),) = one.items()
        if function not in FUNCTIONS:
            raise invalid(
                f"The aggregate '{name}': Unknown function: {shown(function)}."
                f" Known functions: {', '.join(FUNCTIONS)}",
                "Expected one of these.",
            )
        if field == "*" and function == "$count":
            yield Aggregate(name, function, None, at)
            continue
        if not isinstance(field, str) or field not in known.types:
            raise unknown(field, known.types, f" in the aggregate '{name}'")
        if function in ("$sum", "$avg") and known.types[field] not in NUMBERS:
            raise invalid(
                f"Field '{field}': {function} is for numbers, not for {known.types[field]}",
                "Expected an integer or a float.",
            )
        yield Aggregate(name, function, field, at)


def _groups(known: Known, given: Any) -> Iterator[str]:
    if given is None:
        return
    names = [given] if isinstance(given, str) else given
    if not is_list(names) or not 1 <= len(names) <= MOST:
        raise invalid(f"group_by must be a field or a list of fields, not {kind(given)}", "Expected fields.")
    for place, name in enumerate(names):
        if not isinstance(name, str) or name not in known.types:
            raise unknown(name, known.types, " in group_by")
        if name not in names[:place]:
            yield name


# -- how it is computed ----------------------------------------------------------------------------


def _computed(known: Known, one: Aggregate, dialect: str) -> Iterator[str]:
    """The columns from which the value is made."""
    column = known.identifiers[one.field] if one.field else "*"
    first, second, third = (quoted(one.column(part)) for part in range(3))
    if one.function == "$count":
        yield f"count({column}) AS {first}"
    elif one.function in ("$min", "$max"):
        yield f"{one.function[1:]}({column}) AS {first}"
    elif dialect == "sqlite" and known.types[str(one.field)] == "integer":
        yield f"sum({column} >> 32) AS {first}"
        yield f"sum({column} & 4294967295) AS {second}"
        yield f"count({column}) AS {third}"
    else:
        yield f"sum({column}) AS {first}"
        yield f"count({column}) AS {third}"


def _sorted_by(known: Known, one: Aggregate, dialect: str) -> str:
    """What orders groups by the value; sums as floats, since only those are alike on both engines."""
    if one.function not in ("$sum", "$avg"):
        return quoted(one.column(0))
    column = known.identifiers[str(one.field)]
    if dialect == "sqlite":  # total() of nothing is 0, and its sum is null
        value = f"CASE WHEN count({column}) > 0 THEN total({column}) END"
    else:
        value = f"CAST(sum({column}) AS double precision)"
    return value if one.function == "$sum" else f"{value} / nullif(count({column}), 0)"


def _value(known: Known, one: Aggregate, row: Any) -> Any:
    found = row[one.column(0)]
    if one.function == "$count" or found is None:
        return found
    type_name = known.types[str(one.field)]
    if one.function in ("$min", "$max"):
        return given_back(type_name, found)
    if type_name == "float":
        total: Any = float(found)
        if not math.isfinite(total):
            raise out_of_range(str(one.field))
    elif one.column(1) in row.keys():  # noqa: SIM118  # a row is no mapping
        total = (int(found) << 32) + int(row[one.column(1)])
    else:
        total = int(found)
    return total if one.function == "$sum" else total / row[one.column(2)]


def out_of_range(name: str) -> Exception:
    """The error for a sum of floats that is larger than any."""
    return invalid(f"Field '{name}': The sum is out of range", "Expected a sum that a float can hold.")


def floats(call: Summary) -> Mapping[str, str]:
    """The float fields that are summed up: only their sums can be out of range."""
    fields = {one.field for one in call.aggregates if one.function in ("$sum", "$avg")}
    return {name: name for name in fields if name is not None and call.known.types[name] == "float"}
