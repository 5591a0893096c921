"""Other queues on PostgreSQL, doing the same work as well as they can: procrastinate and PgQueuer.

Each is given the task's 500 bytes and a handler that does nothing, its tables in a schema of its own and
its defaults for everything that is not said here. Connections: as many as callers, at most 10.
Enqueue: c callers, one task per call; "batched": one caller, c tasks per call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from benchmarks.bare import INPUT, PROMPT, batches
from benchmarks.pg_server import fresh

CONNECTIONS = 10

Seconds = tuple[float, float]
Peer = Callable[[str, int, int], Coroutine[Any, Any, Seconds]]


async def procrastinate(url: str, n: int, c: int, *, batched: bool = False) -> Seconds:
    """PsycopgConnector; one worker with concurrency c, until there is no job left."""
    import procrastinate as peer

    done = 0
    async with fresh(url, made=True) as schema:
        connector = peer.PsycopgConnector(
            conninfo=url,
            kwargs={"options": f"-c search_path={schema}"},
            min_size=min(c, CONNECTIONS),
            max_size=min(c, CONNECTIONS) + 1,  # the worker's own queries
        )
        app = peer.App(connector=connector)

        @app.task(name="nothing")
        async def nothing(**_: Any) -> None:
            nonlocal done
            done += 1

        async def batch(tasks: Sequence[Any]) -> None:
            await nothing.batch_defer_async(*tasks)

        async def single(task: Any) -> None:
            await nothing.defer_async(**task)

        async def work() -> None:
            await app.run_worker_async(
                concurrency=c, wait=False, listen_notify=False, install_signal_handlers=False
            )

        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            tasks = [{"prompt": PROMPT, "input": INPUT}] * n
            enqueued = await _enqueue(tasks, c, batch if batched else single, batched=batched)
            worked = await _timed(work())
    assert done == n, f"{done} of {n} jobs were run"
    return enqueued, worked


async def pgqueuer(url: str, n: int, c: int, *, batched: bool = False) -> Seconds:
    """AsyncpgPoolDriver; one manager in drain mode, at most c jobs at a time, fetched by half of that.

    "batched": fetched c at a time, without a limit on how many run.
    """
    import asyncpg
    from pgqueuer.core.qm import QueueManager
    from pgqueuer.domain.types import QueueExecutionMode
    from pgqueuer.queries import Queries

    done = 0
    payload = (PROMPT + str(INPUT)).encode()
    async with fresh(url, made=True) as schema:
        size = min(c, CONNECTIONS) + 1  # one listens
        async with asyncpg.create_pool(
            url, min_size=size, max_size=size, server_settings={"search_path": schema}
        ) as pool:
            queries = Queries.from_asyncpg_pool(pool)
            await queries.install()
            manager = QueueManager(queries)

            @manager.entrypoint("nothing")
            async def nothing(_: Any) -> None:
                nonlocal done
                done += 1

            async def batch(tasks: Sequence[Any]) -> None:
                await queries.enqueue(["nothing"] * len(tasks), list(tasks), [0] * len(tasks))

            async def single(task: Any) -> None:
                await queries.enqueue("nothing", task)

            limits: dict[str, Any] = (
                {"batch_size": c}
                if batched
                else {"batch_size": max(1, c // 2), "max_concurrent_tasks": max(2, c)}
            )
            enqueued = await _enqueue([payload] * n, c, batch if batched else single, batched=batched)
            worked = await _timed(manager.run(mode=QueueExecutionMode.drain, **limits))
    assert done == n, f"{done} of {n} jobs were run"
    return enqueued, worked


def installed() -> dict[str, tuple[Peer, int]]:
    """Those that are installed, and what part of the tasks each gets; it is said which are not."""
    found: dict[str, tuple[Peer, int]] = {}
    missing = []
    for peer, part in ((procrastinate, 10), (pgqueuer, 4)):
        name = peer.__name__
        if find_spec(name):
            print(f"  {name} {version(name)}")
            found[name] = (peer, part)
            found[f"{name} batched"] = (partial(peer, batched=True), part)
        else:
            missing.append(name)
    if missing:
        print(f"  Not installed, so not beside us: {', '.join(missing)} (pip install --group bench)")
    print()
    return found


async def _enqueue(
    tasks: Sequence[Any], c: int, call: Callable[[Any], Awaitable[None]], *, batched: bool
) -> float:
    left = iter(batches(tasks, c) if batched else tasks)

    async def caller() -> None:
        for each in left:
            await call(each)

    async def callers() -> None:
        await asyncio.gather(*(caller() for _ in range(1 if batched else c)))

    return await _timed(callers())


async def _timed(work: Awaitable[Any]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began
