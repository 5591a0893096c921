"""What becomes of a declared type: SQLite's affinity of it, and the type that PostgreSQL gets for it."""

from __future__ import annotations

from typing import Final

from abathur.errors import InvalidInputError
from abathur.schema.declare import Column

_OF_AFFINITY: Final = {
    "INTEGER": "bigint",
    "TEXT": "text",
    "BLOB": "bytea",
    "REAL": "double precision",
}
# Types by other names, as SQLite programs write them. Times are text, and truth is 0 or 1, as there.
_OF_NAME: Final = {
    "TIMESTAMP": "text",
    "DATETIME": "text",
    "DATE": "text",
    "TIME": "text",
    "JSON": "text",
    "BOOLEAN": "bigint",
    "BOOL": "bigint",
    "NUMERIC": "numeric",
    "DECIMAL": "numeric",
}


def affinity(type_name: str) -> str:
    """SQLite's type affinity of a declared type, by its documented rules, in their order."""
    name = type_name.upper()
    if "INT" in name:
        return "INTEGER"
    if any(part in name for part in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in name or not name:
        return "BLOB"
    return "REAL" if any(part in name for part in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def type_on_postgres(column: Column) -> str:
    """The PostgreSQL type of a declared column. Raises InvalidInputError as `postgres_type` does."""
    return column.postgres.lower() if column.postgres else postgres_type(column.type)


def postgres_type(type_name: str) -> str:
    """The PostgreSQL type that holds what a column of a declared type holds on SQLite.

    Raises InvalidInputError for a type that has no counterpart.
    """
    name = type_name.upper().partition("(")[0].strip()
    found = _OF_NAME.get(name) or _OF_AFFINITY.get(affinity(type_name))
    if found is None:
        raise InvalidInputError(
            f"There is no PostgreSQL type for {type_name}.",
            f"Expected a type such as INTEGER, REAL, TEXT, BLOB or {', '.join(_OF_NAME)}.",
            "Declare the column with one of these types.",
        )
    return found
