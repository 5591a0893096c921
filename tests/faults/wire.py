"""The connection between this library and a PostgreSQL server, cut at COMMIT by the test."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

SOCKET = ".s.PGSQL.5432"
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""The message that asks for it: its kind, its length, and the text."""


class Wire:
    """Passes everything on between clients and the server, but for one COMMIT.

    `before` is awaited in place of passing the next COMMIT on, `after` when the server has answered it, which
    is not passed on either. Then the client's connection is cut.
    """

    def __init__(self, server: Path) -> None:
        self._server = server / SOCKET
        self.before: Callable[[], Awaitable[None]] | None = None
        self.after: Callable[[], Awaitable[None]] | None = None
        self.cuts = 0

    async def _serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        try:
            server, ask = await asyncio.open_unix_connection(str(self._server))
        except OSError:  # it starts again just now
            answer.close()
            return
        cut = asyncio.Event()
        tasks = [
            asyncio.ensure_future(self._requests(client, ask, server, cut)),
            asyncio.ensure_future(self._answers(server, answer, cut)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in (ask, answer):
            writer.transport.abort()

    async def _requests(
        self,
        client: asyncio.StreamReader,
        ask: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        cut: asyncio.Event,
    ) -> None:
        while data := await client.read(65536):
            if COMMIT in data and self.before is not None:
                hook, self.before = self.before, None
                cut.set()
                self.cuts += 1
                await hook()
                return
            if COMMIT in data and self.after is not None:
                hook, self.after = self.after, None
                cut.set()
                self.cuts += 1
                ask.write(data)
                await asyncio.sleep(0.1)  # the server answers within a millisecond
                await hook()
                return
            ask.write(data)
            await ask.drain()

    async def _answers(
        self, server: asyncio.StreamReader, answer: asyncio.StreamWriter, cut: asyncio.Event
    ) -> None:
        while data := await server.read(65536):
            if cut.is_set():
                await asyncio.sleep(3600)  # the one who reads the requests ends both
            answer.write(data)
            await answer.drain()


@asynccontextmanager
async def wire(server: Path) -> AsyncIterator[tuple[Wire, str]]:
    """A wire to the server whose socket is in `server`, and the URL for clients."""
    made = Wire(server)
    with tempfile.TemporaryDirectory(prefix="abathur-wire-") as place:  # a socket's path must be short
        listening = await asyncio.start_unix_server(made._serve, f"{place}/{SOCKET}")
        try:
            yield made, f"postgresql://postgres@/postgres?host={place}"
        finally:
            listening.close()
