"""Indexing 10,000 generated files, on a file and on PostgreSQL: `abathur index` as a process of its own.

The tree: 10,000 files of some 2 KB in 200 directories, words drawn from 5,000, 1 % of them binary. Four
runs: the first, one that is killed with SIGKILL half-way, the one that ends what was killed, and one with
nothing to do. Then searches in this process, each word by itself: the median of 200. durability full.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from abathur import Database
from benchmarks import pg_server
from benchmarks.harness import Bench, median

WORDS = [f"{first}{second}" for first in ("ab", "cor", "dil", "ent", "fra") for second in range(1_000)]


def run(bench: Bench) -> None:
    files = bench.pick(10_000, 300)
    with bench.place() as place:
        tree = place / "tree"
        _generate(tree, files)
        rows = [["file", *_measure(tree, str(place / "registry.db"), files)]]
        with pg_server.server(bench) as url:
            if url is not None:
                try:
                    rows.append(["postgres", *_measure(tree, _schema(url), files)])
                finally:
                    asyncio.run(_remove(url))
    after = ["killed at", "to the end, s", "batches again", "nothing to do, s", "search, ms"]
    headers = ["engine", "first, s", "files/s", *after]
    bench.table(headers, rows)
    for row in rows:
        bench.goal(f"{files:,} files, {row[0]}, seconds", row[1], "<=", 60)


def _schema(url: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}schema=bench_index"


async def _remove(url: str) -> None:
    async with Database(_schema(url)) as db:
        names = [project.database_name for project in await db.projects.list()]
    connection = await pg_server.connect(url)
    try:
        await connection.execute("SET client_min_messages = warning")
        for name in [*names, "bench_index"]:
            await connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
    finally:
        await connection.close()


def _generate(tree: Path, files: int) -> None:
    draw = random.Random(17)
    for number in range(files):
        path = tree / f"d{number % 200}" / f"f{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % 100 == 0:
            path.write_bytes(draw.randbytes(2_000) + b"\0")
            continue
        lines = [" ".join(draw.choices(WORDS, k=8)) for _ in range(draw.randrange(20, 60))]
        path.write_text("\n".join(lines) + "\n")
        os.utime(path, (1_700_000_000, 1_700_000_000))


def _measure(tree: Path, url: str, files: int) -> list[Any]:
    (tree / ".abathur").mkdir(exist_ok=True)
    config = tree / ".abathur" / "config.json"
    config.write_text(json.dumps({"version": "1.0", "project": {"name": "bench"}}))
    took, answer = _index(url, tree)
    assert answer["indexed"] == files - files // 100, answer
    killed, again, repeated = _killed(url, tree, files)
    idle, answer = _index(url, tree)
    assert answer["indexed"] == 0, answer
    search = asyncio.run(_search(url, tree))
    return [took, files / took, killed, again, repeated, idle, search * 1000]


def _index(url: str, tree: Path, *more: str) -> tuple[float, dict[str, Any]]:
    began = time.perf_counter()
    done = subprocess.run(_command(url, tree, *more), capture_output=True, text=True, check=True)
    return time.perf_counter() - began, json.loads(done.stdout)


def _command(url: str, tree: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "abathur", "--database", url, "index", str(tree), "--json", *more]


def _killed(url: str, tree: Path, files: int) -> tuple[int, float, int]:
    """Index everything anew, with a SIGKILL half-way: at which file, seconds to the end, batches repeated."""

    async def look() -> int:
        async with Database(url) as db:
            while True:
                (job,) = await db.projects.indexings(limit=1)
                if job.force and job.done >= files // 2:
                    return job.done
                await asyncio.sleep(0.02)

    process = subprocess.Popen(_command(url, tree, "--force"), stdout=subprocess.DEVNULL)
    done = asyncio.run(look())
    process.send_signal(signal.SIGKILL)
    process.wait()
    took, answer = _index(url, tree)
    assert (answer["status"], answer["done"]) == ("completed", files), answer

    async def repeated() -> int:
        async with Database(url) as db:
            parts = await db.tasks.list(parent=answer["job_id"], limit=10_000)
            return sum(task.attempt > 1 for task in parts)

    return done, took, asyncio.run(repeated())


async def _search(url: str, tree: Path) -> float:
    draw = random.Random(4)
    async with Database(url) as db:
        project = (await db.projects.resolve(directory=tree)).project_id
        took = []
        for word in draw.choices(WORDS, k=200):
            began = time.perf_counter()
            assert await db.projects.search(word, project)
            took.append(time.perf_counter() - began)
    return median(took)
