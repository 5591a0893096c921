"""The periodic work on a database: what no single call would do."""

from __future__ import annotations

import logging
from typing import Final

import anyio

from abathur.database import Database
from abathur.errors import EngineError, OpenError

log = logging.getLogger("abathur.maintenance")

TROUBLE: Final = (EngineError, OpenError)
"""What the database may say for a while: who works in the background logs it and tries again."""
EVERY: Final = 60.0
"""Seconds between two rounds."""


async def once(db: Database) -> int:
    """One round: move on what older versions or crashes left adrift. Returns how many tasks that were."""
    moved = await db.tasks.reconcile()
    if moved:
        log.info("reconciled %d tasks of %s", moved, db.name)
    return moved


async def forever(db: Database) -> None:
    """A round now and then, until it is cancelled. A round that fails is logged and tried again."""
    while True:
        try:
            await once(db)
        except TROUBLE as error:
            log.warning("maintenance of %s failed and will be tried again: %s", db.name, error)
        await anyio.sleep(EVERY)
