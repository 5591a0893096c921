"""The lane: the one queue through which every write of this process goes to the writer's connection.

Whatever waits when the writer comes free is committed together. A lone caller waits for nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from anyio import CancelScope

from abathur.engines.jobs import Batch, Job, gather
from abathur.errors import AbathurError
from abathur.script import Emitted, ScriptFunction

log = logging.getLogger("abathur.engines")

LARGEST_GROUP: Final = 1_000
"""Jobs in one transaction. More would keep other processes waiting without saving anything."""
IDLE: Final = 1.0
"""Seconds without a write after which the writer tidies up its log."""


class Lane:
    """Accepts scripts from any task of one event loop and answers each after its commit."""

    def __init__(
        self,
        commit: Callable[[list[Batch]], Awaitable[Emitted]],
        observer: Callable[[Emitted], None],
        tidy: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`commit` settles every job and returns what was emitted; `tidy` is called after a pause."""
        self._commit = commit
        self._observer = observer
        self._tidy = tidy
        self._queue: deque[Job] = deque()
        self._loop = asyncio.get_running_loop()
        self._pump_task: asyncio.Task[None] | None = None
        self._rest: asyncio.TimerHandle | None = None

    async def submit(
        self, fn: ScriptFunction[Any], args: tuple[Any, ...], *, merged: bool = False, reads: bool = False
    ) -> Any:
        """Run a script in the next transaction. Merged scripts get a list of all waiting `args[0]`.

        A caller that is cancelled before its script was taken leaves nothing behind. One that is
        cancelled later waits for the outcome, then is cancelled: it is wholly done or not at all.
        """
        job = Job(fn, args, merged, reads, self._loop.create_future())
        self._queue.append(job)
        if not self._is_pumping():
            self._start_pump()
        try:
            await job.waiter
        except asyncio.CancelledError:
            if not job.taken:
                self._queue.remove(job)
                raise
            await self._outcome(job)
            raise
        if job.error is not None:
            raise job.error
        return job.answer

    async def drain(self) -> None:
        """Wait until everything that was submitted is settled."""
        while self._pump_task is not None and self._is_pumping():
            await asyncio.wait([self._pump_task])
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    async def _outcome(self, job: Job) -> None:
        with CancelScope(shield=True):
            while not job.done:
                job.waiter = self._loop.create_future()
                try:
                    await job.waiter
                except asyncio.CancelledError:
                    continue  # cancelled again; the first one is re-raised by the caller

    async def _pump(self, *, tidy: bool = False) -> None:
        try:
            if tidy and self._tidy is not None:
                await self._tidy_up(self._tidy)
            worked = False
            while self._queue:
                jobs = [self._queue.popleft() for _ in range(min(len(self._queue), LARGEST_GROUP))]
                for job in jobs:
                    job.taken = True
                await self._run(jobs)
                worked = True
                # The callers that were just answered get to ask for more before the next group.
                await asyncio.sleep(0)
            if worked and self._tidy is not None:
                self._rest = self._loop.call_later(IDLE, self._tidy_soon)
        except BaseException as error:  # the loop is ending; so are the callers
            _settle(list(self._queue), error)
            self._queue.clear()
            raise
        finally:
            self._pump_task = None

    async def _run(self, jobs: list[Job]) -> None:
        batches = gather(jobs)
        try:
            emitted = await self._commit(batches)
        except BaseException as error:
            _settle(jobs, error)
            if isinstance(error, Exception):  # the connection is gone: every caller hears of it
                return
            raise
        _settle(jobs, None)
        if emitted:
            self._observer(emitted)

    async def _tidy_up(self, tidy: Callable[[], Awaitable[None]]) -> None:
        try:
            await tidy()
        except (AbathurError, OSError) as error:
            # Nobody waits for this, and those who wait meanwhile must get their turn.
            log.warning("the log was not tidied up, and will be after the next write: %s", error)

    def _is_pumping(self) -> bool:
        # One that was cancelled before its first step never came to its `finally`.
        return self._pump_task is not None and not self._pump_task.done()

    def _tidy_soon(self) -> None:
        if not self._is_pumping():
            self._start_pump(tidy=True)

    def _start_pump(self, *, tidy: bool = False) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._pump_task = self._loop.create_task(self._pump(tidy=tidy), name="abathur-lane")


def _settle(jobs: list[Job], error: BaseException | None) -> None:
    for job in jobs:
        if error is not None and not job.settled:  # else it was committed, or has an error of its own
            job.error = error
        job.done = True
        if not job.waiter.done():
            job.waiter.set_result(None)
