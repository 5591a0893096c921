"""The connections of one engine, and the patience to wait until the server is there again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import asyncpg

from abathur.engines.postgres_connection import BY_KEY, BY_SIZE, Options, connect
from abathur.engines.postgres_faults import DRIVER, Transient, translate

T = TypeVar("T")

TRIES: Final = 10
"""Times that a transaction is begun which others get in the way of."""
FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 1.0
"""Seconds between two tries; the pause doubles each time."""
IDLE: Final = 300.0
"""Seconds after which a connection that nobody needs is closed."""


class Pool:
    """A connection for the writer and some for readers, opened when they are needed."""

    def __init__(self, options: Options, readers: int) -> None:
        self.options = options
        self._writer = self._make(1, BY_KEY)
        self._readers = self._make(readers, BY_SIZE)

    def _make(self, size: int, settings: Mapping[str, str]) -> Any:
        async def opened(*_: Any, **__: Any) -> asyncpg.Connection:
            return await connect(self.options, **settings)

        return asyncpg.create_pool(
            min_size=0,
            max_size=size,
            max_inactive_connection_lifetime=IDLE,
            connect=opened,
            reset=_nothing,  # every transaction ends what it began; a round trip to make sure is too many
        )

    async def open(self) -> int:
        """Reach the server for the first time; returns its version, such as 180004.

        Raises an OpenError; does not wait for a server that is away.
        """
        await self._writer
        await self._readers
        try:
            async with self._acquired(self._readers) as raw:
                return int(await raw.fetchval("SELECT current_setting('server_version_num')"))
        except DRIVER as error:
            found = translate(error, self.options.server.name, "connecting")
            raise (found.error if isinstance(found, Transient) else found) from error
        except Transient as error:
            raise error.error from error

    async def close(self) -> None:
        """Wait until every connection was given back, then close all."""
        await self._readers.close()
        await self._writer.close()

    async def write(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """Run `work` with the writer's connection; again with a new one while that may help."""
        return await self._patiently(self._writer, work)

    async def read(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """The same with one of the readers' connections."""
        return await self._patiently(self._readers, work)

    async def _patiently(self, pool: Any, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        deadline = time.monotonic() + self.options.lock_timeout
        pause = FIRST_PAUSE
        tries = 0
        while True:
            try:
                async with self._acquired(pool) as raw:
                    return await work(raw)
            except Transient as again:
                tries += 1
                is_over = time.monotonic() >= deadline
                if is_over or (tries >= TRIES and not again.lost):
                    raise again.error from again
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # so that two do not meet again
            pause = min(pause * 2, LONGEST_PAUSE)

    @asynccontextmanager
    async def _acquired(self, pool: Any) -> AsyncIterator[Any]:
        try:
            raw = await pool.acquire()
        except DRIVER as error:
            raise translate(error, self.options.server.name, "connecting") from error
        try:
            yield raw
        finally:
            await pool.release(raw)


async def _nothing(_: asyncpg.Connection) -> None:
    pass
