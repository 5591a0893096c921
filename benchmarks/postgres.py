"""Tasks per second on a PostgreSQL server, beside the bare driver, procrastinate and PgQueuer.

c callers enqueue tasks of 500 bytes, one per call; then c workers claim one and complete it, until none is
left. e2e = N / (time to enqueue + time to process). "runner": the same tasks run by a Runner(concurrency=c)
whose handler does nothing. The limit is bare asyncpg on one connection: the same row changes in batches of
c, claims with SKIP LOCKED, one transaction to enqueue, one to claim, one to complete, audit rows, seals and
counts included, nothing hashed (see pg_bare.py); that the schemas end with the same rows is checked. What
changes no row is abathur's alone, and counted against it: it looks for what is due or expired and for who
waits for a task, reads whole tasks, asks for the transaction's number, and notifies. "fused": the limit
completes and claims in one transaction, which lone callers cannot. The peers do the same work with their own
workers (see pg_peers.py), on a part of the tasks, because they are slower. Each measurement has a fresh
schema, all take turns, and a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from abathur import Database
from benchmarks import loads, pg_peers
from benchmarks.bare import ACTOR, batches, prepare
from benchmarks.harness import Bench, interleave, median, ratio, spread
from benchmarks.pg_bare import PgBare, same_rows
from benchmarks.pg_server import fresh, ours, server
from benchmarks.throughput import Process, Rates, Seconds, rates

GOAL = 0.60


def run(bench: Bench) -> None:
    sizes = bench.pick({1: 500, 10: 3_000, 100: 20_000}, {1: 50, 10: 200, 100: 1_000})
    with server(bench) as url:
        if url is None:
            return
        peers = pg_peers.installed()
        rows: list[list[Any]] = []
        multiples: list[list[Any]] = []
        share = 0.0
        for c, n in sizes.items():
            asyncio.run(_compare(url, c))
            contestants = {
                "abathur": _rated(n, partial(_abathur, url, n, c, loads.process)),
                "runner": _rated(n, partial(_abathur, url, n, c, loads.run_runner)),
                "the limit": _rated(n, partial(_limit, url, n, c)),
                "the limit, fused": _rated(n, partial(_limit, url, n, c, fused=True)),
                **{
                    name: _rated(n // part, partial(peer, url, n // part, c))
                    for name, (peer, part) in peers.items()
                },
            }
            found = interleave(bench.pick(3, 1), contestants)
            columns = {who: list(zip(*those, strict=True)) for who, those in found.items()}
            limit, mine = columns["the limit"], columns["abathur"]
            for who, those in columns.items():
                shares = [ratio(one, other) for one, other in zip(those, limit, strict=True)]
                rows.append(
                    [f"c={c} {who}", *map(median, those), *shares, spread(those[1], limit[1])],
                )
                if who in peers:
                    times = [ratio(one, other) for one, other in zip(mine, those, strict=True)]
                    multiples.append([f"c={c} {who}", *times])
            share = ratio(mine[1], limit[1])
        bench.table(
            ["", "enqueue/s", "process/s", "e2e/s", "of limit: enqueue", "process", "e2e", "rounds, process"],
            rows,
        )
        if multiples:
            bench.table(["abathur in multiples of", "enqueue", "process", "e2e"], multiples)
        bench.goal(f"process of the limit, c={max(sizes)}", share, ">=", GOAL)


def _rated(n: int, measure: Callable[[], Coroutine[Any, Any, Seconds]]) -> Callable[[], Rates]:
    return lambda: rates(n, asyncio.run(measure()))


async def _abathur(url: str, n: int, c: int, process: Process) -> Seconds:
    async with fresh(url) as schema:
        return await _through_abathur(ours(url, schema), n, c, process)


async def _through_abathur(url: str, n: int, c: int, process: Process) -> Seconds:
    async with Database(url, actor=ACTOR) as db:
        await loads.enqueue(db, c, c)  # prepares the statements
        await process(db, c, c)
        return await loads.enqueue(db, n, c), await process(db, n, c)


async def _limit(url: str, n: int, c: int, *, fused: bool = False) -> Seconds:
    async with fresh(url) as schema:
        await loads.create(ours(url, schema))
        return await _through_asyncpg(url, schema, n, c, fused=fused)


async def _through_asyncpg(url: str, schema: str, n: int, c: int, *, fused: bool = False) -> Seconds:
    bare = await PgBare.open(url, schema)
    await bare.enqueue(prepare(c))
    await bare.complete(await bare.claim(c))
    prepared = list(batches(prepare(n), c))
    began = time.perf_counter()
    for batch in prepared:
        await bare.enqueue(batch)
    enqueued = time.perf_counter()
    taken = await bare.claim(c)
    while taken:
        if fused:
            taken = await bare.turn(taken, c)
        else:
            await bare.complete(taken)
            taken = await bare.claim(c)
    ended = time.perf_counter()
    await bare.close()
    return enqueued - began, ended - enqueued


async def _compare(url: str, c: int) -> None:
    async with fresh(url) as one, fresh(url) as other:
        await _through_abathur(ours(url, one), 3 * c, c, loads.process)
        await loads.create(ours(url, other))
        await _through_asyncpg(url, other, 3 * c, c)
        await same_rows(url, one, other)
