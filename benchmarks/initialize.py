"""How long `initialize()` takes, in a warm process.

On a current file: from `Database(path)` until `initialize()` returns, against `aiosqlite.connect` until
the first SELECT on the same file is answered; closing is timed apart, for both. The first write, which
opens the writer's connection, is timed apart too: against the same on the bare connection.
From nothing: `initialize()` on a path without a file, against the same DDL in one transaction of the
bare sqlite3 module, in WAL mode with synchronous=FULL. Rounds are interleaved; times are medians.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import aiosqlite

from abathur import Database
from benchmarks import loads
from benchmarks.harness import Bench, median, percentile, ratio


def run(bench: Bench) -> None:
    with bench.place() as place:
        asyncio.run(_current(bench, place / "tasks.db"))
    with bench.place() as place:
        asyncio.run(_from_nothing(bench, place))


async def _current(bench: Bench, path: Path) -> None:
    async with Database(path) as db:
        await loads.enqueue(db, 100, 10)
    ours: list[tuple[float, ...]] = []
    bare: list[tuple[float, ...]] = []
    for number in range(bench.pick(200, 5) + 2):
        one, other = (ours, bare) if number % 2 else (bare, ours)
        for who in (one, other):
            who.append(await (_abathur(path) if who is ours else _aiosqlite(path)))
    mine, theirs = (list(zip(*those[2:], strict=True)) for those in (ours, bare))
    bench.table(
        ["on a current file, ms", "open", "p95", "close", "open and close", "first write after it"],
        [
            [who, median(times[0]), percentile(times[0], 95), median(times[1]),
             median([a + b for a, b in zip(times[0], times[1], strict=True)]), median(times[2])]
            for who, times in (("initialize()", mine), ("aiosqlite", theirs))
        ],
    )  # fmt: skip
    bench.goal("initialize on a current file / aiosqlite open", ratio(mine[0], theirs[0]), "<=", 2)
    bench.goal("initialize on a current file", median(mine[0]), "<=", 3, " ms")


async def _abathur(path: Path) -> tuple[float, float, float]:
    began = time.perf_counter()
    db = Database(path)
    report = await db.initialize()
    opened = time.perf_counter()
    assert not report.steps
    await db.close()
    closed = time.perf_counter()
    async with Database(path) as db:
        before = time.perf_counter()
        await db.tasks.enqueue("first")
        first = time.perf_counter() - before
    return (opened - began) * 1000, (closed - opened) * 1000, first * 1000


async def _aiosqlite(path: Path) -> tuple[float, float, float]:
    began = time.perf_counter()
    connection = await aiosqlite.connect(path)
    await connection.execute_fetchall("SELECT id FROM tasks LIMIT 1")
    opened = time.perf_counter()
    await connection.close()
    closed = time.perf_counter()
    async with aiosqlite.connect(path) as connection:
        await connection.execute_fetchall("SELECT id FROM tasks LIMIT 1")
        before = time.perf_counter()
        await connection.execute_insert("INSERT INTO task_progress (task_id, updated_at) VALUES ('x', 0)")
        await connection.commit()
        first = time.perf_counter() - before
        await connection.execute("DELETE FROM task_progress")
        await connection.commit()
    return (opened - began) * 1000, (closed - opened) * 1000, first * 1000


async def _from_nothing(bench: Bench, place: Path) -> None:
    async with Database(place / "model.db"):
        pass
    model = sqlite3.connect(place / "model.db")
    ddl = [
        row[0]
        for row in model.execute(
            "SELECT sql FROM sqlite_master WHERE sql NOT NULL AND name NOT LIKE 'sqlite_%'"
        )
    ]
    model.close()
    ours: list[float] = []
    bare: list[float] = []
    for number in range(bench.pick(40, 2) + 1):
        began = time.perf_counter()
        db = Database(place / f"a{number}.db")
        await db.initialize()
        ours.append((time.perf_counter() - began) * 1000)
        await db.close()
        began = time.perf_counter()
        connection = sqlite3.connect(place / f"b{number}.db", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=FULL",
            "BEGIN IMMEDIATE",
            *ddl,
            "COMMIT",
        ):
            connection.execute(statement).fetchall()
        bare.append((time.perf_counter() - began) * 1000)
        connection.close()
    ours, bare = ours[1:], bare[1:]
    bench.table(
        ["from nothing, ms", "median", "p95"],
        [
            ["initialize()", median(ours), percentile(ours, 95)],
            ["the same DDL, sqlite3", median(bare), percentile(bare, 95)],
        ],
    )
    bench.goal("initialize from nothing", median(ours), "<=", 25, " ms")
