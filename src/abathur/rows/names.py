"""What a plugin, a table, a field and a request may be called, and the errors for what is no such thing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeGuard

from abathur.errors import MissingFieldError, RowValidationError

PLUGIN: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
TABLE: Final = re.compile(r"[a-z][a-z0-9_]{0,99}")
FIELD: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")

ADDED: Final = {"id": "integer", "created_at": "datetime", "updated_at": "datetime"}
"""Fields that every row has, with their types; no schema declares them and no caller gives them."""

_SHOWN: Final = 60
"""Characters of a caller's value that a message repeats."""


def invalid(
    message: str, expected: str, remedy: str = "Correct the request; nothing was changed."
) -> Exception:
    """The error for what a caller may not ask for."""
    return RowValidationError(message, expected, remedy)


def shown(value: Any) -> str:
    """A caller's value for a message: on one line, short, without characters that a terminal obeys."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > 1_000:  # to write it out takes long, or is refused
        return "a number of very many digits"
    if isinstance(value, (str, bytes)):
        value = value[: _SHOWN + 1]
    text = ascii(value) if isinstance(value, (str, bytes, int, float)) else kind(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def named(field: Any) -> str:
    """What a caller calls a field, for a message: as it is if it could be one."""
    return field if isinstance(field, str) and FIELD.fullmatch(field) else shown(field)


def kind(value: Any) -> str:
    """What JSON calls a value's type, for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if is_list(value) else f"a {type(value).__name__}"


def is_list(value: Any) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether a value is a list, as JSON has them."""
    return isinstance(value, (list, tuple))


def check_plugin(name: Any) -> str:
    """The name of a plugin. Raises RowValidationError."""
    if not isinstance(name, str) or not PLUGIN.fullmatch(name):
        raise invalid(
            f"Invalid plugin name: {shown(name)}",
            "Expected 1 to 48 lower-case letters, digits, _ and -, a letter or a digit first.",
        )
    return name


def check_table(name: Any) -> str:
    """The name of a table. Raises MissingFieldError or RowValidationError."""
    if name is None:
        raise MissingFieldError("table")
    if not isinstance(name, str) or not TABLE.fullmatch(name):
        raise invalid(
            f"Invalid table name: {shown(name)}",
            "Expected 1 to 100 lower-case letters, digits and underscores, a letter first.",
        )
    return name


def check_field(name: Any) -> str:
    """The name of a field that a schema declares. Raises RowValidationError."""
    if not isinstance(name, str) or not FIELD.fullmatch(name):
        raise invalid(
            f"Invalid field name: {shown(name)}",
            "Expected 1 to 63 lower-case letters, digits and underscores, a letter first.",
        )
    return name


def check_object(value: Any, what: str) -> Mapping[str, Any]:
    """An object whose keys are text. Raises RowValidationError."""
    if not isinstance(value, Mapping):
        raise invalid(
            f"{what} must be an object, not {kind(value)}", f"Expected {what.lower()} as an object."
        )
    for key in value:
        if not isinstance(key, str):
            raise invalid(f"{what} has the key {shown(key)}", "Expected keys that are text.")
    return value


def unknown(field: Any, known: Iterable[str], where: str = "") -> Exception:
    """The error for a field that a table does not have, with those that it has."""
    return invalid(
        f"Unknown field: {named(field)}{where}. Known fields: {', '.join(sorted(known))}",
        "Expected a field of the table's schema.",
        "Correct its name, or register a schema that has it.",
    )


def check_number(value: Any, what: str, lowest: int, highest: int) -> int:
    """A whole number within bounds. Raises RowValidationError."""
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise invalid(
            f"{what} must be a whole number from {lowest} on, not {shown(value)}",
            f"Expected {lowest} to {highest}.",
        )
    return value
