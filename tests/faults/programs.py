"""The programs that children of the nursery run: each says what it was told, so that a test can judge it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import sqlite3
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from abathur import Claim, Database
from abathur.engines import connection, postgres_connection, wal
from abathur.engines import sqlite as engine
from abathur.errors import AbathurError
from abathur.script import Script
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


async def initialize_until(child: Child, statement: int) -> None:
    """Initialize, and die at this statement, counted from 1; 0 lives, and says how many there were."""
    counted = die_at(statement)
    db = database(child)
    await db.initialize()
    child.say("statements", counted())
    await db.close()


async def resolve(child: Child, directory: str) -> None:
    """Make a project of a directory under the fault; say its id."""
    db = database(child)
    await db.initialize()
    child.arm()
    found = await attempt(child, "resolve", lambda: db.projects.resolve(directory=directory))
    if found is not None:
        child.say("done", found.project_id)
    await end(child, db)


async def resolve_until(child: Child, directory: str, statement: int) -> None:
    """Make a project of a directory, and die at this statement of any kind, as `initialize_until` does."""
    db = database(child)
    await db.initialize()
    counted = die_at(statement)
    found = await db.projects.resolve(directory=directory)
    child.say("statements", counted())
    child.say("done", found.project_id)
    await db.close()


async def register_until(
    child: Child, statement: int, plugin: str, fields: dict[str, Any], row: dict[str, Any]
) -> None:
    """Register a table, insert a row that needs its fields, and die at this statement, as above."""
    db = database(child)
    await db.initialize()
    counted = die_at(statement)
    store = db.rows.for_plugin(plugin)
    await store.register({"table": "t", "fields": fields, "indexes": ["a"]})
    child.say("registered")
    child.say("inserted", (await store.insert("t", row, request_id="the row"))["id"])
    child.say("statements", counted())
    await db.close()


def die_at(statement: int) -> Callable[[], int]:
    """From now on, die at this statement, counted from 1; returns what tells how many there were.

    SQLite counts: what the backup executes, and PRAGMA, BEGIN and COMMIT, are among them. On a server those
    are counted that are in a transaction, and what ends it.
    """
    count = 0

    def tick(*_: object) -> None:
        nonlocal count
        count += 1
        if count == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    class Traced(connection.Hop):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.set_trace_callback(tick)

    connect = sqlite3.connect

    def traced(*args: Any, **options: Any) -> sqlite3.Connection:
        made = connect(*args, **options)
        made.set_trace_callback(tick)
        return made

    connection.Hop = Traced  # type: ignore[misc]
    sqlite3.connect = traced  # type: ignore[assignment]

    class Counted(postgres_connection.Executor):
        async def __call__(self, step: Any) -> list[Any]:
            tick()
            return await super().__call__(step)

        async def control(self, sql: str) -> None:
            tick()
            await super().control(sql)

    postgres_connection.Executor = Counted  # type: ignore[misc]
    return lambda: count


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


class Load:
    """Callers of every kind at once, through the lane; says what each was told.

    `tries` is how often a caller that is refused asks: a fault that comes once is not felt twice.
    """

    def __init__(self, child: Child, db: Database, tries: int) -> None:
        self._child = child
        self._db = db
        self._tries = tries
        self._turns = 0

    async def turn(self) -> None:
        """Ten callers make tasks; six are claimed, and each is settled by a caller of its own."""
        first = 10 * self._turns
        self._turns += 1
        await asyncio.gather(*(self._make(first + number) for number in range(10)))
        claims = await self.call("claim", lambda: self._db.tasks.claim("w", limit=6, lease=3600))
        for claim in claims or ():
            self._child.say("moved", claim.task.id, "running")
        await asyncio.gather(*(self._settle(number, claim) for number, claim in enumerate(claims or ())))
        await self.call("list", lambda: self._db.tasks.list(limit=1000))

    async def verify(self) -> None:
        if report := await self.call("verify", self._db.audit.verify):
            self._child.say("verified", report.ok, report.problem)

    async def call(self, word: str, call: Callable[[], Awaitable[T]]) -> T | None:
        for number in range(self._tries):
            found = await attempt(self._child, word, call)
            if found is not None:
                return found
            if number:
                self._child.say("refused again", word)
        return None

    async def _make(self, number: int) -> None:
        tasks = self._db.tasks
        if number % 5 == 4:
            two = [{"prompt": f"{number}", "ref": "a"}, {"prompt": f"{number}", "depends_on": ["a"]}]
            many = await self.call("enqueue_many", lambda: tasks.enqueue_many(two))
            self._child.say("made", *(task.id for task in many or ()))
        else:
            text = "x" * 900 * (number % 4)
            one = await self.call("enqueue", lambda: tasks.enqueue(f"{number}", input=text))
            self._child.say("made", *([one.id] if one else ()))

    async def _settle(self, number: int, held: Claim) -> None:
        tasks = self._db.tasks
        calls: list[tuple[str, Callable[[], Awaitable[object]]]] = [
            ("completed", lambda: tasks.complete(held, {"n": number})),
            ("ready", lambda: tasks.release(held)),
            ("failed", lambda: tasks.fail(held, "broken", retry=False)),
            ("running", lambda: tasks.heartbeat(held, lease=3600, message="on it")),
        ]
        word, call = calls[number % 4]

        async def settle() -> bool:
            await call()
            return True

        if await self.call(word, settle):
            self._child.say("moved", held.task.id, word)


def short_log() -> None:
    """Checkpoints after a few pages, so that a small load comes to all of them."""
    engine.AUTOCHECKPOINT, wal.LONG, wal.LOOK_EVERY = 12, 100_000, 3  # type: ignore[misc]


async def work(child: Child, killed: bool = False) -> None:
    """Three turns under the fault. At the end the database is closed, or the process gone as if killed."""
    short_log()
    db = database(child)
    load = Load(child, db, tries=2)
    child.arm()
    await load.call("initialize", db.initialize)
    if "initialized" in repr(db):
        for _ in range(3):
            await load.turn()
        await load.verify()
        if killed:
            child.disarm()
            os.kill(os.getpid(), signal.SIGKILL)
    await end(child, db)


async def fill(child: Child, limit: int, how: str) -> None:
    """Work until there is no space: no file may be larger than `limit` bytes, or the database than so many
    pages, or the disk has so many bytes left. Then the limit is lifted, and the same process goes on.
    """
    short_log()
    db = database(child)
    ballast = Path(child.path).with_name("ballast")
    if how == "RLIMIT_FSIZE":
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    elif how == "disk":
        take_space(ballast, limit)
    load = Load(child, db, tries=1)
    await load.call("initialize", db.initialize)
    if "initialized" in repr(db):
        if how == "max_page_count":
            await pragma(db, f"max_page_count={limit}")
        for _ in range(12):
            await load.turn()
    child.say("lifted")
    if how == "RLIMIT_FSIZE":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    elif how == "disk":
        ballast.unlink()
    else:
        await pragma(db, f"max_page_count={2**30}")
    await load.call("initialize", db.initialize)
    await load.turn()
    await load.verify()
    await end(child, db)


def take_space(ballast: Path, left: int) -> None:
    """Fill the disk with one file, but for so many bytes."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    os.truncate(ballast, max(ballast.stat().st_size - left, 0))


async def pragma(db: Database, text: str) -> None:
    """Set something on the writer's connection."""
    await db.run(_nothing)  # the writer is opened by the first write
    await db.engine._writer.hop(lambda raw: raw.execute(f"PRAGMA {text}").fetchall())  # type: ignore[attr-defined]


def _nothing() -> Script[None]:
    return
    yield


async def starve(child: Child, method: str, extra: int | None) -> None:
    """Let SQLite have `extra` bytes more than it holds, for one method; then let it have what it needs.

    With None there is no limit, and ("needs", bytes) tells what the method takes.
    """
    import _sqlite3

    heap = ctypes.CDLL(_sqlite3.__file__)
    for function in (heap.sqlite3_memory_used, heap.sqlite3_memory_highwater, heap.sqlite3_hard_heap_limit64):
        function.restype = ctypes.c_int64
    ruler = sqlite3.connect(":memory:")
    ruler.execute("PRAGMA hard_heap_limit").fetchall()
    db = database(child)
    load = Load(child, db, tries=1)
    held: list[Claim] = []
    if method != "initialize":
        await db.initialize()
        for _ in range(4):
            await load.turn()
        if method == "complete":
            held = await db.tasks.claim("w", limit=8, lease=3600)
            for claim in held:
                child.say("moved", claim.task.id, "running")

    async def complete(claim: Claim) -> None:
        await db.tasks.complete(claim, {"n": "x" * 2_000})
        child.say("moved", claim.task.id, "completed")

    async def run() -> None:
        if method == "initialize":
            await load.call("initialize", db.initialize)
        elif method == "enqueue":
            many = [{"prompt": f"{number}", "input": "x" * 900} for number in range(60)]
            made = await load.call("enqueue_many", lambda: db.tasks.enqueue_many(many))
            child.say("made", *(task.id for task in made or ()))
        elif method == "claim":
            claims = await load.call("claim", lambda: db.tasks.claim("w", limit=30, lease=3600))
            for claim in claims or ():
                child.say("moved", claim.task.id, "running")
        elif method == "complete":
            await asyncio.gather(*(attempt(child, "complete", partial(complete, claim)) for claim in held))
        else:
            await load.call("list", lambda: db.tasks.list(limit=1000))
            await load.verify()

    before = heap.sqlite3_memory_used()
    heap.sqlite3_memory_highwater(1)
    if extra is not None:
        with contextlib.suppress(MemoryError):  # it is in force before the statement has answered
            ruler.execute(f"PRAGMA hard_heap_limit={before + extra}").fetchall()
    await run()
    if extra is None:
        child.say("needs", heap.sqlite3_memory_highwater(0) - before)
    heap.sqlite3_hard_heap_limit64(ctypes.c_int64(0))
    child.say("lifted")
    await load.call("initialize", db.initialize)
    await load.turn()
    await load.verify()
    ruler.close()
    await end(child, db)


async def recorded(child: Child, log: str, durability: str, turns: int = 2, mutant: bool = False) -> None:
    """A load in two sessions, so that the log beside the database is made twice; a sync may fail in it.

    The mutant syncs nothing.
    """
    short_log()
    if mutant:
        engine._pragmas = lambda _: ("synchronous=OFF", "wal_autocheckpoint=12")  # type: ignore[assignment]
    child.record(log)
    child.arm()
    for _ in range(2):
        db = database(child, durability=durability)
        load = Load(child, db, tries=2)
        await load.call("initialize", db.initialize)
        for _ in range(turns):
            await load.turn()
        await attempt(child, "close", db.close)
    child.disarm()
