"""1, 2, 4 and 8 processes on one PostgreSQL server, tasks per second of all together.

In each process 25 callers enqueue a task, claim one and complete it, again and again, for some seconds; all
processes begin at a signal, and the rounds take turns. "abathur": one Database per process. "bare": asyncpg
on one connection per process, the same row changes 25 at a time (see pg_bare.py), with the two things that
all transactions change and so do one after the other: the last audit id given, and the counts. "bare, no
shared rows": without these two, so what is lost to it is the price of a trail in the order of commits.
"longest": the longest single call, of abathur's callers, or transaction, of the bare driver.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from abathur import Database
from benchmarks import loads
from benchmarks.bare import AGENT, INPUT, PROMPT, prepare
from benchmarks.harness import Bench, interleave, median, python, ratio, spread
from benchmarks.pg_bare import PgBare
from benchmarks.pg_server import fresh, ours, server

CALLERS = 25
KINDS = ("abathur", "bare", "bare, no shared rows")

Found = tuple[float, float]
"""Tasks per second of all processes, and milliseconds of the longest call."""


def run(bench: Bench) -> None:
    length = bench.pick(4.0, 0.5)
    with server(bench) as url:
        if url is None:
            return
        contestants = {
            f"{processes} x {kind}": partial(_measure, url, kind, processes, length)
            for processes in bench.pick((1, 2, 4, 8), (1, 2))
            for kind in KINDS
        }
        found = interleave(bench.pick(3, 1), contestants)
    rates = {who: [rate for rate, _ in rounds] for who, rounds in found.items()}
    rows: list[list[Any]] = []
    for who, rounds in found.items():
        processes, _, kind = who.split(" ", 2)
        mine, bare = rates[who], rates[f"{processes} x bare"]
        longest = median([each for _, each in rounds])
        row = [who, median(mine), ratio(mine, rates[f"1 x {kind}"]), ratio(mine, bare)]
        rows.append([*row, spread(mine, bare), longest])
    bench.table(["", "tasks/s", "of one", "of bare", "rounds", "longest ms"], rows)


def _measure(url: str, kind: str, processes: int, length: float) -> Found:
    return asyncio.run(_processes(url, kind, processes, length))


async def _processes(url: str, kind: str, processes: int, length: float) -> Found:
    async with fresh(url) as schema:
        await loads.create(ours(url, schema))
        children = [
            python("-m", "benchmarks.postgres_processes", kind, url, schema, str(length))
            for _ in range(processes)
        ]
        answers = await asyncio.to_thread(_let_run, children)
    return sum(done for done, _ in answers) / length, max(longest for _, longest in answers)


def _let_run(children: list[Any]) -> list[tuple[int, float]]:
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    return [json.loads(child.communicate()[0]) for child in children]


class _Load:
    """What a process does until its time is up, and what it has done."""

    def __init__(self, length: float) -> None:
        self._length = length
        self._until = 0.0
        self.done = 0
        self.longest = 0.0

    def goes_on(self) -> bool:
        return time.perf_counter() < self._until

    async def timed(self, call: Awaitable[Any]) -> Any:
        began = time.perf_counter()
        answer = await call
        self.longest = max(self.longest, (time.perf_counter() - began) * 1000)
        return answer

    async def run(self, once: Callable[[], Awaitable[None]], callers: int) -> None:
        async def caller() -> None:
            while self.goes_on():
                await once()

        await once()  # prepares the statements
        self.done, self.longest = 0, 0.0
        print("ready", flush=True)
        sys.stdin.readline()
        self._until = time.perf_counter() + self._length
        await asyncio.gather(*(caller() for _ in range(callers)))
        json.dump([self.done, self.longest], sys.stdout)


async def _child(kind: str, url: str, schema: str, length: float) -> None:
    load = _Load(length)

    async def through_abathur() -> None:
        await load.timed(db.tasks.enqueue(PROMPT, agent_type=AGENT, input=INPUT))
        for claim in await load.timed(db.tasks.claim("w", agent_types=(AGENT,))):
            await load.timed(db.tasks.complete(claim))
            load.done += 1

    async def through_asyncpg() -> None:
        await load.timed(bare.enqueue(prepare(CALLERS)))
        taken = await load.timed(bare.claim(CALLERS))
        if taken:
            await load.timed(bare.complete(taken))
        load.done += len(taken)

    if kind == "abathur":
        async with Database(ours(url, schema)) as db:
            await load.run(through_abathur, CALLERS)
    else:
        bare = await PgBare.open(url, schema, shared_rows=kind == "bare")
        await load.run(through_asyncpg, 1)
        await bare.close()


if __name__ == "__main__":
    asyncio.run(_child(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])))
