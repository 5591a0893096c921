"""Tasks per second on a SQLite file, durability full, and what share of the limit that is.

c callers enqueue N tasks of 500 bytes (prompt and input), one per call; then c workers claim one and
complete it, until none is left. e2e = N / (time to enqueue + time to process). "runner": the same
tasks run by a Runner(concurrency=c) whose handler does nothing. The limit is the bare sqlite3 module
in one thread: the same row changes in batches of c per transaction, nothing hashed (see bare.py).
Each measurement has a fresh file; that the files end with the same rows is checked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from abathur import Database
from benchmarks import loads
from benchmarks.bare import ACTOR, Bare, batches, prepare, same_rows
from benchmarks.harness import Bench, interleave, median, ratio, spread

GOALS = {1: 0.40, 10: 0.50, 100: 0.60}

Seconds = tuple[float, float]
Rates = tuple[float, float, float]
Process = Callable[[Database, int, int], Awaitable[float]]


def run(bench: Bench) -> None:
    sizes = bench.pick({1: 1_500, 10: 6_000, 100: 20_000}, {1: 50, 10: 200, 100: 1_000})
    rows: list[list[Any]] = []
    shares = {}
    for c, n in sizes.items():
        found = interleave(
            bench.pick(7, 1),
            {
                "abathur": partial(_abathur, bench, n, c, loads.process),
                "the limit": partial(_limit, bench, n, c),
                "runner": partial(_abathur, bench, n, c, loads.run_runner),
            },
        )
        _compare(bench, c)
        found_rates = {who: [rates(n, seconds) for seconds in times] for who, times in found.items()}
        for who, those in found_rates.items():
            columns = list(zip(*those, strict=True))
            limits = list(zip(*found_rates["the limit"], strict=True))
            share = [ratio(mine, limit) for mine, limit in zip(columns, limits, strict=True)]
            shares[who, c] = share[2]
            rows.append(
                [
                    f"c={c} {who}",
                    *(median(column) for column in columns),
                    *share,
                    spread(columns[2], limits[2]),
                ]
            )
    bench.table(
        ["", "enqueue/s", "process/s", "e2e/s", "of limit: enqueue", "process", "e2e", "rounds"], rows
    )
    for c, goal in GOALS.items():
        bench.goal(f"e2e of the limit, c={c}", shares["abathur", c], ">=", goal)


def rates(n: int, seconds: Seconds) -> Rates:
    """Per second: enqueue, process, both."""
    return n / seconds[0], n / seconds[1], n / sum(seconds)


def _abathur(bench: Bench, n: int, c: int, process: Process) -> Seconds:
    with bench.place() as place:
        return asyncio.run(_through_abathur(place / "tasks.db", n, c, process))


async def _through_abathur(path: Path, n: int, c: int, process: Process) -> Seconds:
    async with Database(path, actor=ACTOR) as db:
        await loads.enqueue(db, c, c)  # opens the writer
        await process(db, c, c)
        return await loads.enqueue(db, n, c), await process(db, n, c)


def _limit(bench: Bench, n: int, c: int) -> Seconds:
    with bench.place() as place:
        asyncio.run(loads.create(place / "tasks.db"))
        return _through_sqlite(place / "tasks.db", n, c)


def _through_sqlite(path: Path, n: int, c: int) -> Seconds:
    bare = Bare(path)
    bare.enqueue(prepare(c))
    bare.complete(bare.claim(c))
    prepared = list(batches(prepare(n), c))
    began = time.perf_counter()
    for batch in prepared:
        bare.enqueue(batch)
    enqueued = time.perf_counter()
    while taken := bare.claim(c):
        bare.complete(taken)
    ended = time.perf_counter()
    bare.close()
    return enqueued - began, ended - enqueued


def _compare(bench: Bench, c: int) -> None:
    with bench.place() as place:
        asyncio.run(_through_abathur(place / "abathur.db", 3 * c, c, loads.process))
        asyncio.run(loads.create(place / "limit.db"))
        _through_sqlite(place / "limit.db", 3 * c, c)
        same_rows(place / "abathur.db", place / "limit.db")
