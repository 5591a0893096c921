"""What an update does to fields: values to set, or one operator for each field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import define, field, frozen

from abathur.rows.filters import place
from abathur.rows.incoming import field_value
from abathur.rows.names import ADDED, check_object, invalid, named, shown, unknown
from abathur.rows.registry import Known
from abathur.rows.values import LEAST, MOST, NUMBERS, ORDERED, stored

OPERATORS: Final = ("$set", "$inc", "$dec", "$mul", "$max", "$min")
LARGEST: Final = 1.79e308
"""The results of operations on floats stay within this, a hair below what a float can hold."""
SMALLEST: Final = 1e-300
"""A product that is not zero stays above this: an engine that cannot hold it would refuse it."""


@frozen
class Bound:
    """What must be true of a field's value before it is changed, else the result would be out of range."""

    name: str
    condition: str
    """True, or null, of a value that may be changed."""
    values: tuple[Any, ...]


@define
class Changes:
    """The assignments of an update."""

    assignments: list[str] = field(factory=list)
    values: list[Any] = field(factory=list)
    bounds: list[Bound] = field(factory=list)

    def add(self, column: str, expression: str, *values: Any) -> None:
        """Give a column a new value."""
        self.assignments.append(f"{column} = {expression}")
        self.values += values


def of_data(known: Known, data: Any, dialect: str) -> Changes:
    """The changes that set the fields of an object. Raises RowValidationError or ValueTooLargeError."""
    made = Changes()
    given = check_object(data, "The data")
    if not given:
        raise invalid("The data is empty", "Expected the fields to change.")
    for name, value in given.items():
        _set(made, known, name, value, dialect)
    return made


def of_operations(known: Known, operations: Any, dialect: str) -> Changes:
    """The changes that operators make: ``{"score": {"$inc": 1}}`` or ``{"$inc": {"score": 1}}``."""
    made = Changes()
    done: set[str] = set()
    given = check_object(operations, "The operations")
    if not given:
        raise invalid("The operations are empty", "Expected an operator for at least one field.")
    for name, operator, value in _each(given):
        _check_changeable(known, name)
        if operator not in OPERATORS:
            raise invalid(
                f"Field '{name}': Unknown operator: {shown(operator)}."
                f" Known operators: {', '.join(OPERATORS)}",
                "Expected one of these.",
            )
        if name in done:
            raise invalid(f"Field '{name}' has two operators", "Expected one operator for each field.")
        done.add(name)
        if operator == "$set":
            _set(made, known, name, value, dialect)
            continue
        if operator in ("$max", "$min"):
            _most(made, known, name, operator, value, dialect)
        else:
            _count(made, known, name, operator, value, dialect)
    return made


def _each(given: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Field, operator and value, from either form."""
    for key, inner in given.items():
        told = check_object(inner, f"The operation {named(key)}")
        if not told:
            raise invalid(f"The operation {named(key)} is empty", "Expected an operator and a value.")
        for other, value in told.items():
            yield (other, key, value) if key.startswith("$") else (key, other, value)


def _check_changeable(known: Known, name: str) -> None:
    if name in ADDED or name in known.declared.immutable:
        raise invalid(
            f"Field '{name}' cannot be changed",
            "Expected other fields: the service keeps this one."
            if name in ADDED
            else "Expected other fields.",
        )
    if name not in known.fields:
        raise unknown(name, known.types)


def _set(made: Changes, known: Known, name: str, value: Any, dialect: str) -> None:
    _check_changeable(known, name)
    made.add(known.identifiers[name], place(known.types[name], dialect), field_value(known, name, value))


def _operand(known: Known, name: str, operator: str, value: Any, allowed: frozenset[str], what: str) -> Any:
    type_name = known.types[name]
    if type_name not in allowed:
        raise invalid(f"Field '{name}': {operator} is for {what}, not for {type_name}", f"Expected {what}.")
    if value is None:
        raise invalid(f"Field '{name}': {operator} needs a value, not null", "Expected a value.")
    return stored(name, type_name, value)


def _most(made: Changes, known: Known, name: str, operator: str, value: Any, dialect: str) -> None:
    number = _operand(known, name, operator, value, ORDERED, "numbers and datetimes")
    column, given = known.identifiers[name], place(known.types[name], dialect)
    sign = "<" if operator == "$max" else ">"
    made.add(
        column,
        f"CASE WHEN {column} IS NULL OR {column} {sign} {given} THEN {given} ELSE {column} END",
        number,
        number,
    )


def _count(made: Changes, known: Known, name: str, operator: str, value: Any, dialect: str) -> None:
    number = _operand(known, name, operator, value, NUMBERS, "numbers")
    column, type_name = known.identifiers[name], known.types[name]
    is_whole = type_name == "integer"
    if operator == "$dec":
        number = -number
    if abs(number) > LARGEST or not (LEAST <= number <= MOST or not is_whole):
        raise invalid(
            f"Field '{name}': {operator} by {shown(value)} is out of range", "Expected a smaller number."
        )
    given = place(type_name, dialect)
    bound = (_of_product if operator == "$mul" else _of_sum)(number, is_whole=is_whole)
    if bound is not None:
        low, high, gap = bound
        condition = f"{column} BETWEEN {given} AND {given}"
        values: tuple[Any, ...] = (low, high)
        if gap:
            condition = f"({condition} AND ({column} = 0 OR abs({column}) >= {given}))"
            values = (low, high, gap)
        made.bounds.append(Bound(name, condition, values))
    sign = "*" if operator == "$mul" else "+"
    made.add(column, f"coalesce({column}, 0) {sign} {given}", number)


def _of_sum(number: Any, *, is_whole: bool) -> tuple[Any, Any, Any] | None:
    """The values to which a number can be added."""
    if is_whole:
        return max(LEAST, LEAST - number), min(MOST, MOST - number), 0
    return max(-LARGEST, -LARGEST - number), min(LARGEST, LARGEST - number), 0


def _of_product(number: Any, *, is_whole: bool) -> tuple[Any, Any, Any] | None:
    """The values that a number can be multiplied with: least, highest, and the smallest beside zero."""
    if number in (0, 1):
        return None
    if is_whole:
        if number < 0:
            return -(MOST // -number), min(MOST, -LEAST // -number), 0
        return -(-LEAST // number), MOST // number, 0
    size = abs(number)
    most = LARGEST if size <= 1 else LARGEST / size
    return -most, most, min(SMALLEST / size, LARGEST) if size < 1 else 0
