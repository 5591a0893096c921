"""What must be true of a database after everything that was done to the processes that used it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from abathur import Database, Task
from tests.conformance.checks import QUERIES, check_invariants


def check(path: Path | str) -> tuple[dict[str, Task], int]:
    """All tasks by id and the number of transitions, after every check there is. A text is a URL."""

    async def look() -> tuple[dict[str, Task], int]:
        async with Database(path, queries=QUERIES, environment="test") as db:
            moved = await check_invariants(db)
            found: dict[str, Task] = {}
            after = None
            while page := await db.tasks.list(limit=10_000, after=after):
                found.update((task.id, task) for task in page)
                after = page[-1].id
            return found, moved

    answer = asyncio.run(look())
    if isinstance(path, Path):
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    return answer
