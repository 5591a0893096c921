"""Whether the pages of an SQLite database are what they should be."""

from __future__ import annotations

import sqlite3
from typing import Final

MOST: Final = 5
"""So many problems are named at most; one damaged page may cause thousands."""


def problems(connection: sqlite3.Connection, *, quick: bool = False) -> list[str]:
    """What SQLite's check finds, nothing if all is well; `quick` does not compare indexes with tables.

    Virtual tables whose extension is not loaded here are left out. Raises sqlite3.DatabaseError where
    the damage is such that the check itself cannot go on.
    """
    pragma = "quick_check" if quick else "integrity_check"
    try:
        found = _ask(connection, f"{pragma}({MOST})")
    except sqlite3.OperationalError as error:
        if "no such module" not in str(error):
            raise
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'create virtual%'"
        ).fetchall()
        found = [line for (table,) in tables for line in _ask(connection, f"{pragma}({_quoted(table)})")]
    return [line for line in found if line != "ok"]


def _ask(connection: sqlite3.Connection, pragma: str) -> list[str]:
    return [row[0] for row in connection.execute(f"PRAGMA {pragma}").fetchall()]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
