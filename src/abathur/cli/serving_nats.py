"""What `abathur serve nats` runs, and what `abathur doctor --nats` sees."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any, Final

from abathur.cli.opening import database, initialize, refuse_strangers
from abathur.cli.options import Settings
from abathur.cli.output import note
from abathur.service import Access, DatabaseService

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


async def serve_nats(
    settings: Settings,
    access: Access,
    prefix: str,
    ready: Callable[[str], None],
    *,
    tasks: bool,
    echo: bool,
    jetstream: bool | None = None,
) -> str:
    """Serve until a signal; returns its name. `ready` is called with a line when requests are answered."""
    stopped: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def stop(number: signal.Signals) -> None:
        if not stopped.done():
            stopped.set_result(number.name)
            note("Stopping: what was accepted is answered first.")

    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        db = database(settings, must_exist=False, actor=None)
        try:
            await refuse_strangers(db)
            await initialize(db)
            service = DatabaseService(access, db, prefix, tasks=tasks, echo=echo, jetstream=jetstream)
            starting = asyncio.create_task(service.start())
            first: list[asyncio.Future[Any]] = [starting, stopped]
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.wait([starting])
                return stopped.result()
            await starting
            ready(service.describe())
            failing = asyncio.create_task(service.failed())
            try:
                either: list[asyncio.Future[Any]] = [stopped, failing]
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not stopped.done():
                    await failing
                return stopped.result()
            finally:
                failing.cancel()
                await service.stop()
        finally:
            await db.close()
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
