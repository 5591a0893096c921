"""The reading side of `db.tasks`: tasks by id and page by page, and why the queue stands as it does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

from abathur import payload
from abathur.engines.base import Engine
from abathur.errors import InvalidInputError, WaitTimeoutError
from abathur.models import Attempt, Claim, Progress, Task
from abathur.states import STATUSES
from abathur.tasks import checks, critical, graph, of_projects, reading, stats, tree, why, workers
from abathur.tasks.new import integer, seconds
from abathur.tasks.views import CriticalPath, Stats, Tree, Why, WorkerInfo
from abathur.tasks.watch import Watch


class Looking:
    """What can be seen of the tasks of a Database. Nothing here changes anything."""

    def __init__(self, engine: Engine, watch: Watch) -> None:
        self._engine = engine
        self._watch = watch

    # -- one task ------------------------------------------------------------------------------

    async def get(self, task: str | Task) -> Task:
        """One task as it is now. Raises UnknownTaskError."""
        return await self._engine.read(reading.get, checks.id_of(task))

    async def resolve(self, prefix: str) -> list[str]:
        """The ids that begin with `prefix`; two of them at most."""
        return await self._engine.read(reading.resolve, payload.plain(prefix, "prefix"))

    async def attempts(self, task: str | Task) -> list[Attempt]:
        """The attempts that did not complete a task, each with its error."""
        return await self._engine.read(reading.attempts, checks.id_of(task))

    async def prerequisites(self, task: str | Task) -> list[graph.PrerequisiteState]:
        """What a task waits for or has waited for, by id. Raises UnknownTaskError."""
        return await self._engine.read(graph.prerequisites, checks.id_of(task))

    async def progress(self, task: str | Task) -> Progress | None:
        """What the task's handler last said about how far it is."""
        return await self._engine.read(reading.progress, checks.id_of(task))

    async def why(self, task: str | Task) -> Why:
        """Why a task is not running; `str()` of the answer says it in words.

        What it waits for is followed to the root cause, however long the chain. Raises UnknownTaskError.
        """
        return await self._engine.read(why.why, checks.id_of(task))

    async def tree(self, task: str | Task, *, limit: int = 1_000) -> Tree:
        """A task with its parts and theirs, `limit` tasks at most. Raises UnknownTaskError."""
        integer("limit", limit, 1, 10_000)
        return await self._engine.read(tree.tree, checks.id_of(task), limit)

    async def critical_path(self, task: str | Task) -> CriticalPath:
        """The chain of unmet prerequisites that decides when a task can be done, with the task itself.

        A task counts with its `estimated_duration`; without one with what completed tasks of its agent
        type took lately on average; without any with one second. Raises UnknownTaskError, or
        DependencyCycleError for a circle, which only a database of an older version can hold.
        """
        return await self._engine.read(critical.critical_path, checks.id_of(task))

    # -- the queue -----------------------------------------------------------------------------

    async def stats(self) -> Stats:
        """How the whole queue stands; what that costs does not grow with the number of tasks."""
        return await self._engine.read(stats.stats)

    async def workers(self) -> list[WorkerInfo]:
        """The runners at work on this database, by name: those that were seen within the last 45 s.

        A program that claims tasks without a Runner does not announce itself, so it is not here.
        """
        return await self._engine.read(workers.live)

    async def counts(self, *, by_agent_type: bool = False) -> dict[Any, int]:
        """The number of tasks per status, or per (agent type, status); kept, so it takes constant time."""
        rows = await self._engine.read(reading.counts)
        total: dict[Any, int] = {}
        for agent_type, status, n in rows:
            key = (agent_type, status) if by_agent_type else status
            total[key] = total.get(key, 0) + n
        return total

    async def outlook(
        self, agent_types: Iterable[str], projects: Iterable[str] | None = None
    ) -> tuple[bool, float | None]:
        """Whether a claim would find something now, and else after how many seconds it may; for runners."""
        return await self._engine.read(
            reading.outlook, checks.types_of(agent_types), checks.projects_of(projects)
        )

    async def any_left(self, agent_types: Iterable[str], projects: Iterable[str]) -> bool:
        """Whether projects have tasks of these types that are ready, scheduled or running; for runners."""
        return await self._engine.read(
            of_projects.is_any_left, checks.projects_of(projects) or (), checks.types_of(agent_types)
        )

    async def still_held(self, claims: Iterable[Claim]) -> set[tuple[str, int]]:
        """The (task id, fence) of those claims that still hold; for runners."""
        return await self._engine.read(reading.still_held, [(one.task.id, one.fence) for one in claims])

    async def wait(self, task: str | Task, *, timeout: float | None = None) -> Task:
        """Wait until a task is completed, failed or cancelled, and return it. `timeout` is in seconds.

        Raises WaitTimeoutError or UnknownTaskError. Inside of one process nothing is polled.
        """
        task_id = checks.id_of(task)
        if timeout is not None:
            seconds("timeout", timeout, 365 * 86_400, zero=True)
        async with AsyncExitStack() as stack:
            ended = stack.enter_context(self._watch.for_end(task_id))
            found = await self.get(task_id)
            if found.ended:
                return found
            await stack.enter_async_context(self._engine.listen(self._watch.elsewhere))
            try:
                async with asyncio.timeout(timeout) as limit:
                    while True:
                        ended.clear()
                        found = await self.get(task_id)
                        if found.ended:
                            return found
                        await ended.wait()
            except TimeoutError:
                if not limit.expired():  # a LockTimeoutError, say
                    raise
                raise WaitTimeoutError(task_id, found.status, timeout or 0) from None

    # Last, because below it `list` would mean this method in annotations.
    async def list(
        self,
        *,
        status: str | None = None,
        agent_type: str | None = None,
        parent: str | Task | None = None,
        project: str | None = None,
        limit: int = 100,
        after: str | None = None,
        newest_first: bool = False,
    ) -> list[Task]:
        """Tasks by id. The next page: `after=tasks[-1].id`.

        For tasks made by this library that is the order in which they were submitted; tasks of
        adopted older databases have random ids.
        """
        if status is not None and status not in STATUSES:
            raise InvalidInputError(
                f"status={status!r} is unknown.", f"Expected one of {', '.join(STATUSES)}.", "Choose one."
            )
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= 10_000:
            raise InvalidInputError(
                f"limit={limit!r} is out of range.", "Expected 1 to 10,000.", "Ask for pages."
            )
        filters = {
            "status": status,
            "agent_type": agent_type,
            "parent": None if parent is None else checks.id_of(parent),
            "project": project,
        }
        return await self._engine.read(reading.page, filters, after or "", limit, newest_first)
