"""How soon an idle runner begins a task, and what it costs while it has none.

A Runner waits; every 20 to 40 ms a task is enqueued, by this process or by another one. Latency: from
the call of `enqueue` to the first line of the handler, so the enqueue's own commit is in it, and from
the return of `enqueue`. Baseline: the two transactions alone, enqueue one and claim one, in the bare
sqlite3 module, durability full, taking turns with the in-process measurement. CPU: process time of all
threads of a process with an idle runner, against one that only sleeps.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from abathur import Context, Database, Runner
from benchmarks import loads
from benchmarks.bare import AGENT, INPUT, PROMPT, Bare, prepare
from benchmarks.harness import Bench, median, percentile, python

Waits = tuple[float, float]
"""Seconds from the call and from the return of `enqueue` to the handler."""


def run(bench: Bench) -> None:
    asyncio.run(_run(bench))


async def _run(bench: Bench) -> None:
    n = bench.pick(300, 10)
    here: list[Waits] = []
    floor: list[Waits] = []
    for _ in range(bench.pick(3, 1)):
        with bench.place() as place:
            here += await in_process(place / "tasks.db", n // 3)
        floor += _floor(bench, n // 3)
    with bench.place() as place:
        there = await from_another(place / "tasks.db", n)
    rows = table(bench, here, there, floor)
    with bench.place() as place:
        busy = await cpu(bench, place / "tasks.db")
    bench.goal(
        "pickup p50 in process more than two bare transactions", rows[0][1] - rows[2][1], "<=", 1, " ms"
    )
    bench.goal("pickup p95 in process, from the call", rows[0][2], "<=", 1, " ms")
    bench.goal("pickup p95 in process, from the return", rows[0][4], "<=", 1, " ms")
    bench.goal("pickup p95 from another process, from the return", rows[1][4], "<=", 20, " ms")
    bench.goal("CPU of an idle runner", busy * 100, "<=", 0.5, " %")


def table(bench: Bench, here: list[Waits], there: list[Waits], floor: list[Waits]) -> list[list[Any]]:
    """Print p50 and p95 of each in ms."""
    rows: list[list[Any]] = []
    for who, times in (
        ("in process", here),
        ("from another process", there),
        ("two bare transactions", floor),
    ):
        called, returned = ([pair[place] * 1000 for pair in times] for place in (0, 1))
        rows.append([who, median(called), percentile(called, 95), median(returned), percentile(returned, 95)])
    bench.table(["ms to the handler", "from the call: p50", "p95", "from the return: p50", "p95 "], rows)
    return rows


@asynccontextmanager
async def _running(url: str | Path) -> AsyncIterator[tuple[Database, dict[str, float]]]:
    """A database with a runner at rest, and when each task's handler began."""
    began: dict[str, float] = {}
    async with Database(url) as db:
        runner = Runner(db, concurrency=8)

        @runner.agent(AGENT)
        async def note(ctx: Context) -> None:
            began[ctx.task.id] = time.perf_counter()

        task = asyncio.create_task(runner.run())
        await loads.enqueue(db, 1, 1)
        await asyncio.sleep(0.3)
        yield db, began
        runner.stop()
        await task


async def in_process(url: str | Path, n: int) -> list[Waits]:
    async with _running(url) as (db, began):
        asked = await _ask(db, n)
        await asyncio.sleep(0.3)
    return [(began[task] - called, began[task] - returned) for task, called, returned in asked]


async def from_another(url: str | Path, n: int) -> list[Waits]:
    async with _running(url) as (_, began):
        child = python("-m", "benchmarks.pickup", str(url), str(n))
        answer, _ = await asyncio.to_thread(child.communicate)
        await asyncio.sleep(0.3)
    return [(began[task] - called, began[task] - returned) for task, called, returned in json.loads(answer)]


async def _ask(db: Database, n: int) -> list[tuple[str, float, float]]:
    """Enqueue now and then; the id of each, and when `enqueue` was called and returned."""
    asked = []
    for _ in range(n):
        await asyncio.sleep(random.uniform(0.02, 0.04))
        called = time.perf_counter()  # CLOCK_MONOTONIC: the same for all processes
        task = await db.tasks.enqueue(PROMPT, agent_type=AGENT, input=INPUT)
        asked.append((task.id, called, time.perf_counter()))
    return asked


def _floor(bench: Bench, n: int) -> list[Waits]:
    found: list[Waits] = []
    with bench.place() as place:
        path = place / "tasks.db"
        connection = Bare(_created(path))
        for prepared in prepare(n):
            time.sleep(random.uniform(0.02, 0.04))
            called = time.perf_counter()
            connection.enqueue([prepared])
            returned = time.perf_counter()
            connection.claim(1)
            ended = time.perf_counter()
            found.append((ended - called, ended - returned))
        connection.close()
    return found


def _created(path: Path) -> Path:
    child = python(
        "-c", f"import asyncio; from benchmarks import loads; asyncio.run(loads.create({str(path)!r}))"
    )
    child.communicate()
    return path


async def cpu(bench: Bench, url: str | Path) -> float:
    """The share of a core of an idle runner, printed beside that of a loop that sleeps."""
    length = bench.pick(10.0, 1.0)
    async with _running(url):
        await asyncio.sleep(1.5)  # the log is tidied up after a second
        busy = await _share(length)
    idle = await _share(length)
    bench.table(["", "% of a core"], [["idle runner", busy * 100], ["a process that sleeps", idle * 100]])
    return busy


async def _share(length: float) -> float:
    began, used = time.perf_counter(), time.process_time()
    await asyncio.sleep(length)
    return (time.process_time() - used) / (time.perf_counter() - began)


async def _child(path: str, n: int) -> None:
    async with Database(path) as db:
        await asyncio.sleep(0.2)
        await loads.enqueue(db, 1, 1)
        json.dump(await _ask(db, n), sys.stdout)


if __name__ == "__main__":
    asyncio.run(_child(sys.argv[1], int(sys.argv[2])))
