"""Runner: claims tasks and runs their handlers, a fixed number at a time, under one task group.

runner = Runner(db, concurrency=8)

@runner.agent("reviewer", timeout=600)
async def review(ctx):
    await ctx.progress(0.5, "half way")
    return {"verdict": "good"}

await runner.run()
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Literal, TypeAlias, TypeVar

import anyio
import anyio.lowlevel

from abathur import agents, maintenance, presence
from abathur.agents import Agent, Agents, Handler
from abathur.context import Context, DoNotRetry
from abathur.database import Database
from abathur.errors import InvalidInputError
from abathur.keeper import Keeper, Running, is_cancelled
from abathur.maintenance import TROUBLE
from abathur.models import Claim
from abathur.settling import Ending, Settling
from abathur.states import PENDING, READY, RUNNING, SCHEDULED
from abathur.tasks import checks
from abathur.tasks.new import seconds
from abathur.tasks.retention import Retention
from abathur.tasks.watch import Doorbell

log = logging.getLogger("abathur.runner")

H = TypeVar("H", bound=Handler)
Queue: TypeAlias = "asyncio.Queue[Running | None]"
"""Claims on their way to the workers; None ends a worker."""

POLL: Final = 1.0
"""Seconds after which an idle runner looks again, whatever it was told."""


class Runner:
    """Runs the tasks of its agent types until it is stopped.

    db: an initialized Database. worker: its name, else the host's name and the process id.
    concurrency: handlers at a time. lease: seconds; it is renewed every third of it, and when this
    process dies, the task goes to another worker after that time at most. grace: seconds that
    handlers get to finish when the runner is stopped; then they are cancelled and their tasks
    released without using up an attempt. retention: how long tasks that have ended are kept, None: for
    ever. project: ids of projects whose tasks alone it runs; None runs any task.
    """

    def __init__(
        self,
        db: Database,
        *,
        concurrency: int = 8,
        worker: str | None = None,
        lease: float = 30.0,
        grace: float = 10.0,
        retention: Retention | None = None,
        project: str | Iterable[str] | None = None,
    ) -> None:
        if not isinstance(concurrency, int) or isinstance(concurrency, bool) or not 1 <= concurrency <= 1000:
            raise InvalidInputError(
                f"concurrency={concurrency!r} is out of range.",
                "Expected 1 to 1,000.",
                "Give another number.",
            )
        self.db = db
        self.concurrency = concurrency
        self.worker = worker or f"{socket.gethostname()}-{os.getpid()}"
        self.lease = seconds("lease", lease, 86_400)
        self.grace = seconds("grace", grace, 86_400, zero=True)
        self.retention = retention
        self.projects = checks.some_projects(project)
        self._agents = Agents()
        self._keeper = Keeper(db, self.lease)
        self._settling = Settling(db, self.lease)
        self._stopping = False
        self._is_running = False
        self._bell: Doorbell | None = None
        self._free = concurrency

    def agent(
        self,
        agent_type: str,
        *,
        timeout: float | None = None,
        max_attempts: int | None = None,
        concurrency: int | None = None,
    ) -> Callable[[H], H]:
        """Register a handler for an agent type: an async function, or a plain one, run in a thread.

        It gets a Context, and what it returns, JSON, is the task's result. An exception fails the
        attempt. `timeout` (seconds) and `max_attempts` can only lower what the task asks for;
        `concurrency` is how many tasks of this type run at a time, within the runner's own.
        """
        if callable(agent_type):
            raise InvalidInputError(
                "`@runner.agent` was used without an agent type.",
                "Expected its name in parentheses.",
                'Write `@runner.agent("reviewer")`.',
            )
        agents.check(agent_type, timeout, max_attempts, concurrency)

        def register(handler: H) -> H:
            self._agents.add(
                agent_type,
                agents.checked(
                    agent_type, handler, timeout=timeout, max_attempts=max_attempts, concurrency=concurrency
                ),
            )
            return handler

        return register

    def command(
        self,
        agent_type: str,
        command: Sequence[str],
        *,
        timeout: float | None = None,
        max_attempts: int | None = None,
        concurrency: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        output: Literal["json", "text"] = "json",
        kill_after: float = 5.0,
    ) -> None:
        """Register a command for an agent type: a program and its arguments, started for each attempt.

        It gets the task as JSON on stdin, and the JSON that it prints is the result. env, cwd, output
        and kill_after are those of `CommandAgent`. Raises InvalidInputError, also when there is no
        such program.
        """
        from abathur.commands import CommandAgent

        handler = CommandAgent(command, env=env, cwd=cwd, output=output, kill_after=kill_after)
        self.agent(agent_type, timeout=timeout, max_attempts=max_attempts, concurrency=concurrency)(handler)

    @property
    def agent_types(self) -> tuple[str, ...]:
        """The agent types that have a handler."""
        return tuple(sorted(self._agents))

    @property
    def agents(self) -> Agents:
        """The agents by their agent types."""
        return self._agents

    def stop(self) -> None:
        """Claim nothing more, let handlers finish within the grace period, then return from `run`.

        Before `run` it makes the next one return at once. After that the runner can be run again.
        """
        self._stopping = True
        if self._bell is not None:
            self._bell.ring(sure=False)

    async def run(self, *, until_idle: bool = False) -> None:
        """Claim and run tasks until `stop()`, or with `until_idle` until none of its types is left to run.

        Idle means that no task of its agent types is ready, scheduled or running.
        """
        if not self._agents:
            raise InvalidInputError(
                "This runner has no handlers.",
                "Expected at least one agent type.",
                "Use `@runner.agent(name)`.",
            )
        if self._is_running:
            raise InvalidInputError(
                "This runner is running already.", "Expected one `run()` at a time.", "Make another Runner."
            )
        self._is_running = True
        try:
            if not self._stopping:
                await self._run(until_idle=until_idle)
        finally:
            self._stopping = self._is_running = False

    async def _run(self, *, until_idle: bool) -> None:
        self._free = self.concurrency
        self._agents.reset()
        self._threads = anyio.CapacityLimiter(self.concurrency)
        queue: Queue = asyncio.Queue()
        try:
            async with self._open() as bell, anyio.create_task_group() as workers:
                for _ in range(self.concurrency):
                    workers.start_soon(self._work, bell, queue)
                # A task of its own: a native cancellation of ours must not tear a claim from its answer.
                async with anyio.create_task_group() as dispatcher:
                    dispatcher.start_soon(partial(self._dispatch, bell, queue, until_idle=until_idle))
                self._stopping = True  # what is claimed and not begun is given back
                for _ in range(self.concurrency):
                    queue.put_nowait(None)
                await self._wind_down(bell)
        finally:
            self._stopping = True
            with anyio.CancelScope(shield=True):
                async with anyio.create_task_group() as releases:
                    while not queue.empty():
                        if (running := queue.get_nowait()) is not None:
                            releases.start_soon(self._give_back, running)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Doorbell]:
        """Everything that lives as long as `run`: wake-ups, lease renewal, maintenance."""
        watch = self.db.watch
        async with self.db.engine.listen(watch.elsewhere):
            with (
                watch.for_ready(frozenset(self._agents)) as bell,
                watch.for_cancelled(self._keeper.cancelled),
            ):
                self._bell = bell
                try:
                    async with anyio.create_task_group() as background:
                        background.start_soon(self._keeper.run)
                        background.start_soon(maintenance.forever, self.db, self.retention)
                        limits = {name: agent.concurrency for name, agent in self._agents.items()}
                        background.start_soon(
                            presence.announced, self.db, self.worker, limits, self.concurrency, self.projects
                        )
                        yield bell
                        background.cancel_scope.cancel()
                finally:
                    self._bell = None

    # -- dispatching ---------------------------------------------------------------------------

    async def _dispatch(self, bell: Doorbell, queue: Queue, *, until_idle: bool) -> None:
        """Claim for every free slot, as long as there is something; then wait to be rung for.

        A slot is free as soon as its handler has ended, so that the claim for it and the result of
        the handler are committed together.
        """
        hungry = True
        if until_idle:
            await self._reconcile()
        while not self._stopping:
            room = self._agents.room(self._free)
            # The bell does not say of which project a task is, so who is particular looks first.
            if room and (hungry or (bell.sure and self.projects is None)):
                bell.sure = False
                wanted = min(self._free, sum(room.values()))
                claims = await self._claim(room, wanted)
                hungry = len(claims) == wanted
                self._free -= len(claims)
                for claim in claims:
                    self._agents.begin(claim)
                    running = Running(claim)
                    self._keeper.hold(running)
                    queue.put_nowait(running)
                await anyio.lowlevel.checkpoint_if_cancelled()  # the claim itself is shielded
                continue
            wait = POLL
            if room:
                try:
                    bell.sure = False
                    hungry, soon = await self.db.tasks.outlook(room, self.projects)
                    may_return = until_idle and not hungry and self._free == self.concurrency
                    if may_return and await self._is_idle():
                        return
                except TROUBLE as error:
                    log.warning("looking for tasks failed and will be tried again: %s", error)
                    await anyio.sleep(POLL)
                    continue
                if hungry:
                    continue
                wait = POLL if soon is None else min(POLL, soon)
            with anyio.move_on_after(wait):
                await bell.wait()
            bell.clear()

    async def _reconcile(self) -> None:
        """Tasks of an older version count only when they have moved on."""
        try:
            await maintenance.once(self.db)
        except TROUBLE as error:
            log.warning("reconciling failed and will be tried again: %s", error)

    async def _claim(self, room: Mapping[str, int], limit: int) -> list[Claim]:
        try:
            # Not to be cancelled half-way: claims that nobody hears of would wait for their leases to end.
            with anyio.CancelScope(shield=True):
                claims = await self.db.tasks.claim(
                    self.worker,
                    agent_types=room,
                    limit=limit,
                    lease=self.lease,
                    caps=self._agents.caps(room),
                    projects=self.projects,
                )
        except TROUBLE as error:
            log.warning("claiming failed and will be tried again: %s", error)
            await anyio.sleep(POLL)
            return []
        return claims

    async def _is_idle(self) -> bool:
        if self.projects is not None:
            return not await self.db.tasks.any_left(self._agents, self.projects)
        counts = await self.db.tasks.counts(by_agent_type=True)
        return not any(
            counts.get((agent_type, status), 0)
            for agent_type in self._agents
            for status in (PENDING, READY, SCHEDULED, RUNNING)
        )

    async def _wind_down(self, bell: Doorbell) -> None:
        """Give handlers the grace period, then cancel them; their tasks are released."""
        with anyio.move_on_after(self.grace):
            while self._keeper.busy:
                bell.clear()
                await bell.wait()
        self._keeper.stop_all("stopping")

    # -- working -------------------------------------------------------------------------------

    async def _work(self, bell: Doorbell, queue: Queue) -> None:
        while (running := await queue.get()) is not None:
            ending = await self._handle(running)
            self._free += 1
            self._agents.end(running.claim)
            bell.ring(sure=False)
            with anyio.CancelScope(shield=True):
                if ending is not None:
                    await self._write_down(running, ending)
            self._keeper.drop(running)
            bell.ring(sure=False)

    async def _give_back(self, running: Running) -> None:
        await self._write_down(running, partial(self._settling.release, running.claim))
        self._keeper.drop(running)

    async def _handle(self, running: Running) -> Ending | None:
        """Run one handler. Returns what is to be written down; None when the claim is no longer ours."""
        claim = running.claim
        if self._stopping:
            return partial(self._settling.release, claim)
        if running.why is not None:
            return None
        agent = self._agents[claim.task.agent_type]
        timeout = claim.task.timeout if agent.timeout is None else min(agent.timeout, claim.task.timeout)
        ctx = Context(self.db, claim, running, timeout)
        result, error = None, None
        done = False
        try:
            with anyio.CancelScope() as scope:
                self._keeper.begin(running, scope, timeout)
                result = await self._call(agent, ctx)
                done = True
        except Exception as raised:  # noqa: BLE001  # it is the handler's, and is kept with the attempt
            error = raised
        except BaseException as raised:
            if not isinstance(raised, asyncio.CancelledError) or is_cancelled():
                # The runner itself is to end: give the task back before going.
                with anyio.CancelScope(shield=True):
                    await self._give_back(running)
                raise
            # The handler awaited something that somebody else has cancelled.
            error = RuntimeError(f"The handler was cancelled from inside: {raised!r}")
        running.finished = True
        if done:
            return partial(self._settling.complete, agent, claim, result)
        # The scope has swallowed our own cancellation, or the handler made an error of it.
        if running.why == "stopping":
            return partial(self._settling.release, claim)
        if running.why == "timed out":
            late = TimeoutError(f"The attempt took longer than {timeout:g} s. {ctx.last_words}".strip())
            return partial(self._settling.fail, agent, claim, late, "timed_out")
        if running.why is not None or error is None:
            log.info("task %s fence %d: stopped, %s", claim.task.id, claim.fence, running.why)
            return None
        return partial(self._settling.fail, agent, claim, error)

    async def _call(self, agent: Agent, ctx: Context) -> Any:
        if agent.is_async:
            return await agent.handler(ctx)
        # A thread cannot be stopped. It is left behind when its time is over, and its result is dropped.
        return await anyio.to_thread.run_sync(
            agent.handler, ctx, abandon_on_cancel=True, limiter=self._threads
        )

    async def _write_down(self, running: Running, ending: Ending) -> None:
        await self._settling.write_down(running, ending, is_stopping=lambda: self._stopping)


__all__ = ["Context", "DoNotRetry", "Runner"]
