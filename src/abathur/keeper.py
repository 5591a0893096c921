"""Keeps the leases of running handlers, and stops a handler whose task is no longer its own."""

from __future__ import annotations

import asyncio
import logging
import math
import time

import anyio
from attrs import define, field

from abathur.database import Database
from abathur.errors import LeaseLostError
from abathur.maintenance import TROUBLE
from abathur.models import Claim

log = logging.getLogger("abathur.runner")

LOOK_EVERY = 0.25
"""Seconds between two looks whether another process has cancelled something."""


@define(eq=False)
class Running:
    """A claim of this runner, from when it was made to when it is settled."""

    claim: Claim
    scope: anyio.CancelScope | None = None
    """The handler's, once it has begun."""
    deadline: float = math.inf
    """When the attempt has taken too long. On the monotonic clock, as the next one."""
    held_until: float = field(init=False)
    """Until then nobody else can have the task."""
    why: str | None = None
    """Why it was stopped: ``cancelled``, ``lost``, ``timed out`` or ``stopping``; None while it was not."""
    finished: bool = False
    """The handler has ended."""

    def __attrs_post_init__(self) -> None:
        self.renewed()

    def renewed(self) -> None:
        self.held_until = time.monotonic() + self.claim.lease

    def stop(self, why: str) -> None:
        """Cancel the handler, once; one that has not begun does not begin."""
        if self.why is None and not self.finished:
            self.why = why
            if self.scope is not None:
                self.scope.cancel()


class Keeper:
    """The claims of one runner: renews their leases, and stops handlers that may not go on."""

    def __init__(self, db: Database, lease: float) -> None:
        self._db = db
        self._pause = lease / 3
        self._running: dict[Running, None] = {}
        self._poke = asyncio.Event()
        self._wakes_at = 0.0
        self._look = False
        self._checking = False

    @property
    def busy(self) -> bool:
        """Whether anything is not settled yet."""
        return bool(self._running)

    def hold(self, running: Running) -> None:
        """Renew this claim's lease until `drop`."""
        self._running[running] = None

    def begin(self, running: Running, scope: anyio.CancelScope, timeout: float) -> None:
        """The handler begins; it is stopped after `timeout` seconds."""
        running.scope = scope
        running.deadline = time.monotonic() + timeout
        if running.deadline < self._wakes_at:
            self._poke.set()

    def drop(self, running: Running) -> None:
        """It is settled, or lost."""
        self._running.pop(running, None)

    def cancelled(self, task_id: str | None) -> None:
        """A task was cancelled by this process; or, with None, perhaps by another one."""
        if task_id is None:
            self._look = True
            self._poke.set()
            return
        for running in self._running:
            if running.claim.task.id == task_id:
                running.stop("cancelled")

    def stop_all(self, why: str) -> None:
        for running in self._running:
            running.stop(why)

    async def run(self) -> None:
        """Renew every third of a lease; stop what takes too long; look when another process has committed."""
        beat_at = time.monotonic() + self._pause
        look_from = 0.0
        async with anyio.create_task_group() as beats:
            while True:
                # One that was stopped may take its time to clean up; its deadline is over.
                deadlines = [one.deadline for one in self._running if one.why is None and not one.finished]
                looks = [look_from] if self._look and self._running and not self._checking else []
                self._wakes_at = min([beat_at, *deadlines, *looks])
                with anyio.move_on_after(max(self._wakes_at - time.monotonic(), 0)):
                    await self._poke.wait()
                self._poke.clear()
                now = time.monotonic()
                for running in list(self._running):
                    if running.deadline <= now:
                        running.stop("timed out")
                if now >= beat_at:
                    beat_at = now + self._pause
                    for running in list(self._running):
                        # Not waited for: a database that is slow must not make time-outs late.
                        beats.start_soon(self._beat, running)
                if self._look and now >= look_from and not self._checking:
                    self._look = False
                    look_from = now + LOOK_EVERY
                    self._checking = True
                    beats.start_soon(self._check)

    async def _beat(self, running: Running) -> None:
        try:
            await self._db.tasks.heartbeat(running.claim)
        except LeaseLostError as error:
            if not running.finished:  # else it was settled in the same moment
                log.warning("%s", error.problem)
                running.stop("lost")
        except TROUBLE as error:
            log.warning("the lease of task %s was not renewed: %s", running.claim.task.id, error)
            if time.monotonic() > running.held_until:
                running.stop("lost")
        else:
            running.renewed()

    async def _check(self) -> None:
        """Stop what is no longer ours: another process has cancelled it, or taken it."""
        running = [one for one in self._running if not one.finished]
        try:
            held = await self._db.tasks.still_held(one.claim for one in running)
        except TROUBLE as error:
            log.warning("whether anything was cancelled could not be seen: %s", error)
            return  # the next heartbeat finds out
        finally:
            self._checking = False
            if self._look:
                self._poke.set()
        for one in running:
            if (one.claim.task.id, one.claim.fence) not in held:
                one.stop("lost")


def is_cancelled() -> bool:
    """Whether this task itself is to end."""
    task = asyncio.current_task()
    return bool(task and task.cancelling()) or anyio.current_effective_deadline() == -math.inf
