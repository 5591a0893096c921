"""How long one enqueue takes when 100 callers enqueue at once, durability full: p50 and p99.

Each caller enqueues one task after another (500 bytes). Baseline: the transactions of the limit, 100
tasks each, in the bare sqlite3 module: a caller cannot be answered before its transaction is done.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from abathur import Database
from benchmarks import loads
from benchmarks.bare import AGENT, INPUT, PROMPT, Bare, batches, prepare
from benchmarks.harness import Bench, interleave, median, percentile

CALLERS = 100


def run(bench: Bench) -> None:
    each = bench.pick(100, 5)
    found = interleave(
        bench.pick(7, 1), {"abathur": lambda: _abathur(bench, each), "the limit": lambda: _limit(bench, each)}
    )
    rows: list[list[Any]] = []
    for who, rounds in found.items():
        p50, p99 = ([percentile(values, percent) for values in rounds] for percent in (50, 99))
        worst = [max(values) for values in rounds]
        rows.append(
            [
                who,
                median(p50),
                median(p99),
                median(worst),
                median([b / a for a, b in zip(p50, p99, strict=True)]),
            ]
        )
    bench.table(["", "p50 ms", "p99 ms", "longest ms", "p99 / p50"], rows)
    bench.goal("enqueue p99 / p50, c=100", rows[0][4], "<=", 6)


def _abathur(bench: Bench, each: int) -> list[float]:
    with bench.place() as place:
        return asyncio.run(_callers(place / "tasks.db", each))


async def _callers(path: Path, each: int) -> list[float]:
    took: list[float] = []

    async def caller(db: Database) -> None:
        for _ in range(each):
            began = time.perf_counter()
            await db.tasks.enqueue(PROMPT, agent_type=AGENT, input=INPUT)
            took.append((time.perf_counter() - began) * 1000)

    async with Database(path) as db:
        await loads.enqueue(db, CALLERS, CALLERS)
        await asyncio.gather(*(caller(db) for _ in range(CALLERS)))
    return took


def _limit(bench: Bench, each: int) -> list[float]:
    took = []
    with bench.place() as place:
        asyncio.run(loads.create(place / "tasks.db"))
        bare = Bare(place / "tasks.db")
        for batch in batches(prepare(each * CALLERS), CALLERS):
            began = time.perf_counter()
            bare.enqueue(batch)
            took.append((time.perf_counter() - began) * 1000)
        bare.close()
    return took
