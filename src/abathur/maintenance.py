"""The periodic work on a database: what no single call would do."""

from __future__ import annotations

import logging
import random
import time
from typing import Final

import anyio

from abathur.database import Database
from abathur.errors import EngineError, OpenError
from abathur.tasks.retention import Retention

log = logging.getLogger("abathur.maintenance")

TROUBLE: Final = (EngineError, OpenError)
"""What the database may say for a while: who works in the background logs it and tries again."""
EVERY: Final = 60.0
"""Seconds between two rounds."""
TIDY_EVERY: Final = 600.0
"""Seconds between two looks for tasks that were kept long enough; each reads all tasks."""
MUCH_FREE: Final = 1_000
"""Pages that may stay free: new rows will take them."""


async def once(db: Database) -> int:
    """One round: move on what older versions or crashes left adrift, and join the seals of the trail.

    Returns how many tasks were moved.
    """
    moved = await db.tasks.reconcile()
    if moved:
        log.info("reconciled %d tasks of %s", moved, db.name)
    await db.audit.checkpoint()
    return moved


async def tidy(db: Database, retention: Retention) -> int:
    """Remove tasks that were kept long enough, and give back the room if it is much. Returns how many."""
    pruned = await db.tasks.prune(retention)
    if pruned.tasks:
        log.info("pruned %d tasks of %s, with %d rows of the trail", pruned.tasks, db.name, pruned.audit_rows)
    space = await db.space()
    if space.free > max(MUCH_FREE, space.pages // 4):
        log.info("gave back %d bytes of %s", await db.shrink(), db.name)
    return pruned.tasks


async def forever(db: Database, retention: Retention | None = None) -> None:
    """A round now and then, until it is cancelled. A round that fails is logged and tried again."""
    tidy_at = time.monotonic()
    while True:
        try:
            await once(db)
            if retention is not None and time.monotonic() >= tidy_at:
                await tidy(db, retention)
                tidy_at = time.monotonic() + TIDY_EVERY
        except TROUBLE as error:
            log.warning("maintenance of %s failed and will be tried again: %s", db.name, error)
        # Not all processes at the same moment.
        await anyio.sleep(EVERY * random.uniform(0.8, 1.2))  # noqa: S311  # a pause, no secret
