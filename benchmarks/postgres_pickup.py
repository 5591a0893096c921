"""How soon an idle runner on PostgreSQL begins a task, and what it costs while it has none.

A Runner waits; every 20 to 40 ms a task is enqueued, by this process, whose own commits wake it, or by
another one, whose commits NOTIFY it. Latency: from the call of `enqueue` to the first line of the handler,
so the enqueue's own commit is in it, and from its return. Baseline: the two transactions alone, enqueue one
and claim one, in bare asyncpg, taking turns with the in-process measurement. CPU: process time of all
threads of a process with an idle runner, against one that only sleeps; what the server uses is not in it.
"""

from __future__ import annotations

import asyncio
import random
import time

from benchmarks import loads
from benchmarks.bare import prepare
from benchmarks.harness import Bench
from benchmarks.pg_bare import PgBare
from benchmarks.pg_server import fresh, ours, server
from benchmarks.pickup import Waits, cpu, from_another, in_process, table


def run(bench: Bench) -> None:
    with server(bench) as url:
        if url is not None:
            asyncio.run(_run(bench, url))


async def _run(bench: Bench, url: str) -> None:
    n = bench.pick(300, 10)
    here: list[Waits] = []
    floor: list[Waits] = []
    for _ in range(bench.pick(3, 1)):
        async with fresh(url) as schema:
            here += await in_process(ours(url, schema), n // 3)
        floor += await _floor(url, n // 3)
    async with fresh(url) as schema:
        there = await from_another(ours(url, schema), n)
    rows = table(bench, here, there, floor)
    async with fresh(url) as schema:
        busy = await cpu(bench, ours(url, schema))
    bench.goal("pickup p95 in process, from the return", rows[0][4], "<=", 5, " ms")
    bench.goal("pickup p95 from another process, from the return", rows[1][4], "<=", 5, " ms")
    bench.goal("CPU of an idle runner", busy * 100, "<=", 0.5, " %")


async def _floor(url: str, n: int) -> list[Waits]:
    found: list[Waits] = []
    async with fresh(url) as schema:
        await loads.create(ours(url, schema))
        bare = await PgBare.open(url, schema)
        for prepared in prepare(n):
            await asyncio.sleep(random.uniform(0.02, 0.04))
            called = time.perf_counter()
            await bare.enqueue([prepared])
            returned = time.perf_counter()
            await bare.claim(1)
            ended = time.perf_counter()
            found.append((ended - called, ended - returned))
        await bare.close()
    return found
