"""One run of a scenario: up to the point at which it is killed, and what is left of it then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import attrs

from abathur.commands import CommandAgent
from abathur.database import Database
from abathur.errors import InvalidInputError
from abathur.runner import Runner
from abathur.testing.clock import FakeClock
from abathur.testing.crashing.mortal import MortalDatabase
from abathur.testing.crashing.places import Places
from abathur.testing.crashing.stepping import Stepper
from abathur.testing.crashing.trap import CrashPoint, Trap
from abathur.testing.draining import Drained, drain

Scenario: TypeAlias = Callable[[Database], Awaitable[Runner]]


@attrs.frozen(kw_only=True)
class Options:
    """How scenarios are run."""

    limit: int
    """Points, at most."""
    timeout: float
    """Seconds that one run may take."""
    lines: bool
    inside: tuple[Any, ...]
    concurrency: int
    database: dict[str, Any]


@attrs.define(eq=False)
class Run:
    """A process that works on the scenario until it is killed."""

    scenario: Scenario
    place: Any
    clock: FakeClock
    options: Options
    trap: Trap
    runner: Runner | None = None
    """What the scenario has made."""
    drained: Drained | None = None
    """What was done, if nobody killed it."""
    _stepper: Stepper | None = None

    async def until_killed(self) -> list[CrashPoint]:
        """Run it; returns the points that it has passed. Raises what the scenario raises."""
        stepper = self._stepper = Stepper(self.trap, Places(self.options.inside), lines=self.options.lines)
        db = MortalDatabase(self.place, stepper, clock=self.clock, **self.options.database)
        try:
            await db.initialize()
            self.runner = checked(await self.scenario(db), db)
            stepper.places.add(agent.handler for agent in self.runner.agents.values())
            await self._work(db, twin(self.runner, db, self.options.concurrency, stepper), stepper)
        finally:
            await db.close()
        return self.trap.points

    def close(self) -> None:
        """Let go of what was left where it was."""
        if self._stepper is not None:
            self._stepper.close_buried()

    async def _work(self, db: Database, runner: Runner, stepper: Stepper) -> None:
        loop = asyncio.get_running_loop()
        death = asyncio.Event()
        self.trap.on_death = lambda: loop.call_soon_threadsafe(death.set)
        with stepper.making_tasks():
            work = drain(db, runner, limit=self.options.limit, timeout=self.options.timeout)
            working = loop.create_task(work, context=stepper.outside())
            dying = loop.create_task(death.wait())
            try:
                await asyncio.wait({working, dying}, return_when=asyncio.FIRST_COMPLETED)
                if not self.trap.dead:
                    self.drained = await working
            finally:
                dying.cancel()
                self.trap.dead = True  # whatever is left ends now
                await _end(working, stepper.tasks)


async def resume(place: Any, clock: FakeClock, options: Options, runner: Runner) -> tuple[Database, Drained]:
    """Another process goes on with what is there. The Database is open, and to be closed by the caller."""
    db = Database(place, clock=clock, **options.database)
    try:
        await db.initialize()
        other = twin(runner, db, options.concurrency, None)
        return db, await drain(db, other, limit=options.limit, timeout=options.timeout)
    except BaseException:
        await db.close()
        raise


def twin(runner: Runner, db: Database, concurrency: int, stepper: Stepper | None) -> Runner:
    """A runner with the same handlers for another Database, as the same program has when it starts again."""
    other = Runner(db, concurrency=concurrency, lease=runner.lease, grace=0)
    for name, agent in runner.agents.items():
        if stepper is not None:
            handler = stepper.wrapped(agent.handler, is_async=agent.is_async)
            agent = attrs.evolve(agent, handler=handler, is_async=agent.is_async)  # noqa: PLW2901
        other.agents.add(name, agent)
    return other


def checked(runner: Any, db: Database) -> Runner:
    """What the scenario has returned. Raises InvalidInputError if it is no runner that can be stopped."""
    if not isinstance(runner, Runner) or runner.db is not db or not runner.agent_types:
        raise InvalidInputError(
            f"The scenario returned {type(runner).__name__}.",
            "Expected a Runner of the Database that it was given, with handlers.",
            "End it with `return runner`, and make that with `Runner(db)`.",
        )
    commands = [name for name, agent in runner.agents.items() if isinstance(agent.handler, CommandAgent)]
    if commands:
        raise InvalidInputError(
            f"The agent type {commands[0]!r} is run by a command.",
            "Expected Python handlers: another program cannot be stopped at each of its lines.",
            "Register a function in its place.",
        )
    return runner


async def _end(working: asyncio.Task[Any], tasks: Mapping[asyncio.Task[Any], bool]) -> None:
    """Cancel what still runs, and look at every outcome, which concerns nobody any more.

    The engine's own tasks are not cancelled, but waited for: they soon end by themselves.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            if task is working or tasks[task]:
                task.cancel()
        await asyncio.wait(left, timeout=0.1)
    for task in tasks:
        if not task.cancelled():
            with contextlib.suppress(BaseException):
                task.exception()
