"""The work that several benchmarks share: enqueue, claim and complete through abathur."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from abathur import Context, Database, Runner
from benchmarks.bare import AGENT, INPUT, PROMPT


async def create(url: str | Path) -> None:
    """Make a database with today's tables."""
    async with Database(url):
        pass


async def enqueue(db: Database, n: int, callers: int) -> float:
    """Let `callers` callers enqueue `n` tasks, one per call; returns the seconds."""
    left = iter(range(n))

    async def caller() -> None:
        for _ in left:
            await db.tasks.enqueue(PROMPT, agent_type=AGENT, input=INPUT)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return time.perf_counter() - began


async def process(db: Database, n: int, workers: int) -> float:
    """Let `workers` workers claim one task and complete it, until none is left; returns the seconds."""
    done = 0

    async def worker(name: str) -> None:
        nonlocal done
        while claims := await db.tasks.claim(name, agent_types=(AGENT,), limit=1):
            for claim in claims:
                await db.tasks.complete(claim)
                done += 1

    began = time.perf_counter()
    await asyncio.gather(*(worker(f"w{place}") for place in range(workers)))
    took = time.perf_counter() - began
    assert done == n, f"{done} of {n} tasks were completed"
    return took


async def run_runner(db: Database, n: int, concurrency: int) -> float:
    """Let a Runner run all tasks with a handler that does nothing; the seconds include start and stop."""
    runner = Runner(db, concurrency=concurrency)
    done = 0

    @runner.agent(AGENT)
    async def nothing(_: Context) -> None:
        nonlocal done
        done += 1

    began = time.perf_counter()
    await runner.run(until_idle=True)
    took = time.perf_counter() - began
    assert done == n, f"{done} of {n} tasks were run"
    return took
