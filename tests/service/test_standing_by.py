"""An instance that does not publish costs the database next to nothing, and goes on when the other ends."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from abathur import Database
from abathur.audit import readers
from abathur.service import DatabaseService
from abathur.testing.nats_server import NatsServer
from tests.nats import remove_streams, until
from tests.service.conftest import COMMON, PREFIXES
from tests.service.test_task_events import Ear


async def test_who_stands_by_writes_nothing_while_the_other_one_publishes(
    nats_server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    prefix, path = next(PREFIXES), tmp_path / "a.db"
    ear = await Ear().listen(await connected(nats_server.url), prefix)
    tried: list[float] = []
    async with Database(path, **COMMON) as db, Database(path, **COMMON) as other:
        run = other.run

        async def counted(fn: Any, *args: Any) -> Any:
            if fn is readers.hold:
                tried.append(time.monotonic())
            return await run(fn, *args)

        other.run = counted  # type: ignore[method-assign]  # it does the same, and is counted
        async with DatabaseService(nats_server.url, other, prefix) as standing_by:
            async with DatabaseService(nats_server.url, db, prefix) as publishing:

                async def is_settled() -> bool:
                    return publishing._running.outbox.told.holds or standing_by._running.outbox.told.holds

                await until(is_settled)
                if standing_by._running.outbox.told.holds:  # it was the first: they change places
                    await standing_by.stop()
                    await until(is_settled_to(publishing))
                    await standing_by.start()
                await asyncio.sleep(0.3)
                before = len(tried)
                for number in range(60):
                    await db.tasks.enqueue(str(number))
                    await asyncio.sleep(0.02)
                assert len(tried) - before <= 1
            task = await db.tasks.enqueue("the other one tells this")
            await ear.until(task.id, "ready")
            await remove_streams(standing_by)


def is_settled_to(service: DatabaseService) -> Any:
    async def holds() -> bool:
        return bool(service._running.outbox.told.holds)

    return holds
