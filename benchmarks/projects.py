"""The project registry with 10,000 projects in it, on a file.

A look-up is `db.projects.resolve` of one by its id, by its name, and of the directory of one, whose
configuration is found and read; each of a random project, one after another. To create a project is
`resolve` of a directory whose configuration has no id: the claim, the store with its tables, the id synced
into the configuration. A claim is `db.tasks.claim` of one task of one agent type, for one project of a
hundred, against the same without a project, on a queue of 20,000 tasks. Times are of one caller, with the
durability `full`.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from abathur import Database, Statement, ids
from abathur.projects.config import identity
from benchmarks.harness import Bench, median, percentile, ratio


def run(bench: Bench) -> None:
    with bench.place() as place:
        asyncio.run(_registry(bench, place))
    with bench.place() as place:
        asyncio.run(_claims(bench, place))


async def _registry(bench: Bench, place: Path) -> None:
    number = bench.pick(10_000, 200)
    (place / ".git").mkdir()
    known = [_configured(place / "known" / str(n), ids.new_id()) for n in range(100)]
    async with Database(place / "registry.db") as db:
        for directory in known:
            await db.projects.resolve(directory=directory)
        await db.run(_fill, [ids.new_id() for _ in range(number - len(known))], str(place))
        listed = await db.projects.list(limit=1_000)
        draw = random.Random(1)
        times = {
            "by id": await _timed(bench, lambda: db.projects.resolve(draw.choice(listed[:100]).id)),
            "by name": await _timed(bench, lambda: db.projects.resolve(draw.choice(listed[:100]).name)),
            "by directory": await _timed(bench, lambda: db.projects.resolve(directory=draw.choice(known))),
        }
        made = []
        for n in range(bench.pick(60, 3)):
            directory = _configured(place / "new" / str(n), None)
            began = time.perf_counter()
            await db.projects.resolve(directory=directory)
            made.append((time.perf_counter() - began) * 1000)
    bench.table(
        [f"{number:,} projects, ms", "median", "p95"],
        [
            *([what, median(took), percentile(took, 95)] for what, took in times.items()),
            ["create", median(made), percentile(made, 95)],
        ],
    )
    bench.goal(
        "the slowest look-up, p95", max(percentile(took, 95) for took in times.values()), "<=", 10, " ms"
    )
    bench.goal("create, p95", percentile(made, 95), "<=", 250, " ms")


def _configured(place: Path, project_id: str | None) -> Path:
    (place / ".abathur").mkdir(parents=True)
    project = {"name": f"project {place.name}", **({"id": project_id} if project_id else {})}
    (place / ".abathur" / "config.json").write_text(json.dumps({"version": "1.0", "project": project}))
    return place


def _fill(project_ids: list[str], root: str, now: int) -> Any:
    """Rows of projects whose directories and stores are not looked at."""
    steady = {"description": None, "metadata": "{}", "now": now}
    rows = [
        {"id": one, "name": f"other {n}", "database_name": f"other_{n}", **steady}
        for n, one in enumerate(project_ids)
    ]
    yield Statement("projects.insert", rows=rows)
    directory = identity(root)
    roots = [
        {"root": f"{root}/other/{n}", "project_id": one, "name": f"other {n}", "persisted": 1, "now": now,
         "directory": f"{n}:{directory}"}
        for n, one in enumerate(project_ids)
    ]  # fmt: skip
    yield Statement("projects.put_root", rows=roots)


async def _timed(bench: Bench, call: Callable[[], Awaitable[Any]]) -> list[float]:
    took = []
    for _ in range(bench.pick(500, 10)):
        began = time.perf_counter()
        await call()
        took.append((time.perf_counter() - began) * 1000)
    return took


async def _claims(bench: Bench, place: Path) -> None:
    number = bench.pick(20_000, 400)
    times: dict[str, list[float]] = {"of a project": [], "of any": []}
    async with Database(place / "tasks.db") as db:
        for n in range(0, number, 1_000):
            some = range(n, n + 1_000)
            await db.tasks.enqueue_many([{"prompt": "x", "project": f"p{m % 100}"} for m in some])
        for n in range(bench.pick(300, 10)):
            order = list(times) if n % 2 else list(times)[::-1]
            for who in order:
                projects = [f"p{n % 100}"] if who == "of a project" else None
                began = time.perf_counter()
                assert await db.tasks.claim("w", agent_types=["general"], projects=projects)
                times[who].append((time.perf_counter() - began) * 1000)
    bench.table(
        [f"claim one of {number:,} tasks, ms", "median", "p95"],
        [[who, median(took), percentile(took, 95)] for who, took in times.items()],
    )
    bench.goal("claim for a project / for any", ratio(*times.values()), "<=", 1.2)
