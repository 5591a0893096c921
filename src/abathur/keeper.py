"""Keeps the leases of running handlers, and stops a handler whose task is no longer its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from attrs import define, field

from abathur.database import Database
from abathur.errors import EngineError, LeaseLostError
from abathur.models import Claim

log = logging.getLogger("abathur.runner")

LOOK_EVERY = 0.25
"""Seconds between two looks whether another process has cancelled something."""


@define(eq=False)
class Running:
    """A handler at work."""

    claim: Claim
    scope: anyio.CancelScope | None = None
    why: str | None = None
    """Why it was stopped: ``cancelled``, ``lost`` or ``stopping``; None while it was not."""
    finished: bool = False
    held_until: float = field(init=False)
    """On the monotonic clock; until then nobody else can have the task."""

    def __attrs_post_init__(self) -> None:
        self.renewed()

    def renewed(self) -> None:
        self.held_until = time.monotonic() + self.claim.lease

    def stop(self, why: str) -> None:
        """Cancel the handler, once."""
        if self.why is None and not self.finished and self.scope is not None:
            self.why = why
            self.scope.cancel()


class Keeper:
    """The leases of one runner."""

    def __init__(self, db: Database, lease: float) -> None:
        self._db = db
        self._pause = lease / 3
        self._running: dict[str, Running] = {}
        self._look = anyio.Event()

    @contextmanager
    def holding(self, running: Running) -> Iterator[None]:
        """Renew this claim's lease until the block ends."""
        self._running[running.claim.task.id] = running
        try:
            yield
        finally:
            del self._running[running.claim.task.id]

    def cancelled(self, task_id: str | None) -> None:
        """A task was cancelled by this process; or, with None, perhaps by another one."""
        if task_id is None:
            self._look.set()
        elif task_id in self._running:
            self._running[task_id].stop("cancelled")

    def cancel_all(self, why: str) -> None:
        for running in list(self._running.values()):
            running.stop(why)

    async def run(self) -> None:
        """Renew every third of a lease, and look in between when another process has committed."""
        due = time.monotonic() + self._pause
        while True:
            with anyio.move_on_after(max(due - time.monotonic(), 0)):
                await self._look.wait()
            if time.monotonic() >= due:
                due = time.monotonic() + self._pause
                async with anyio.create_task_group() as beats:
                    for running in list(self._running.values()):
                        beats.start_soon(self._beat, running)
            elif self._look.is_set():
                self._look = anyio.Event()
                await self._check()
                await anyio.sleep(min(LOOK_EVERY, self._pause))

    async def _beat(self, running: Running) -> None:
        try:
            await self._db.tasks.heartbeat(running.claim)
        except LeaseLostError as error:
            log.warning("%s", error.problem)
            running.stop("lost")
        except EngineError as error:
            log.warning("the lease of task %s was not renewed: %s", running.claim.task.id, error)
            if time.monotonic() > running.held_until:
                running.stop("lost")
        else:
            running.renewed()

    async def _check(self) -> None:
        running = list(self._running.values())
        if not running:
            return
        held = await self._db.tasks.still_held(one.claim for one in running)
        for one in running:
            if (one.claim.task.id, one.claim.fence) not in held:
                one.stop("lost")
