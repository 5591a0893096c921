"""What dependencies cost: 10,000 tasks as a graph against 10,000 flat ones, e2e per task.

The graph: groups of 102, a task that 100 wait for, and one that waits for these 100 (fan-out and
fan-in; 200 edges). Each group is one `enqueue_many`; the flat tasks come in calls of 102 too. Then a
Runner with 100 slots and a handler that does nothing runs everything. durability full; fresh files.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from abathur import Database
from benchmarks import loads
from benchmarks.bare import AGENT, INPUT, PROMPT
from benchmarks.harness import Bench, interleave, median, ratio, spread

FAN = 100


def run(bench: Bench) -> None:
    groups = bench.pick(98, 4)
    found = interleave(
        bench.pick(5, 1),
        {
            "graph": lambda: _measure(bench, groups, _graph()),
            "flat": lambda: _measure(bench, groups, _flat()),
        },
    )
    flat = list(zip(*found["flat"], strict=True))
    rows: list[list[Any]] = []
    for who, rounds in found.items():
        columns = list(zip(*rounds, strict=True))
        shares = [ratio(mine, theirs) for mine, theirs in zip(columns, flat, strict=True)]
        rows.append([who, *(median(column) for column in columns), *shares, spread(columns[2], flat[2])])
    headers = ["us per task", "enqueue", "process", "e2e", "of flat: enqueue", "process ", "e2e ", "rounds"]
    bench.table(headers, rows)
    bench.goal("graph / flat, e2e per task", rows[0][6], "<=", 1.5)


def _task(**more: Any) -> dict[str, Any]:
    return {"prompt": PROMPT, "agent_type": AGENT, "input": INPUT, **more}


def _flat() -> list[dict[str, Any]]:
    return [_task() for _ in range(FAN + 2)]


def _graph() -> list[dict[str, Any]]:
    middle = [f"middle {place}" for place in range(FAN)]
    return [
        _task(ref="first"),
        *(_task(ref=ref, depends_on=["first"]) for ref in middle),
        _task(ref="last", depends_on=middle),
    ]


def _measure(bench: Bench, groups: int, group: list[dict[str, Any]]) -> tuple[float, float, float]:
    with bench.place() as place:
        return asyncio.run(_through(place / "tasks.db", groups, group))


async def _through(path: Path, groups: int, group: list[dict[str, Any]]) -> tuple[float, float, float]:
    n = groups * len(group)
    async with Database(path) as db:
        await loads.enqueue(db, 1, 1)
        await loads.run_runner(db, 1, 1)
        began = time.perf_counter()
        for _ in range(groups):
            await db.tasks.enqueue_many(group)
        enqueue = time.perf_counter() - began
        process = await loads.run_runner(db, n, FAN)
    return enqueue / n * 1e6, process / n * 1e6, (enqueue + process) / n * 1e6
