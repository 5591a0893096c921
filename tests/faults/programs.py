"""The programs that children of the nursery run: each says what it was told, so that a test can judge it."""

from __future__ import annotations

import asyncio
import os
import signal
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from abathur import Claim, Database, Task
from abathur.engines import sqlite, wal
from abathur.errors import AbathurError
from tests.faults.nursery import Child

T = TypeVar("T")


def warm() -> None:
    """Import everything that a database needs, before the first fork."""
    import abathur.tasks.api
    import abathur.tasks.reconcile  # noqa: F401

    Database(":memory:")


def database(child: Child, **options: Any) -> Database:
    return Database(child.path, environment="test", **{"lock_timeout": 2.0, **options})


async def attempt(child: Child, word: str, call: Callable[[], Awaitable[T]]) -> T | None:
    """Await the call; say ("refused", word, error) for a typed error, ("untyped", ...) for any other."""
    try:
        return await call()
    except AbathurError as error:
        child.say("refused", word, type(error).__name__, str(error))
    except Exception as error:  # noqa: BLE001  # the test fails because of it
        child.say("untyped", word, repr(error), "".join(traceback.format_exception(error)[-12:]))
    return None


async def end(child: Child, db: Database) -> None:
    """Close under the fault, then without it: a close that failed may be repeated."""
    await attempt(child, "close", db.close)
    child.disarm()
    if left := child.left():
        child.say("left", *left)


async def initialize(child: Child) -> None:
    db = database(child)
    child.arm()
    report = await attempt(child, "initialize", db.initialize)
    if report is not None:
        child.say("done", "initialize", len(report.steps))
    await end(child, db)


async def enqueue(child: Child) -> None:
    db = database(child)
    await db.initialize()
    child.arm()
    task = await attempt(child, "enqueue", lambda: db.tasks.enqueue("new", input={"n": 1}))
    if task is not None:
        child.say("done", "enqueue", task.id)
    await end(child, db)


async def claim(child: Child) -> None:
    db = database(child)
    await db.initialize()
    child.arm()
    claims = await attempt(child, "claim", lambda: db.tasks.claim("w", limit=2, lease=3600))
    if claims is not None:
        child.say("done", "claim", *(one.task.id for one in claims))
    await end(child, db)


async def complete(child: Child) -> None:
    db = database(child)
    await db.initialize()
    (held,) = await db.tasks.claim("w", lease=3600)
    child.say("claimed", held.task.id)
    child.arm()

    async def settle() -> str:
        await db.tasks.complete(held, {"n": 2})
        return held.task.id

    if done := await attempt(child, "complete", settle):
        child.say("done", "complete", done)
    await end(child, db)


async def work(child: Child, killed: bool = False) -> None:
    """Callers of every kind at once, through the lane, with checkpoints in between; each that is refused
    asks once more. At the end the process closes its database, or is gone as if it were killed.
    """
    sqlite.AUTOCHECKPOINT, wal.LONG, wal.LOOK_EVERY = 12, 100_000, 3
    db = database(child)
    child.arm()
    await twice(child, "initialize", db.initialize)
    if "initialized" not in repr(db):
        return await end(child, db)

    async def enqueue(number: int) -> Task:
        return await db.tasks.enqueue(f"{number}", input="x" * 900 * (number % 4))

    async def enqueue_many(number: int) -> list[Task]:
        made = [{"prompt": f"{number}", "ref": "a"}, {"prompt": f"{number}", "depends_on": ["a"]}]
        return await db.tasks.enqueue_many(made)

    async def make(number: int) -> None:
        if number % 5 == 4:
            many = await twice(child, "enqueue_many", lambda: enqueue_many(number))
            child.say("made", *(task.id for task in many or ()))
        elif one := await twice(child, "enqueue", lambda: enqueue(number)):
            child.say("made", one.id)

    async def settle(number: int, held: Claim) -> None:
        word, call = (
            ("completed", lambda: db.tasks.complete(held, {"n": number})),
            ("ready", lambda: db.tasks.release(held)),
            ("failed", lambda: db.tasks.fail(held, "broken", retry=False)),
            ("running", lambda: db.tasks.heartbeat(held, lease=3600, message="on it")),
        )[number % 4]
        if await twice(child, word, lambda: _true(call())):
            child.say("moved", held.task.id, word)

    for turn in range(3):
        await asyncio.gather(*(make(10 * turn + number) for number in range(10)))
        claims = await twice(child, "claim", lambda: db.tasks.claim("w", limit=6, lease=3600)) or []
        for claim in claims:
            child.say("moved", claim.task.id, "running")
        await asyncio.gather(*(settle(number, claim) for number, claim in enumerate(claims)))
        await twice(child, "list", lambda: db.tasks.list(limit=1000))
    if report := await twice(child, "verify", db.audit.verify):
        child.say("verified", report.ok, report.problem)
    if killed:
        child.disarm()
        os.kill(os.getpid(), signal.SIGKILL)
    await end(child, db)
    return None


async def _true(call: Awaitable[object]) -> bool:
    await call
    return True


async def twice(child: Child, word: str, call: Callable[[], Awaitable[T]]) -> T | None:
    """Attempt it, and if it was refused, once more: a fault that came once must not be felt again."""
    found = await attempt(child, word, call)
    if found is None:
        found = await attempt(child, word, call)
        child.say("again", word, found is not None)
    return found
