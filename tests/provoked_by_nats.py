"""The errors of the database service, really raised, by NATS servers of the test's own."""

from __future__ import annotations

import socket
from pathlib import Path

import nats

from abathur import errors
from abathur.service import DatabaseService
from abathur.testing.nats_server import NatsServer
from tests.provoked import provokes


async def start(url: str, directory: Path) -> None:
    await DatabaseService(url, directory / "agents.db").start()


@provokes(errors.NatsUnavailableError)
async def _(directory: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    await start(f"nats://127.0.0.1:{port}", directory)


@provokes(errors.NatsRefusedError)
async def _(directory: Path) -> None:
    with NatsServer(
        directory / "nats", config='authorization { user: "service", password: "right" }'
    ) as server:
        await start(server.url.replace("//", "//service:wrong@"), directory)


@provokes(errors.UnprotectedServerError)
async def _(directory: Path) -> None:
    with NatsServer(directory / "nats") as server:
        # It leads to the loopback, where the server is, and is no address of it.
        await start(server.url.replace("127.0.0.1", "0.0.0.0"), directory)


@provokes(errors.StreamConflictError)
async def _(directory: Path) -> None:
    with NatsServer(directory / "nats") as server:
        async with await nats.connect(server.url) as client:
            await client.jetstream().add_stream(name="rosey_events", subjects=["bot.>"])
        await start(server.url, directory)
