"""The connections of one engine, and the patience to wait until the server is there again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar

import asyncpg

from abathur.engines.postgres_connection import BY_KEY, BY_SIZE, Options, connect
from abathur.engines.postgres_faults import DRIVER, Transient, translate
from abathur.errors import AbathurError

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
        async def opened(*_: Any, **__: Any) -> asyncpg.Connection:
            return await connect(options, **BY_SIZE)

        self.options = options
        self._writer = _Writer(options)
        self._readers = asyncpg.create_pool(
            min_size=0,
            max_size=readers,
            max_inactive_connection_lifetime=IDLE,
            connect=opened,
            reset=_nothing,  # every transaction ends what it began; a round trip to make sure is too many
        )

    async def open(self) -> int:
        """Reach the server for the first time; returns its version, such as 180004.

        Raises an OpenError; does not wait for a server that is away.
        """
        await self._readers
        try:
            async with self._reading() as raw:
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
        """Run `work` with the writer's connection; again with a new one while that may help.

        One at a time: the lane sees to that.
        """
        return await self._patiently(self._writer.acquired, work)

    async def read(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """The same with one of the readers' connections."""
        return await self._patiently(self._reading, work)

    async def _patiently(
        self,
        acquired: Callable[[], AbstractAsyncContextManager[asyncpg.Connection]],
        work: Callable[[asyncpg.Connection], Awaitable[T]],
    ) -> T:
        deadline = time.monotonic() + self.options.lock_timeout
        pause = FIRST_PAUSE
        tries = 0
        while True:
            try:
                async with acquired() as raw:
                    return await work(raw)
            except Transient as again:
                tries += 1
                is_over = time.monotonic() >= deadline
                if is_over or (tries >= TRIES and not again.lost):
                    raise again.error from again
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # so that two do not meet again
            pause = min(pause * 2, LONGEST_PAUSE)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Any]:
        try:
            raw = await self._readers.acquire()
        except AbathurError:  # of `connect`: some of ours are OSErrors too
            raise
        except DRIVER as error:
            raise translate(error, self.options.server.name, "connecting") from error
        try:
            yield raw
        finally:
            await self._readers.release(raw)


class _Writer:
    """The one connection for writes. A pool would take as long to lend it as it takes for two statements."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._raw: asyncpg.Connection | None = None
        self._rest: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def acquired(self) -> AsyncIterator[asyncpg.Connection]:
        """The connection, opened if there is none or it was lost; closed when nobody wants it for long."""
        if self._rest is not None:
            self._rest.cancel()
        if self._raw is None or self._raw.is_closed():
            self._raw = await connect(self._options, **BY_KEY)
        try:
            yield self._raw
        finally:
            self._rest = asyncio.get_running_loop().call_later(IDLE, self._raw.terminate)

    async def close(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        if self._raw is not None:
            await self._raw.close()


async def _nothing(_: asyncpg.Connection) -> None:
    pass
