"""Errors about the rows and keys of plugins; nothing was changed.

Each has the `code` and the `message` that a reply of the database service carries.
"""

from __future__ import annotations

from typing import ClassVar

from abathur.errors.base import AbathurError


class RowsError(AbathurError):
    """A call on the rows or keys of a plugin was refused.

    `message` is what was wrong, in the words of the service's contract; `code` is its code there.
    """

    code: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(self, message: str, expected: str, remedy: str) -> None:
        self.message = message
        super().__init__(f"{message}.", expected, remedy)


class RowValidationError(RowsError, ValueError):
    """A name, a value, a filter or an operation is not what the schema, or the contract, allows."""

    code = "VALIDATION_ERROR"


class UnknownTableError(RowValidationError, LookupError):
    """The plugin has no table of this name; it may have been unregistered."""

    def __init__(self, plugin: str, table: str) -> None:
        self.plugin = plugin
        self.table = table
        super().__init__(
            f"Table '{table}' is not registered for plugin '{plugin}'",
            "Expected the name of a table whose schema was registered.",
            "Register its schema first; `list_schemas` names those that are.",
        )


class MissingFieldError(RowsError, ValueError):
    """A request lacks something that it must have; `field` names it."""

    code = "MISSING_FIELD"

    def __init__(self, field: str, expected: str = "") -> None:
        self.field = field
        super().__init__(
            f"Required field '{field}' is missing",
            expected or f"Expected a request with `{field}`.",
            "Add it, and ask again.",
        )


class RowSchemaConflictError(RowsError):
    """A schema cannot become the one that was asked for: rows that are stored would not fit."""

    code = "SCHEMA_CONFLICT"

    def __init__(self, table: str, field: str, old: str, new: str) -> None:
        self.table = table
        self.field = field
        self.old = old
        self.new = new
        super().__init__(
            f"Table '{table}' cannot change: {field} is {old}, and would be {new}",
            "Expected the registered schema, or one that also fits the rows that are there: "
            "with new optional fields or new indexes.",
            "Register what is there with your additions, or use a new table.",
        )


class RowConflictError(RowsError):
    """Another row has the value of a unique field already, or a request id was used for something else."""

    code = "CONFLICT"


class ValueTooLargeError(RowsError, ValueError):
    """A value is larger than what is stored in one place."""

    code = "VALUE_TOO_LARGE"
