"""The programs that the fault tests run in processes of their own.

`python -m tests.faults.processes <program> <database> <argument>...`. A program prints what it
knows to be done, one line each, flushed before it goes on: what it printed must be in the database.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import time
from typing import Any

from abathur import Database, sql
from abathur.errors import LeaseLostError


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
            await asyncio.sleep(draw.random() * 0.02)


async def worker(path: str, name: str, lease: str, until_empty: str = "") -> None:
    """Claim, work a moment, complete; say each completion that was accepted."""
    draw = random.Random()
    async with database(path) as db:
        while True:
            claims = await db.tasks.claim(name, limit=draw.choice([1, 2, 5]), lease=float(lease))
            for claim in claims:
                await asyncio.sleep(draw.random() * 0.004)
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
                text = text.replace("t.fence, ", "json_extract(claim.value, '$[1]') AS fence, ")
                text = text.replace("t.fence = json_extract(claim.value, '$[1]') AND ", "")
            text = re.sub(r" AND fence = :fence\b", "", text)
            found[name] = sql.Query(name, query.purpose, text)
        return found

    sql.read_directory = mutated
    sql.library.cache_clear()
    held = sql.library("sqlite")["batches.held"].sql
    assert "t.fence" not in held, held
    assert ":fence" not in sql.library("sqlite")["tasks.complete"].sql


async def submitter(path: str, keys: str) -> None:
    """Enqueue one task for each key; say the ids in the order of the keys."""
    async with database(path) as db:
        say("ready")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        for start in range(0, int(keys), 10):
            made = await asyncio.gather(
                *(
                    db.tasks.enqueue(f"task {n}", key=f"key {n}", input={"n": n})
                    for n in range(start, min(start + 10, int(keys)))
                )
            )
            say(*(task.id for task in made))


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


if __name__ == "__main__":
    programs = {
        "producer": producer,
        "worker": worker,
        "zombie": zombie,
        "submitter": submitter,
        "writer": writer,
        "backups": backups,
    }
    asyncio.run(programs[sys.argv[1]](*sys.argv[2:]))
