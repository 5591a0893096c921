"""One quick look into a database from outside of any event loop, such as for the completion of a shell."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from abathur.engines import files
from abathur.engines.connection import Executor
from abathur.engines.faults import translate
from abathur.engines.urls import MEMORY, Server, target_of
from abathur.errors import MissingDatabaseError
from abathur.script import ScriptFunction, drive, start
from abathur.sql import library

T = TypeVar("T")

PATIENCE: Final = 0.2
"""Seconds to wait for a lock: somebody is waiting at a prompt."""


def peek(url: str | Path, fn: ScriptFunction[T], *args: Any) -> T:
    """Run a script that only reads, on a connection of its own. Raises an OpenError or an EngineError.

    Nothing is made, migrated or checked: what is not there as the script expects it is an error.
    """
    target = target_of(url)
    if isinstance(target, Server):
        raise MissingDatabaseError(target.name)
    path = Path(target).resolve()
    if str(target) == MEMORY or not files.size(path):
        raise MissingDatabaseError(str(path))
    files.check_place(path)
    try:
        target = f"file:{quote(str(path))}?mode=rw"
        with closing(sqlite3.connect(target, timeout=PATIENCE, uri=True, isolation_level=None)) as raw:
            raw.row_factory = sqlite3.Row
            raw.execute("PRAGMA query_only=ON").fetchall()
            return drive(start(fn, args, 0), Executor(raw, library("sqlite"), str(path)), {})
    except sqlite3.Error as error:
        raise translate(error, str(path), "a look") from error
