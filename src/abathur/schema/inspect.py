"""What is in a database: the scripts that read it, for each dialect by its own module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from abathur.errors import InvalidInputError
from abathur.schema import inspect_postgres, inspect_sqlite
from abathur.schema.declare import Schema
from abathur.schema.found import Fingerprint, Found
from abathur.script import Script

__all__ = ["Fingerprint", "Found", "filled_tables", "fingerprint", "inspect", "stamp", "violations"]


class Inspection(Protocol):
    """The functions that the module of a dialect has."""

    def fingerprint(self) -> Script[Fingerprint]:
        """The stamp, and what has to be as it was when the stamp was written."""

    def inspect(self, schemas: Sequence[Schema]) -> Script[Found]:
        """Everything that the schemas have to be compared with."""

    def violations(self, tables: Sequence[str]) -> Script[Counter[tuple[str, str]]]:
        """How many rows of each table point to a missing row, by (table, other table)."""


_DIALECTS: Final[Mapping[str, Inspection]] = {"sqlite": inspect_sqlite, "postgres": inspect_postgres}


def fingerprint(dialect: str) -> Script[Fingerprint]:
    """A script that reads the stamp and what has to be as it was when the stamp was written."""
    return _of(dialect).fingerprint()


def inspect(dialect: str, schemas: Sequence[Schema]) -> Script[Found]:
    """A script that reads everything the schemas have to be compared with."""
    return _of(dialect).inspect(schemas)


def stamp(dialect: str, schemas: Sequence[Schema]) -> Script[Mapping[str, str] | None]:
    """A script that reads the rows of the stamp; empty where there is none, None where there is no table."""
    seen = yield from fingerprint(dialect)
    if seen.meta:
        return seen.meta
    return None if (yield from inspect(dialect, schemas)).is_new else {}


def filled_tables(found: Found) -> Script[list[str]]:
    """A script that names the ordinary tables with at least one row."""
    names = [thing.name for thing in found.objects if thing.kind == "table"]
    return (yield from inspect_sqlite.filled(names))  # the same text on both


def violations(dialect: str, tables: Sequence[str]) -> Script[Counter[tuple[str, str]]]:
    """A script that counts the rows of each table that point to a missing row, by (table, other table)."""
    return _of(dialect).violations(tables)


def _of(dialect: str) -> Inspection:
    if dialect not in _DIALECTS:
        raise InvalidInputError(
            f"Databases of the dialect {dialect!r} cannot be inspected.",
            f"Expected one of {', '.join(_DIALECTS)}.",
            "Use another engine.",
        )
    return _DIALECTS[dialect]
