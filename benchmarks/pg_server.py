"""The server that the benchmarks of the PostgreSQL engine run on, and a schema for each measurement."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from benchmarks.harness import Bench
from tests.postgres import Server, UnavailableError

VARIABLE = "ABATHUR_BENCH_POSTGRES_URL"
SHOWN = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")

_numbers = itertools.count(1)


@contextmanager
def server(bench: Bench) -> Iterator[str | None]:
    """The URL of a server, its settings printed; None, and what is missing, if there is none.

    Without ABATHUR_BENCH_POSTGRES_URL one is started with the settings of `initdb`, which are durable; it is
    stopped and removed at the end.
    """
    with contextlib.ExitStack() as ending:
        try:
            url = os.environ.get(VARIABLE) or _start(bench, ending)
            _describe(url)
        except (UnavailableError, ModuleNotFoundError) as error:
            print(f"  Not measured: {error}. See `make bench`, or name a server in {VARIABLE}.\n")
            yield None
        else:
            yield url


def _start(bench: Bench, ending: contextlib.ExitStack) -> str:
    started = Server(ending.enter_context(bench.place()))
    started.make({"listen_addresses": "''"})
    started.start()
    ending.callback(started.stop, "fast")
    return started.url


def _describe(url: str) -> None:
    async def settings() -> list[str]:
        connection = await connect(url)
        try:
            return [f"{name} {await connection.fetchval(f'SHOW {name}')}" for name in SHOWN]
        finally:
            await connection.close()

    print(f"  PostgreSQL: {', '.join(asyncio.run(settings()))}\n")


async def connect(url: str, schema: str = "public") -> Any:
    """A connection of the bare driver; names without a schema are looked up in `schema` alone."""
    import asyncpg

    return await asyncpg.connect(url, server_settings={"search_path": schema})


@asynccontextmanager
async def fresh(url: str, *, made: bool = False) -> AsyncIterator[str]:
    """The name of a new schema, which is dropped afterwards; it is there already if `made`."""
    name = f"bench_{os.getpid()}_{next(_numbers)}"
    connection = await connect(url)
    try:
        if made:
            await connection.execute(f"CREATE SCHEMA {name}")
        yield name
    finally:
        await connection.execute("SET client_min_messages = warning")
        await connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
        await connection.close()


def ours(url: str, schema: str) -> str:
    """The URL by which abathur opens the schema."""
    return f"{url}{'&' if '?' in url else '?'}schema={schema}"
