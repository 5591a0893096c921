"""The errors of a PostgreSQL server, really raised: what tests/provoked.py is for files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from abathur import Database, errors

Provocation = Callable[[str], Awaitable[Any]]
ON_SERVER: dict[str, Provocation] = {}
PLACE = "postgresql://agents@db.example.org/agents"
"""The database of the examples on the page."""


def provokes(kind: type[errors.AbathurError]) -> Callable[[Provocation], Provocation]:
    def register(provocation: Provocation) -> Provocation:
        async def with_the_names_of_the_page(url: str) -> None:
            try:
                await provocation(url)
            except errors.AbathurError as error:
                said = re.sub(r"postgresql://\S+", PLACE, str(error))
                error.args = (said.replace(f"database {urlsplit(url).path[1:]}", "database agents"),)
                raise

        ON_SERVER[kind.__name__] = with_the_names_of_the_page
        return provocation

    return register


def at(url: str, **arguments: Any) -> Database:
    return Database(url, **{"environment": "test", **arguments})


@provokes(errors.AccessDeniedError)
async def _(url: str) -> None:
    parts = urlsplit(url)
    stranger = parts._replace(netloc=f"stranger:wrong@{parts.netloc.rpartition('@')[2]}")
    async with at(stranger.geturl()):
        pass


@provokes(errors.OutcomeUnknownError)
async def _(url: str) -> None:
    async with at(url) as db:
        await db.tasks.enqueue("x")
    async with cut_at_commit(url) as proxied:
        db = at(proxied, lock_timeout=0.5)
        try:
            await db.initialize()
            await db.tasks.enqueue("Review the change")
        finally:
            await db.close()


@asynccontextmanager
async def cut_at_commit(url: str) -> AsyncIterator[str]:
    """The URL of a way to the server that breaks for ever as soon as a COMMIT went through it."""
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    ways: set[asyncio.StreamWriter] = set()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = options.get("host", parts.hostname or "localhost")
        port = options.get("port", parts.port or 5432)
        if host.startswith("/"):
            there = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            there = await asyncio.open_connection(host, int(port))
        ways.update((writer, there[1]))
        await asyncio.gather(_pass_on(reader, there[1], cut), _pass_on(there[0], writer, None))

    def cut() -> None:
        server.close()
        for way in ways:
            way.transport.abort()

    server = await asyncio.start_server(connect, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    others = "&".join(f"{k}={quote(v)}" for k, v in options.items() if k not in ("host", "port"))
    try:
        yield f"postgresql://{user}127.0.0.1:{port}{parts.path}?{others}"
    finally:
        cut()
        await server.wait_closed()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: Callable[[], None] | None
) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            if cut is not None and b"COMMIT\0" in data:
                writer.write(data)
                await writer.drain()
                cut()
                return
            writer.write(data)
            await writer.drain()
    writer.close()
