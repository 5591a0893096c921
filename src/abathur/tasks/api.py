"""`db.tasks`: everything that can be done with tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Literal, cast

from abathur import payload
from abathur.engines.base import Engine
from abathur.errors import InvalidInputError, WaitTimeoutError
from abathur.models import Attempt, Claim, OnFailure, Prerequisite, Progress, Task
from abathur.states import STATUSES
from abathur.tasks import (
    checks,
    claim,
    control,
    dependencies,
    failures,
    graph,
    moves,
    reading,
    reconcile,
    settle,
    submit,
)
from abathur.tasks.failures import LONGEST_MESSAGE
from abathur.tasks.new import NewTask, make_edges, new_task, seconds
from abathur.tasks.watch import Watch


class Tasks:
    """The tasks of a Database. Every method that changes something is one transaction."""

    def __init__(self, engine: Engine, watch: Watch, actor: str) -> None:
        self._engine = engine
        self._watch = watch
        self._actor = actor

    # -- making --------------------------------------------------------------------------------

    async def enqueue(
        self,
        prompt: str,
        *,
        agent_type: str = "general",
        priority: int = 5,
        input: Any = None,
        depends_on: Iterable[str | Task | Prerequisite] = (),
        key: str | None = None,
        run_at: datetime | None = None,
        max_attempts: int = 3,
        timeout: float = 3600,
        parent: str | Task | None = None,
        project: str | None = None,
        summary: str | None = None,
        deadline: datetime | None = None,
        estimated_duration: float | None = None,
        created_by: str | None = None,
        session: str | None = None,
        source: str = "human",
    ) -> Task:
        """Make a task. It is durable when this returns.

        prompt: what to do, in words. agent_type: which handlers may claim it. priority: 0 to 10, a
        step is worth a day of waiting. input: JSON, 256 KiB at most. depends_on: tasks, ids or
        `Prerequisite(id, on_failure=...)`. key: an idempotency key; a repeated one answers with the
        existing task. run_at: not before this moment. timeout: seconds that an attempt may take.
        parent: the task that this one is a part of. summary: a line for lists, else the prompt's
        first. deadline: near it, the task goes first. estimated_duration: seconds.

        Raises InvalidInputError, InvalidPayloadError, UnknownTaskError or IdempotencyConflictError.
        """
        task = new_task(
            prompt,
            agent_type=agent_type,
            priority=priority,
            input=input,
            depends_on=depends_on,
            key=key,
            run_at=run_at,
            max_attempts=max_attempts,
            timeout=timeout,
            parent=parent,
            project=project,
            summary=summary,
            deadline=deadline,
            estimated_duration=estimated_duration,
            created_by=created_by or self._actor,
            session=session,
            source=source,
        )
        made = await self._engine.merge(submit.enqueue_calls, [task])
        return cast("Task", made[0])

    async def enqueue_many(self, tasks: Iterable[Mapping[str, Any] | NewTask]) -> list[Task]:
        """Make many tasks in one transaction: all of them or none.

        Each is a mapping of `enqueue`'s parameters. With a `ref` of your choice a task can be named
        in the `depends_on` and `parent` of others of the same call. Raises as `enqueue` does, and
        DependencyCycleError.
        """
        checked = [self._checked(place, task) for place, task in enumerate(tasks)]
        return cast("list[Task]", await self._engine.merge(submit.enqueue_calls, checked)) if checked else []

    def _checked(self, place: int, task: Mapping[str, Any] | NewTask) -> NewTask:
        if isinstance(task, NewTask):
            return task
        if not isinstance(task, Mapping):
            raise InvalidInputError(
                f"Task {place} is a {type(task).__name__}.",
                "Expected a mapping of enqueue's parameters.",
                'Write {"prompt": ..., "agent_type": ...}.',
            )
        try:
            return new_task(**{"created_by": self._actor, **task})
        except TypeError as error:
            raise InvalidInputError(
                f"Task {place} of the call: {error}.",
                "Expected the parameters of enqueue, with a `prompt`.",
                "Correct the mapping's keys.",
            ) from None

    async def add_dependencies(
        self,
        task: str | Task | Claim,
        depends_on: Iterable[str | Task],
        *,
        on_failure: OnFailure = "block",
    ) -> None:
        """Let a task that exists wait for others; it becomes blocked unless they are all met.

        A running one needs its worker's claim: the claim ends, and the attempt is given back.
        Raises UnknownTaskError, DependencyCycleError, IllegalMoveError or LeaseLostError.
        """
        fence = task.fence if isinstance(task, Claim) else None
        wanted = [depends_on] if isinstance(depends_on, (str, Task)) else depends_on
        edges = make_edges(Prerequisite(checks.id_of(one), on_failure) for one in wanted)
        task_id = task.task.id if isinstance(task, Claim) else checks.id_of(task)
        await self._engine.write(dependencies.add, task_id, edges, fence, self._actor)

    # -- working -------------------------------------------------------------------------------

    async def claim(
        self,
        worker: str,
        *,
        agent_types: Iterable[str] | None = None,
        limit: int = 1,
        lease: float = 30.0,
        caps: Mapping[str, int] | None = None,
    ) -> list[Claim]:
        """Take up to `limit` ready tasks for `worker`, the best ranked first, each for `lease` seconds.

        `agent_types` of None means any. `caps` says of which agent types to take no more than so many.
        Without a heartbeat within the lease a task is given to another worker, and what this one
        writes later is refused.
        """
        types = None if agent_types is None else checks.types_of(agent_types)
        if types == ():
            return []
        most = checks.caps_of(caps, types) if caps is not None else ()
        try:
            request = checks.request(worker, types, limit, lease, most)
        except TypeError:  # it cannot be hashed, so it is no good
            request = checks.request.__wrapped__(worker, types, limit, lease, most)
        return cast("list[Claim]", await self._engine.merge(claim.claim_calls, request))

    async def heartbeat(
        self,
        held: Claim,
        *,
        lease: float | None = None,
        progress: float | None = None,
        message: str | None = None,
    ) -> None:
        """Renew a claim's lease, from now, and say how far the work is (0 to 1, and a line).

        Raises LeaseLostError when the task is no longer this worker's.
        """
        checks.claim(held)
        length = held.lease if lease is None else seconds("lease", lease, checks.LONGEST_LEASE)
        is_number = isinstance(progress, (int, float)) and not isinstance(progress, bool)
        if progress is not None and not (is_number and 0 <= progress <= 1):
            raise InvalidInputError(
                f"progress={progress!r} is no fraction.", "Expected 0 to 1.", "Divide by the total."
            )
        if message is not None:
            payload.plain(message, "message", longest=LONGEST_MESSAGE)
        await self._engine.merge(
            claim.heartbeat_calls, claim.Renewal(held.task.id, held.fence, length, progress, message)
        )

    async def complete(self, held: Claim, result: Any = None) -> None:
        """End a claim well. `result` is JSON, 256 KiB at most.

        Raises LeaseLostError, and then the result is not kept, or InvalidPayloadError.
        """
        checks.claim(held)
        await self._engine.merge(settle.complete_calls, settle.completion(held, result))

    async def fail(
        self,
        held: Claim,
        error: str | BaseException,
        *,
        retry_in: float | None = None,
        retry: bool = True,
        outcome: Literal["failed", "timed_out"] = "failed",
    ) -> str:
        """End an attempt that went wrong; returns the task's new status.

        While attempts are left it runs again after `retry_in` seconds, or after a backoff that
        doubles with each attempt, with jitter. `retry=False` fails it at once. Every attempt's error
        is kept: see `attempts`. Raises LeaseLostError.
        """
        checks.claim(held)
        if retry_in is not None:
            seconds("retry_in", retry_in, 365 * 86_400, zero=True)
        if outcome not in ("failed", "timed_out"):
            raise InvalidInputError(
                f"outcome={outcome!r} is unknown.", "Expected 'failed' or 'timed_out'.", "Leave it out."
            )
        wait = failures.backoff(held.task.attempt) if retry_in is None else retry_in
        message, detail = failures.described(error)
        failure = settle.Failure(
            held.task.id, held.fence, held.worker, outcome, message, detail, wait if retry else None
        )
        return cast("str", await self._engine.merge(settle.fail_calls, failure))

    async def release(self, held: Claim, *, retry_in: float = 0) -> None:
        """Give a task back without using up an attempt; it is ready again now, or in `retry_in` seconds.

        Raises LeaseLostError.
        """
        checks.claim(held)
        seconds("retry_in", retry_in, 365 * 86_400, zero=True)
        failure = settle.Failure(held.task.id, held.fence, held.worker, "released", None, None, retry_in)
        await self._engine.merge(settle.fail_calls, failure)

    # -- deciding ------------------------------------------------------------------------------

    async def cancel(self, task: str | Task, *, reason: str | None = None, tree: bool = False) -> Task:
        """Cancel a task; with `tree` also all tasks below it that have not ended.

        What depends on it follows the policy of the edge. Cancelling twice changes nothing. Raises
        UnknownTaskError, or IllegalMoveError for a task that is completed or failed.
        """
        if reason is not None:
            payload.plain(reason, "reason", longest=LONGEST_MESSAGE)
        return await self._engine.write(control.cancel, checks.id_of(task), reason, tree, self._actor)

    async def retry(self, task: str | Task) -> Task:
        """Let a failed or cancelled task run again with a new set of attempts.

        Raises UnknownTaskError, or IllegalMoveError for a task in another status.
        """
        return await self._engine.write(control.retry, checks.id_of(task), self._actor)

    async def reconcile(self) -> int:
        """Move on what older versions left behind; returns how many tasks that were.

        Runners do this when they start. It is needed once after an older database was adopted.
        """
        total = 0
        while moved := await self._engine.write(reconcile.reconcile):
            total += moved
        return total

    async def recount(self) -> None:
        """Count all tasks anew, after another program has written to the tables."""
        await self._engine.write(moves.recount)

    # -- looking -------------------------------------------------------------------------------

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

    async def counts(self, *, by_agent_type: bool = False) -> dict[Any, int]:
        """The number of tasks per status, or per (agent type, status); kept, so it takes constant time."""
        rows = await self._engine.read(reading.counts)
        total: dict[Any, int] = {}
        for agent_type, status, n in rows:
            key = (agent_type, status) if by_agent_type else status
            total[key] = total.get(key, 0) + n
        return total

    async def outlook(self, agent_types: Iterable[str]) -> tuple[bool, float | None]:
        """Whether a claim would find something now, and else after how many seconds it may; for runners."""
        return await self._engine.read(reading.outlook, checks.types_of(agent_types))

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
