"""Presence: a runner says again and again that it is there, so that `why` can tell who would take a task."""

from __future__ import annotations

import logging
import os
import random
import socket
from collections.abc import Mapping
from typing import Final

import anyio

from abathur import ids
from abathur.database import Database
from abathur.errors import DatabaseClosedError
from abathur.maintenance import TROUBLE
from abathur.tasks import workers
from abathur.tasks.workers import Announcement

log = logging.getLogger("abathur.runner")

EVERY: Final = 15.0
"""Seconds between two announcements, more or less: one small commit each, and nothing else."""


async def announced(
    db: Database,
    name: str,
    agents: Mapping[str, int | None],
    concurrency: int,
    projects: tuple[str, ...] | None = None,
) -> None:
    """Keep a runner among the live workers, until it is cancelled.

    agents: its agent types, each with the number of tasks that it runs at a time, if that is less than
    its concurrency. projects: those whose tasks it takes; None means any. Trouble with the database is
    logged and tried again; it stops nobody.
    """
    who = Announcement(
        id=ids.new_id(),
        name=name,
        agents=agents,
        concurrency=concurrency,
        host=socket.gethostname(),
        pid=os.getpid(),
        projects=projects,
    )
    first = True
    try:
        while True:
            try:
                await db.run(workers.announce, who, first)
                first = False
            except TROUBLE as error:
                log.warning("announcing worker %s failed and will be tried again: %s", name, error)
            await anyio.sleep(EVERY * random.uniform(0.8, 1.2))  # noqa: S311  # so that they do not come at once
    finally:
        with anyio.CancelScope(shield=True):
            await _withdraw(db, who)


async def _withdraw(db: Database, who: Announcement) -> None:
    try:
        await db.run(workers.withdraw, who.id)
    except (*TROUBLE, DatabaseClosedError) as error:
        log.warning("worker %s did not withdraw, and counts as live for a while: %s", who.name, error)
