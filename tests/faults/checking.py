"""What must hold of a database's file after a fault, looked at by a healthy process."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from math import gcd
from pathlib import Path

from abathur import Database, Task
from abathur.states import READY
from tests import older
from tests.conformance.checks import QUERIES, check_invariants
from tests.faults.nursery import End


def sound(path: Path) -> None:
    """The file itself: SQLite finds nothing wrong with it."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def tasks_of(path: Path, *, trail: bool = True) -> dict[str, Task]:
    """Every task, after every check that there is. `trail=False` for tasks that an older version made."""

    async def look() -> dict[str, Task]:
        async with Database(path, queries=QUERIES, environment="test", lock_timeout=2) as db:
            await check_invariants(db, trail=trail)
            return {task.id: task for task in await db.tasks.list(limit=10_000)}

    return asyncio.run(look())


def converged(path: Path, before: dict[str, list[tuple[object, ...]]]) -> list[tuple[object, ...]]:
    """Initialize again: everything of `before` is there. Returns the schema."""

    async def again() -> None:
        for steps in (None, ()):
            db = Database(path, environment="test", lock_timeout=2)
            try:
                report = await db.initialize()
                assert steps is None or report.steps == steps, "the second time there is nothing to do"
            finally:
                await db.close()

    asyncio.run(again())
    assert older.lost(before, path) == []
    return older.schema(path)


def look_at_a_copy(path: Path) -> list[tuple[object, ...]]:
    """The schema as it lies there. A copy is opened: whoever opens the file itself recovers it."""
    place = path.parent / "looked-at"
    place.mkdir()
    for suffix in ("", "-wal", "-journal"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            shutil.copyfile(source, place / source.name)
    try:
        return older.schema(place / path.name) if (place / path.name).exists() else []
    finally:
        shutil.rmtree(place)


def empty_directory(path: Path) -> None:
    """Remove every file in it."""
    for found in path.iterdir():
        found.unlink()


def spread(number: int, total: int) -> int:
    """The `number`-th of `total` cases in an order that is spread over all of them and comes to each."""
    step = max(int(total * 0.618), 1)
    while gcd(step, total) != 1:
        step += 1
    return number * step % total


def told_the_truth(end: End, path: Path) -> None:
    """What a `Load` said is what is there: every answer "done" is, and nothing of what was refused."""
    found, made, moved = _judge(end, path)
    assert set(found) - made == set(), "refused, and there all the same"
    assert {task_id: found[task_id].status for task_id in moved} == moved


def lost_nothing(end: End, path: Path) -> bool:
    """Every answer "done" is there; something that was refused may be. Returns whether there is."""
    found, made, moved = _judge(end, path)
    ahead = {task_id for task_id, status in moved.items() if found[task_id].status != status}
    assert all(found[task_id].status != READY or moved[task_id] == READY for task_id in ahead)
    return bool(ahead or set(found) - made)


def _judge(end: End, path: Path) -> tuple[dict[str, Task], set[str], dict[str, str]]:
    """The tasks that there are, those that were made, and where each was last said to have moved."""
    assert not end.of("untyped"), end.of("untyped")
    assert not end.of("left"), end.of("left")
    assert all(ok for ok, _ in end.of("verified")), end.of("verified")
    sound(path)
    found = tasks_of(path)
    made = {task_id for ids in end.of("made") for task_id in ids}
    assert made - set(found) == set(), "acknowledged, and not there"
    return found, made, dict(end.of("moved"))
