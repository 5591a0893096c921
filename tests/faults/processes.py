"""The programs that the fault tests run in processes of their own, started by `tests.faults.children`.

A program prints what it knows to be done, one line each, flushed before it goes on: what it printed
must be in the database.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import mmap
import os
import random
import re
import sys
import threading
import time
from typing import Any

import attrs

import abathur.engines.postgres  # noqa: F401  # the fork server imports it once, for all
from abathur import Database, Statement, moving, sql, tasks
from abathur.chat import Event
from abathur.engines import clock, postgres_connection
from abathur.errors import LeaseLostError, RowSchemaConflictError
from abathur.moving import pages
from abathur.projects import deciding


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def database(path: str, **options: Any) -> Database:
    return Database(path, environment="test", **options)


async def producer(path: str, name: str) -> None:
    """Make tasks for ever, one by one, in bunches, and with dependencies; say each that was accepted."""
    draw = random.Random()
    async with database(path) as db:
        last: list[str] = []
        while True:
            if draw.random() < 0.3:
                made = await db.tasks.enqueue_many(
                    [
                        {"prompt": name, "ref": "a", "depends_on": last, "max_attempts": 1000},
                        {"prompt": name, "depends_on": ["a"], "max_attempts": 1000},
                        {"prompt": name, "max_attempts": 1000},
                    ]
                )
            else:
                made = [await db.tasks.enqueue(name, max_attempts=1000, input={"n": 1})]
            say(*(task.id for task in made))
            last = [made[0].id] if draw.random() < 0.5 else []
            await asyncio.sleep(draw.random() * 0.05)


async def worker(path: str, name: str, lease: str, until_empty: str = "", mutant: str = "") -> None:
    """Claim, work a moment, settle; say each completion that was accepted, and each that was refused.

    Now and then the work takes as long as the lease, so that others take the task at the same moment.
    """
    if mutant:
        take_the_fence_out()
    draw = random.Random()
    types = None if until_empty else ["general"]
    async with database(path) as db:
        while True:
            claims = await db.tasks.claim(
                name, agent_types=types, limit=draw.choice([1, 2, 5]), lease=float(lease)
            )
            for claim in claims:
                is_slow = not until_empty and draw.random() < 0.03
                await asyncio.sleep(
                    float(lease) * draw.uniform(0.99, 1.03) if is_slow else draw.random() * 0.004
                )
                try:
                    how = draw.random()
                    if how < 0.05:
                        await db.tasks.release(claim)
                    elif how < 0.1:
                        await db.tasks.fail(claim, "broken", retry_in=0.01)
                    else:
                        await db.tasks.complete(claim, {"by": name, "fence": claim.fence})
                        say(claim.task.id, claim.fence)
                except LeaseLostError:
                    say("lost")
            if not claims:
                counts = await db.tasks.counts()
                if until_empty and not any(
                    counts.get(one) for one in ("ready", "scheduled", "running", "blocked")
                ):
                    return
                await asyncio.sleep(0.01)


async def zombie(path: str, name: str, write: str, mutant: str = "") -> None:
    """Claim, say so, wait to be told that the lease is over, write late; say what came of it."""
    if mutant:
        take_the_fence_out()
    async with database(path) as db:
        (claim,) = await db.tasks.claim(name, agent_types=[name], lease=0.3)
        say("claimed", claim.task.id, claim.fence)
        # The test stops this process here, for longer than the lease, and lets it go on.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        try:
            if write == "complete":
                await db.tasks.complete(claim, {"late": name})
            elif write == "fail":
                await db.tasks.fail(claim, "late", retry=False)
            elif write == "release":
                await db.tasks.release(claim)
            else:
                await db.tasks.heartbeat(claim, lease=1000, message="late")
        except LeaseLostError:
            say("lost")
        else:
            say("accepted")


def take_the_fence_out() -> None:
    """The mutant: the same library with the fence taken out of every WHERE clause.

    What is left is what a queue without fences does: whoever writes to a running task wins.
    """
    load = sql.read_directory

    def mutated(directory: Any, dialect: str) -> dict[str, sql.Query]:
        found = {}
        for name, query in load(directory, dialect).items():
            text = query.sql
            if name == "batches.held":
                # `held` answers with the row's fence, which its callers compare: answer with the claim's.
                given = _GIVEN[dialect]
                text = text.replace("t.fence, ", f"{given} AS fence, ").replace(f"t.fence = {given} AND ", "")
            text = re.sub(r" AND fence = :fence\b", "", text)
            found[name] = sql.Query(name, query.purpose, text)
        return found

    sql.read_directory = mutated
    sql.library.cache_clear()
    for dialect in sql.DIALECTS:
        held = sql.library(dialect)["batches.held"].sql
        assert "t.fence" not in held, held
        assert ":fence" not in sql.library(dialect)["tasks.complete"].sql


_GIVEN = {"sqlite": "json_extract(claim.value, '$[1]')", "postgres": "CAST(claim.value ->> 1 AS BIGINT)"}
"""A claim's fence in `batches.held`."""


async def initializer(path: str) -> None:
    """Initialize, all at the same moment; say how many steps there were."""
    db = database(path)
    say("ready")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    report = await db.initialize()
    say(len(report.steps))
    await db.close()


async def submitter(path: str, keys: str, prefix: str) -> None:
    """Enqueue one task for each key; say the ids in the order of the keys."""
    async with database(path) as db:
        say("ready")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        for start in range(0, int(keys), 10):
            made = await asyncio.gather(
                *(
                    db.tasks.enqueue(f"task {n}", key=f"{prefix} {n}", input={"n": n})
                    for n in range(start, min(start + 10, int(keys)))
                )
            )
            say(*(task.id for task in made))


async def registrar(path: str, name: str) -> None:
    """Register tables and widen them for ever, and insert a row into each; say what was acknowledged.

    Every process does it with the same tables, so that they meet.
    """
    draw = random.Random()
    async with database(path) as db:
        store = db.rows.for_plugin("quotes")
        say("ready")
        for number in itertools.count():
            table = f"t{draw.randrange(5)}"
            there = {"a": {"type": "string"}}
            if table in (await store.list_schemas())["tables"]:
                found = (await store.get_schema(table))["schema"]["fields"]
                there = {field["name"]: {"type": field["type"]} for field in found}
            if len(there) < 30:
                there[f"f{draw.randrange(40)}"] = {"type": "integer"}
            try:
                await store.register({"table": table, "fields": there, "indexes": [draw.choice(list(there))]})
            except RowSchemaConflictError:  # somebody else has widened it meanwhile
                continue
            say("registered", table, *there)
            asked = f"{name} {number}"
            made = await store.insert(table, {"a": asked, **dict.fromkeys(list(there)[1:], number)}, asked)
            say("inserted", table, made["id"], asked)


async def recorder(path: str, batches: str, size: str) -> None:
    """Record the batches of one stream, in an order of its own; say how many events of each were new."""
    order = list(range(int(batches)))
    random.Random().shuffle(order)
    async with database(path) as db:
        say("ready")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        for batch in order:
            numbers = range(batch * int(size) + 1, (batch + 1) * int(size) + 1)
            events = [
                Event("message.log", {"username": f"user {n % 7}", "message": f"{n}"}, ("a stream", n))
                for n in numbers
            ]
            recorded = await db.chat.record(events)
            say(batch, recorded.stored)


async def writer(path: str, seconds: str) -> None:
    """Write as fast as it goes; say how many transactions there were and the longest of them."""
    async with database(path) as db:
        say("ready")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        end = time.monotonic() + float(seconds)
        count, longest = 0, 0.0
        while (began := time.monotonic()) < end:
            await db.tasks.enqueue("x")
            count += 1
            longest = max(longest, time.monotonic() - began)
        say(count, longest)


async def backups(path: str, target: str) -> None:
    """Make backups for ever; say when each begins and when it is done."""
    async with database(path) as db:
        for number in range(1_000_000):
            say("begin", number)
            await db.backup(f"{target}-{number}.db")
            say("done", number)


async def mover(path: str, target: str, rows: str) -> None:
    """Move a database, so many rows in a transaction; say how far it is, and the digests at the end."""
    pages.MOST = int(rows)  # type: ignore[misc]
    here, there = Database(path), Database(target)
    try:
        done = await moving.move(here, there, progress=say)
        say("moved", *(one.digest for one in done.tables))
    finally:
        await here.close()
        await there.close()


async def holder(path: str) -> None:
    """Take the write lock and keep it; say so. The test stops this process there."""

    def hold() -> Any:
        yield Statement("tasks.counts")
        say("holding")
        time.sleep(60)

    async with database(path) as db:
        await db.run(hold)


async def keeper(path: str, task_id: str, idle: str) -> None:
    """Lock the row of a task and make another one; the test stops this process in between.

    A server ends a transaction in which nothing happens for `idle`; it is then done again.
    """
    postgres_connection.IDLE_IN_TRANSACTION = idle  # type: ignore[misc]
    new = tasks.new_task("made by the one that was stopped")
    tries = 0

    def keep(now: int) -> Any:
        nonlocal tries
        tries += 1
        yield Statement("batches.brief", ids=f'["{task_id}"]')
        say("holding")
        if tries == 1:
            sys.stdin.readline()
        return (yield from tasks.enqueue([new], now))

    async with database(path) as db:
        await db.run(keep)
    say(tries)


async def clocked(offset: str, jitter: str, program: str, *arguments: str) -> None:
    """Run a program on a host whose wall clock the test sets: `offset` is a file with microseconds.

    All programs of one test share the file, as all processes of a host share its clock.
    """
    clock.time = SetClock(offset, float(jitter))  # type: ignore[assignment]
    await PROGRAMS[program](*arguments)


async def skewed(seconds: str, program: str, *arguments: str) -> None:
    """Run a program on a host whose wall clock is wrong by so many seconds, whoever asks it."""
    wrong, now, now_ns = float(seconds), time.time, time.time_ns
    time.time = lambda: now() + wrong
    time.time_ns = lambda: now_ns() + int(wrong * 1e9)
    await PROGRAMS[program](*arguments)


class SetClock:
    """Stands in for the module `time` of `abathur.engines.clock`."""

    def __init__(self, offset: str, jitter: float) -> None:
        descriptor = os.open(offset, os.O_RDONLY)
        self._offset = mmap.mmap(descriptor, 8, prot=mmap.PROT_READ)
        os.close(descriptor)
        self._jitter = int(jitter * 1e9)
        self._draw = random.Random()

    def time_ns(self) -> int:
        jitter = self._draw.randint(-self._jitter, self._jitter) if self._jitter else 0
        return time.time_ns() + int.from_bytes(self._offset[:8], "little", signed=True) * 1000 + jitter

    @staticmethod
    def monotonic_ns() -> int:
        return time.monotonic_ns()


async def resolver(path: str, mutant: str = "") -> None:
    """Resolve each directory that is named on stdin, until that is `end`; say what came of it.

    The mutant does not look whether somebody else has claimed the directory.
    """
    if mutant:
        deciding._rooted = _nobody  # type: ignore[assignment]
    async with database(path) as db:
        say("ready")
        read = asyncio.get_running_loop().run_in_executor
        while (line := (await read(None, sys.stdin.readline)).strip()) != "end":
            found = await db.projects.resolve(directory=line)
            say(json.dumps(attrs.asdict(found)))


def _nobody(_: object) -> Any:
    yield Statement("registry.lock")
    return None, ()


PROGRAMS = {
    "producer": producer,
    "worker": worker,
    "zombie": zombie,
    "submitter": submitter,
    "recorder": recorder,
    "initializer": initializer,
    "registrar": registrar,
    "writer": writer,
    "mover": mover,
    "holder": holder,
    "keeper": keeper,
    "clocked": clocked,
    "skewed": skewed,
    "backups": backups,
    "resolver": resolver,
}


def child(life: Any, stdin: Any, out: str, err: str, program: str, *arguments: str) -> None:
    """What a forked process does: be a program with standard streams of its own, while the test lives."""
    threading.Thread(target=_end_with, args=(life.fileno(),), daemon=True).start()
    os.dup2(stdin.fileno(), 0)
    stdin.close()
    for number, path in ((1, out), (2, err)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    asyncio.run(PROGRAMS[program](*arguments))


def _end_with(life: int) -> None:
    """A test that is killed must not leave programs behind that work for ever."""
    os.read(life, 1)
    os._exit(9)
