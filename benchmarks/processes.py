"""Eight processes on one file against one process: total throughput, fairness, the longest wait.

In each process ten workers enqueue a task, claim one and complete it, again and again, for some seconds,
durability full. All begin at a signal. "slowest": the tasks of the slowest process as a share of an
equal one. "longest": the longest single call of any worker. Rounds with eight and with one take turns.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from abathur import Database
from benchmarks import loads
from benchmarks.bare import AGENT, INPUT, PROMPT
from benchmarks.harness import Bench, interleave, median, percentile, python, ratio, spread

MANY = 8
WORKERS = 10


def run(bench: Bench) -> None:
    length = bench.pick(5.0, 0.5)
    found = interleave(
        bench.pick(5, 1),
        {
            "8 processes": lambda: _measure(bench, MANY, length),
            "1 process": lambda: _measure(bench, 1, length),
        },
    )
    one = [each["rate"] for each in found["1 process"]]
    kinds = ("slowest", "claim_p50", "claim_p99", "claim", "longest")
    rows: list[list[Any]] = []
    for who, rounds in found.items():
        rates = [each["rate"] for each in rounds]
        waits = [median([each[kind] for each in rounds]) for kind in kinds]
        rows.append([who, median(rates), ratio(rates, one), spread(rates, one), *waits])
    headers = ["", "tasks/s", "of one", "rounds", "slowest", "claim p50 ms", "p99", "longest", "longest call"]
    bench.table(headers, rows)
    many = found["8 processes"]
    bench.goal("8 processes / 1 process, tasks per second", rows[0][2], ">=", 0.7)
    bench.goal("longest claim of all rounds", max(each["claim"] for each in many), "<=", 250, " ms")


def _measure(bench: Bench, processes: int, length: float) -> dict[str, float]:
    with bench.place() as place:
        path = place / "tasks.db"
        asyncio.run(loads.create(path))
        children = [python("-m", "benchmarks.processes", str(path), str(length)) for _ in range(processes)]
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        answers: list[dict[str, Any]] = [json.loads(child.communicate()[0]) for child in children]
    done = [answer["done"] for answer in answers]
    claims = [value for answer in answers for value in answer["claim"]]
    return {
        "rate": sum(done) / length,
        "slowest": min(done) * processes / sum(done),
        "claim_p50": percentile(claims, 50),
        "claim_p99": percentile(claims, 99),
        "claim": max(claims),
        "longest": max(
            value for answer in answers for kind in ("enqueue", "claim", "complete") for value in answer[kind]
        ),
    }


async def _child(path: str, length: float) -> None:
    took: dict[str, list[float]] = {"enqueue": [], "claim": [], "complete": []}
    done = 0

    async def timed(kind: str, call: Any) -> Any:
        began = time.perf_counter()
        answer = await call
        took[kind].append((time.perf_counter() - began) * 1000)
        return answer

    async def worker(db: Database, name: str, until: float) -> None:
        nonlocal done
        while time.perf_counter() < until:
            await timed("enqueue", db.tasks.enqueue(PROMPT, agent_type=AGENT, input=INPUT))
            for claim in await timed("claim", db.tasks.claim(name, agent_types=(AGENT,))):
                await timed("complete", db.tasks.complete(claim))
                done += 1

    async with Database(path) as db:
        await worker(db, "warm", time.perf_counter() + 0.01)
        for times in took.values():
            times.clear()
        done = 0
        print("ready", flush=True)
        sys.stdin.readline()
        until = time.perf_counter() + length
        await asyncio.gather(*(worker(db, f"w{place}", until) for place in range(WORKERS)))
        json.dump({"done": done, **took}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(_child(sys.argv[1], float(sys.argv[2])))
