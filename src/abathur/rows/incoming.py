"""Rows as a caller gives them, checked and converted to what is stored, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from abathur.errors import RowsError, ValueTooLargeError
from abathur.rows.names import ADDED, check_object, invalid, is_list, kind, unknown
from abathur.rows.registry import Known

MOST_ROWS: Final = 10_000
"""Rows of one insert: others wait for its transaction."""

Stored = tuple[Any, ...]
"""The values of the declared fields, in their order."""


def field_value(known: Known, name: str, value: Any) -> Any:
    """A value as it is stored in a declared field. Raises RowValidationError or ValueTooLargeError."""
    made = known.fields[name].stored(value)
    most = known.longest.get(name)
    if most is not None and made is not None and len(made.encode()) > most:
        raise ValueTooLargeError(
            f"Field '{name}': {len(made.encode()):,} bytes are more than the {most:,} that an index takes",
            f"Expected {most:,} bytes at most: the field is indexed.",
            "Shorten it, or keep the long text in a field without an index.",
        )
    return made


def row_values(known: Known, given: Any) -> Stored:
    """A row with a value for each declared field: the caller's, the default, or null."""
    row = check_object(given, "The data")
    for name in row:
        if name in ADDED:
            raise invalid(f"Field '{name}' is set by the service", "Expected other fields.", "Leave it out.")
        if name not in known.fields:
            raise unknown(name, known.types)
    values = []
    for name, field in known.fields.items():
        if name in row:
            values.append(field_value(known, name, row[name]))
        elif field.required and field.default is None:
            raise invalid(
                f"Missing required field: {name}", f"Expected a value for '{name}': it is required."
            )
        else:
            values.append(field.default)
    return tuple(values)


def all_values(known: Known, data: Any) -> tuple[list[Stored], bool]:
    """The rows of an insert, and whether it is a list of them. One that is wrong is named by its place."""
    if not is_list(data):
        return [row_values(known, data)], False
    rows: Sequence[Any] = data
    if not 1 <= len(rows) <= MOST_ROWS:
        raise invalid(
            f"A list of {len(rows):,} rows cannot be inserted",
            f"Expected 1 to {MOST_ROWS:,} rows in one request.",
        )
    made = []
    for place, row in enumerate(rows):
        try:
            made.append(row_values(known, row))
        except RowsError as error:
            raise type(error)(f"Row {place}: {error.message}", error.expected, error.remedy) from None
    return made, True


def check_id(given: Any) -> int:
    """The id of a row. Raises RowValidationError."""
    from abathur.rows.values import stored

    if isinstance(given, (dict, list, tuple)):
        raise invalid(
            f"Field 'id': Cannot convert value to integer: it is {kind(given)}", "Expected a row's id."
        )
    number: int = stored("id", "integer", given)
    return number
