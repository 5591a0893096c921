"""What a service says about itself when it is asked how it is."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from abathur._version import __version__
from abathur.database import Database
from abathur.errors import EngineError, OpenError
from abathur.service.envelope import Refused
from abathur.service.subjects import Tree

if TYPE_CHECKING:
    from abathur.service.running import Running

log = logging.getLogger("abathur.service")


async def health(running: Running, db: Database, tree: Tree) -> dict[str, Any]:
    """How it is. Raises Refused with UNAVAILABLE when the database does not answer."""
    began = time.perf_counter()
    try:
        counts = await db.tasks.counts()
    except (EngineError, OpenError) as error:
        log.warning("health: %s", error)
        raise Refused("UNAVAILABLE", "The database does not answer.") from None
    told, outbox = running.events.told, running.outbox
    return {
        "status": "degraded" if running.down else "healthy",
        "down": running.down,
        "version": __version__,
        "prefix": tree.prefix,
        "engine": db.engine.dialect,
        "uptime_seconds": round(time.monotonic() - running.began, 3),
        "database_ms": round((time.perf_counter() - began) * 1_000, 3),
        "events": told.mode,
        "events_stored": told.stored,
        "events_refused": told.refused,
        "events_lost": told.lost,
        "publishes_task_events": outbox is not None and outbox.told.holds,
        "requests": sum(one.requests for one in running.counted.values()),
        "errors": sum(one.errors for one in running.counted.values()),
        "busy": running.dispatcher.busy,
        "tasks": counts,
    }
