"""The SQLite that this Python was built with: its version, its known faults, what it can do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Final

from abathur.models import Finding

Version = tuple[int, ...]

OLDEST: Final[Version] = (3, 35, 0)
TESTED: Final[tuple[Version, ...]] = ((3, 40),)
"""The minor versions on which the whole suite is run."""
RESET_FIXED: Final[Version] = (3, 51, 3)
RESET_BACKPORTS: Final[tuple[Version, ...]] = ((3, 44, 6), (3, 50, 7))
"""https://sqlite.org/wal.html#walresetbug: two checkpoints beside a writer can corrupt a database."""
THREADS: Final = {0: "single-thread", 1: "multi-thread", 3: "serialized"}
OPTIONS: Final = ("ENABLE_FTS5", "ENABLE_MATH_FUNCTIONS", "SECURE_DELETE", "DEFAULT_WAL_SYNCHRONOUS", "OMIT_")
"""The beginnings of the compile options that somebody who looks for a difference wants to know."""


def findings() -> list[Finding]:
    """All findings about the library."""
    with closing(sqlite3.connect(":memory:")) as connection:
        options = [row[0] for row in connection.execute("PRAGMA compile_options")]
        extensions = _can_load(connection)
    return [
        version(sqlite3.sqlite_version_info),
        reset_fault(sqlite3.sqlite_version_info),
        threads(sqlite3.threadsafety),
        Finding(
            code="sqlite-options",
            level="ok",
            what="compile options of SQLite",
            found=", ".join(option for option in options if option.startswith(OPTIONS)) or "the usual ones",
        ),
        extension_loading(able=extensions),
    ]


def version(found: Version) -> Finding:
    """Whether it is new enough, and one that was tested."""
    what, said = "SQLite", ".".join(map(str, found))
    if found < OLDEST:
        return Finding(
            code="sqlite-version",
            level="problem",
            what=what,
            found=f"{said} is too old: {'.'.join(map(str, OLDEST))} or newer is needed.",
            remedy="Use a Python that was built with a newer SQLite.",
        )
    if found[:2] not in TESTED:
        tested = ", ".join(".".join(map(str, one)) for one in TESTED)
        return Finding(
            code="sqlite-version",
            level="note",
            what=what,
            found=f"{said}; abathur is tested with {tested}.",
            remedy="Nothing has to be done; name this version when you report a fault.",
        )
    return Finding(code="sqlite-version", level="ok", what=what, found=said)


def reset_fault(found: Version) -> Finding:
    """Whether this version has the fault that corrupts databases in WAL mode."""
    what = "SQLite's WAL-reset fault"
    mended = found >= RESET_FIXED or any(
        found[:2] == fixed[:2] and found >= fixed for fixed in RESET_BACKPORTS
    )
    if mended:
        return Finding(code="sqlite-wal-reset", level="ok", what=what, found="mended in this version")
    return Finding(
        code="sqlite-wal-reset",
        level="note",
        what=what,
        found=(
            f"{'.'.join(map(str, found))} has it: a checkpoint beside a writer can corrupt the database. "
            "abathur's writers take turns by the lock beside the file, so it cannot happen between them."
        ),
        remedy="Let only abathur write to this file, or use a Python with SQLite 3.51.3, 3.50.7 or 3.44.6.",
    )


def threads(safety: int) -> Finding:
    """Whether connections may live on threads of their own, as ours do."""
    mode = THREADS.get(safety, str(safety))
    if safety:
        return Finding(code="sqlite-threads", level="ok", what="threading mode of SQLite", found=mode)
    return Finding(
        code="sqlite-threads",
        level="problem",
        what="threading mode of SQLite",
        found=f"{mode}: it was built without mutexes, and abathur uses several threads.",
        remedy="Use a Python whose SQLite was built with SQLITE_THREADSAFE=1 or 2.",
    )


def extension_loading(*, able: bool) -> Finding:
    """Whether extensions such as sqlite-vec can be loaded."""
    what = "loading of SQLite extensions"
    if able:
        return Finding(code="extensions", level="ok", what=what, found="possible")
    return Finding(
        code="extensions",
        level="note",
        what=what,
        found="This Python cannot load any.",
        remedy="Only searches by vector need one: "
        "use a Python built with --enable-loadable-sqlite-extensions.",
    )


def durability(*, normal: bool) -> Finding:
    """What a commit survives, with the settings of this Database."""
    if not normal:
        said = "full: a commit survives a power cut"
        return Finding(code="durability", level="ok", what="durability", found=said)
    return Finding(
        code="durability",
        level="note",
        what="durability",
        found="normal: a power cut may cost the last transactions, the death of a process none.",
        remedy="Database(durability='full'), which is the default.",
    )


def _can_load(connection: sqlite3.Connection) -> bool:
    try:
        connection.enable_load_extension(True)
        connection.enable_load_extension(False)
    except (AttributeError, sqlite3.Error):
        return False
    return True
