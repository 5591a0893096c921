"""The pages of an SQLite database: whether they are sound, how many are free, what points nowhere."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Any, Final

from abathur.engines.integrity import problems
from abathur.models import Finding

FREE: Final = 0.25
"""The share of free pages that is worth a word, if they are at least FEW."""
FEW: Final = 1_000
VIOLATIONS: Final = 100_000
"""So many rows that point nowhere are counted at most."""


def findings(connection: sqlite3.Connection, *, deep: bool, is_file: bool = True) -> list[Finding]:
    """All findings about a database's pages; reads all of them."""
    what = "integrity_check" if deep else "quick_check"
    try:
        bad = problems(connection, quick=not deep)
        if not bad:
            sound = Finding(code="integrity", level="ok", what=what, found="sound")
            found = [sound, _foreign_keys(connection)]
            return [*found, _space(connection), _auto_vacuum(connection)] if is_file else found
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            return []  # which is what opening it says, with the remedy for it
        bad = [str(error)]
    # What else a damaged file says about itself is worth nothing.
    remedy = "Keep a copy of the file with its -wal; then restore a backup, or try `sqlite3 FILE .recover`."
    return [Finding(code="integrity", level="problem", what=what, found="; ".join(bad), remedy=remedy)]


def _space(connection: sqlite3.Connection) -> Finding:
    pages, free = _pragma(connection, "page_count"), _pragma(connection, "freelist_count")
    size = pages * _pragma(connection, "page_size")
    if free >= FEW and free > pages * FREE:
        return Finding(
            code="free-pages",
            level="note",
            what="free pages",
            found=f"{free:,} of {pages:,}: {free / pages:.0%} of {size / 2**20:,.0f} MiB is unused.",
            remedy="They are used again. To give them back, VACUUM while nobody else has the file open.",
        )
    return Finding(
        code="free-pages", level="ok", what="free pages", found=f"{free:,} of {pages:,} ({size:,} bytes)"
    )


def _auto_vacuum(connection: sqlite3.Connection) -> Finding:
    mode = _pragma(connection, "auto_vacuum")
    if mode == 2:
        return Finding(code="auto-vacuum", level="ok", what="auto_vacuum", found="incremental")
    said = "full: each commit moves pages" if mode else "none, as in adopted databases"
    return Finding(
        code="auto-vacuum",
        level="note",
        what="auto_vacuum",
        found=f"{said}; free pages are not given back bit by bit.",
        remedy="PRAGMA auto_vacuum=2, then VACUUM, on one connection while nobody else has the file open.",
    )


def _foreign_keys(connection: sqlite3.Connection) -> Finding:
    what = "foreign keys"
    bad: Counter[tuple[str, str]] = Counter()
    try:
        for row in connection.execute("PRAGMA foreign_key_check"):
            bad[row[0], row[2]] += 1
            if bad.total() >= VIOLATIONS:
                break
    except sqlite3.Error as error:  # a table of the user's refers to one that has no such key
        return Finding(
            code="foreign-keys",
            level="note",
            what=what,
            found=f"They cannot be checked: {error}.",
            remedy="Look at the foreign keys of your own tables.",
        )
    if bad:
        listed = ", ".join(f"{count:,} in {table} to {parent}" for (table, parent), count in bad.items())
        return Finding(
            code="foreign-keys",
            level="warning",
            what=what,
            found=f"{bad.total():,} rows point to rows that are not there: {listed}.",
            remedy="PRAGMA foreign_key_check lists them; mend or delete them.",
        )
    return Finding(code="foreign-keys", level="ok", what=what, found="every one leads to a row")


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]
