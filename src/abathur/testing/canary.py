"""Proves at the start of a session that the guard works here, by doing what it has to refuse."""

from __future__ import annotations

import contextlib
from contextlib import closing

import pytest

from abathur.testing.guard import CanaryError, Guard


def check_canary(guard: Guard, path: str) -> None:
    """Open and attach a database that is protected and does not exist. Raises where nobody objects."""
    try:
        import sqlite3
    except ImportError:  # a Python without it opens no file that we guard
        return
    # Read-only, so that it is not made where the guard only records, or does not work.
    name = f"file:{path.replace('%', '%25').replace('?', '%3f').replace('#', '%23')}?mode=ro"
    with contextlib.suppress(CanaryError, sqlite3.Error):
        sqlite3.connect(name, uri=True).close()
    with (
        closing(sqlite3.connect("file::memory:", uri=True)) as connection,
        contextlib.suppress(sqlite3.Error),
    ):
        connection.execute(f"ATTACH '{name.replace(chr(39), chr(39) * 2)}' AS canary")
    heard = [refusal.operation for refusal in guard.refusals.take()]
    if heard != ["opening", "attaching"]:
        raise pytest.UsageError(
            "The guard of abathur does not work here: of opening and attaching a protected database it "
            f"noticed {heard or 'nothing'}. Something has replaced sqlite3's functions before pytest has "
            "started. No test was run. To run them without a guard, all the same: --abathur-guard=off"
        )
