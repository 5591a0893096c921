"""Drain: run everything that is ready to the end, here and now, and skip the waiting by moving the clock."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

import anyio
from attrs import define, field, frozen

from abathur import maintenance, times
from abathur.database import Database
from abathur.errors import InvalidInputError
from abathur.models import Task
from abathur.runner import Runner
from abathur.script import Script
from abathur.states import BLOCKED, CANCELLED, COMPLETED, FAILED, PENDING, READY, RUNNING, SCHEDULED, WAITING
from abathur.tasks import reading
from abathur.tasks.moves import Move
from abathur.tasks.new import integer, seconds
from abathur.tasks.views import TaskState
from abathur.testing.clock import FakeClock

OPEN: Final = (RUNNING, READY, SCHEDULED, BLOCKED, WAITING, PENDING)
MOST_LEFT: Final = 20
"""Tasks of which it is said why they are left."""
LOOK_EVERY: Final = 0.02
"""Seconds between two looks for what is waited for, if no commit asks for one sooner."""
PAGE: Final = 1_000

Stopped: TypeAlias = Literal["", "limit", "timeout", "clock"]


@frozen
class LeftTask:
    """A task that has not ended, and why."""

    task: TaskState
    """How it stands."""
    why: str
    """Why it has not ended, in words."""

    def __str__(self) -> str:
        task = self.task
        return f"{task.id} {task.status} {task.agent_type} {task.summary!r}: {self.why}"


@frozen(kw_only=True)
class Drained:
    """What `drain` did, and what it left. `str()` of it says so in words."""

    attempts: int
    """Attempts that were run to their end."""
    completed: int
    """Tasks that became completed meanwhile."""
    failed: int
    """Tasks that failed for good."""
    cancelled: int
    """Tasks that were cancelled."""
    advanced: float
    """Seconds by which the fake clock was moved."""
    stopped: Stopped
    """Why it ended before nothing was left to run: ``limit``, ``timeout``, ``clock`` (the rest is due
    later, and the clock is the real one), else empty."""
    left: tuple[LeftTask, ...]
    """Tasks that have not ended, the first 20."""
    more: int
    """Tasks beyond those that have not ended either."""

    def __str__(self) -> str:
        attempts = "1 attempt" if self.attempts == 1 else f"{self.attempts:,} attempts"
        lines = [
            f"{attempts}: {self.completed:,} completed, {self.failed:,} failed, {self.cancelled:,} cancelled."
        ]
        if self.advanced:
            lines[0] += f" The clock was moved by {self.advanced:,.6g} s."
        if self.stopped:
            lines.append(_STOPPED[self.stopped])
        if self.left:
            number = len(self.left) + self.more
            lines.append("1 task has not ended:" if number == 1 else f"{number:,} tasks have not ended:")
            lines += [f"  {one}" for one in self.left]
        if self.more:
            lines.append(f"  and {self.more:,} more")
        return "\n".join(lines)


_STOPPED: Final = {
    "limit": "It stopped at its limit of attempts: perhaps tasks make others for ever.",
    "timeout": "It stopped at its time-out: perhaps a handler waits for what never comes.",
    "clock": "It stopped because the rest is due later, and the clock is the real one.",
}


async def drain(db: Database, *runners: Runner, limit: int = 1_000, timeout: float = 30.0) -> Drained:
    """Run the tasks of these runners' agent types until none is left that could run; returns what was done.

    db: an open Database. runners: what runs the tasks, in this process, as `runner.run()` does. limit:
    attempts after which nothing new is begun. timeout: seconds of real time after which what still runs is
    cancelled and given back.

    With a `FakeClock` nobody waits: whenever nothing is running, the clock is moved to the moment at which
    the next task is due, a backoff is over, or the lease of a worker that does not come back. With a real
    clock it waits for what is due before its time is over. A handler's own `asyncio.sleep` takes its time.

    Raises InvalidInputError, and what `Runner.run` raises; not what handlers raise, which fails their tasks.
    """
    integer("limit", limit, 1, 1_000_000)
    seconds("timeout", timeout, 86_400)
    _check(db, runners)
    return await _Drain(db, runners, limit, timeout).run()


@define(eq=False)
class _Drain:
    db: Database
    runners: Sequence[Runner]
    limit: int
    timeout: float
    stopped: Stopped = ""
    attempts: int = 0
    ended: Counter[str] = field(factory=Counter)
    advanced: int = 0
    """Microseconds."""
    _orphans: frozenset[tuple[str, int]] = frozenset()
    """What was running before this began, as (id, fence): nobody works on it."""
    _running: list[Runner] = field(factory=list)
    _changed: asyncio.Event = field(factory=asyncio.Event)
    _deadline: float = 0.0

    @property
    def agent_types(self) -> list[str]:
        return sorted({one for runner in self.runners for one in runner.agent_types})

    @property
    def _workers(self) -> frozenset[str]:
        return frozenset(runner.worker for runner in self.runners)

    async def run(self) -> Drained:
        self._deadline = time.monotonic() + self.timeout
        await maintenance.once(self.db)
        self._orphans = await self.db.read(_running, self.agent_types)
        with self.db.watch.for_moves(self._moved), anyio.move_on_after(self.timeout) as scope:
            steering = asyncio.ensure_future(self._steer())
            steering.add_done_callback(lambda _: self._stop_running())  # else nobody would move the clock
            try:
                while await self._is_left() and not self.stopped and not steering.done():
                    await self._run_all()
            finally:
                steering.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await steering
        if scope.cancelled_caught:
            self.stopped = "timeout"
        return await self._summary()

    async def _run_all(self) -> None:
        """All runners at once, each until it has nothing to do; others may make some for it."""
        if len(self.runners) == 1:  # so that what it raises is not wrapped in a group
            await self._until_idle(self.runners[0])
            return
        async with anyio.create_task_group() as group:
            for runner in self.runners:
                group.start_soon(self._until_idle, runner)

    async def _until_idle(self, runner: Runner) -> None:
        self._running.append(runner)
        try:
            await runner.run(until_idle=True)
        finally:
            self._running.remove(runner)

    async def _is_left(self) -> bool:
        counts = await self.db.tasks.counts(by_agent_type=True)
        return any(
            counts.get((agent_type, status), 0)
            for agent_type in self.agent_types
            for status in (PENDING, READY, SCHEDULED, RUNNING)
        )

    # -- counting ------------------------------------------------------------------------------

    def _moved(self, moves: Sequence[Move]) -> None:
        """A commit has changed these tasks."""
        for move in moves:
            if move.status in (COMPLETED, FAILED, CANCELLED):
                self.ended[move.status] += 1
            if move.found == RUNNING and not self.stopped:
                self.attempts += 1
        if self.attempts >= self.limit and not self.stopped:
            self._stop("limit")
        self._changed.set()

    def _stop(self, why: Stopped) -> None:
        self.stopped = why
        self._stop_running()

    def _stop_running(self) -> None:
        for runner in self._running:  # not the others: their next `run` would return at once
            runner.stop()

    # -- the clock -----------------------------------------------------------------------------

    async def _steer(self) -> None:
        """Move the clock on whenever everybody waits for it."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_EVERY)
            self._changed.clear()
            moment = await self.db.read(_next_moment, self.agent_types, self._orphans, self._workers)
            if moment is None or self.stopped:
                continue
            clock = self.db.clock
            now = await self.db.engine.clock()
            if isinstance(clock, FakeClock) and clock.frozen:
                if moment > now:
                    self.advanced += moment - now
                    clock.move_to(_datetime(moment))
            elif (moment - now) / times.SECOND > self._deadline - time.monotonic():
                self._stop("clock")

    # -- telling -------------------------------------------------------------------------------

    async def _summary(self) -> Drained:
        counts = await self.db.tasks.counts()
        number = sum(counts.get(status, 0) for status in OPEN)
        left: list[LeftTask] = []
        for status in OPEN:
            room = MOST_LEFT - len(left)
            if room and counts.get(status, 0):
                tasks = await self.db.tasks.list(status=status, limit=room)
                left += [await self._why(task) for task in tasks]
        return Drained(
            attempts=self.attempts,
            completed=self.ended[COMPLETED],
            failed=self.ended[FAILED],
            cancelled=self.ended[CANCELLED],
            advanced=self.advanced / times.SECOND,
            stopped=self.stopped,
            left=tuple(left),
            more=number - len(left),
        )

    async def _why(self, task: Task) -> LeftTask:
        state = TaskState(task.id, task.status, task.agent_type, task.summary)
        if task.status == BLOCKED:
            return LeftTask(state, str(await self.db.tasks.why(task)))
        if task.agent_type not in self.agent_types:
            return LeftTask(state, f"None of the runners handles {task.agent_type!r}.")
        if self.stopped == "clock" and task.run_at is not None:
            return LeftTask(state, f"It is due at {task.run_at.isoformat()}.")
        return LeftTask(state, _STOPPED.get(self.stopped) or str(await self.db.tasks.why(task)))


def _waits_until(task: Task) -> int | None:
    """The moment (microseconds) at which a task is due, or the lease of its worker is over."""
    at = task.run_at if task.status == SCHEDULED else task.lease_expires_at
    return None if at is None else times.micros(at, "a moment")


def _running(agent_types: Sequence[str]) -> Script[frozenset[tuple[str, int]]]:
    tasks = yield from _all(RUNNING, agent_types)
    return frozenset((task.id, task.fence) for task in tasks)


def _next_moment(
    agent_types: Sequence[str], orphans: frozenset[tuple[str, int]], workers: frozenset[str]
) -> Script[int | None]:
    """The moment (microseconds) for which everybody waits; None while there is something to do without."""
    rows = yield from reading.counts()
    if any(n and status == READY and agent_type in agent_types for agent_type, status, n in rows):
        return None
    running = yield from _all(RUNNING, agent_types)
    if any(task.worker in workers and (task.id, task.fence) not in orphans for task in running):
        return None
    waiting = yield from _all(SCHEDULED, agent_types)
    return min((at for task in running + waiting if (at := _waits_until(task)) is not None), default=None)


def _all(status: str, agent_types: Sequence[str]) -> Script[list[Task]]:
    """All tasks with this status, of these agent types."""
    found: list[Task] = []
    filters = {"status": status, "agent_type": None, "parent": None, "project": None}
    after = ""
    while page := (yield from reading.page(filters, after, PAGE, False)):
        found += [task for task in page if task.agent_type in agent_types]
        after = page[-1].id
    return found


def _datetime(moment: int) -> datetime:
    return times.EPOCH + timedelta(microseconds=moment)


def _check(db: Database, runners: Sequence[Runner]) -> None:
    if not runners or not all(isinstance(runner, Runner) for runner in runners):
        raise InvalidInputError(
            "drain was given no runner.", "Expected one or more.", "Write `await drain(db, runner)`."
        )
    for runner in runners:
        if runner.db is not db:
            raise InvalidInputError(
                f"A runner works on {runner.db!r}, not on {db!r}.",
                "Expected runners of the Database that is drained.",
                "Make it with `Runner(db)`.",
            )
        if not runner.agent_types:
            raise InvalidInputError(
                "A runner has no handlers.", "Expected at least one agent type.", "Use `@runner.agent(name)`."
            )
