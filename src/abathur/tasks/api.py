"""`db.tasks`: everything that can be done with tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, cast

from abathur import payload
from abathur.engines.base import Engine
from abathur.errors import InvalidInputError
from abathur.models import Claim, OnFailure, Prerequisite, Task
from abathur.tasks import (
    checks,
    claim,
    control,
    dependencies,
    failures,
    settle,
    submit,
)
from abathur.tasks.failures import LONGEST_MESSAGE
from abathur.tasks.looking import Looking
from abathur.tasks.new import NewTask, make_edges, new_task, seconds
from abathur.tasks.upkeep import Upkeep
from abathur.tasks.watch import Watch


class Tasks(Looking, Upkeep):
    """The tasks of a Database. Every method that changes something is one transaction."""

    def __init__(self, engine: Engine, watch: Watch, actor: str) -> None:
        super().__init__(engine, watch)
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
        existing task. run_at: not before this moment. max_attempts: 1 to 1,000. timeout: seconds that
        an attempt may take. parent: the task that this one is a part of. project: the id of the
        project that it belongs to, or a label of your own, to list and to claim by.
        summary: a line for lists, else the prompt's first. deadline: near it, the task goes first.
        estimated_duration: seconds. created_by: who asks for it, else the Database's `actor`. session:
        a label. source: a label.

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
        projects: Iterable[str] | None = None,
    ) -> list[Claim]:
        """Take up to `limit` ready tasks for `worker`, the best ranked first, each for `lease` seconds.

        `agent_types` of None means any. `caps` says of which agent types to take no more than so many.
        `projects` says that only tasks that belong to one of these are taken; None means any task.
        Without a heartbeat within the lease a task is given to another worker, and what this one
        writes later is refused.
        """
        types = None if agent_types is None else checks.types_of(agent_types)
        whose = None if projects is None else checks.projects_of(projects)
        if () in (types, whose):
            return []
        most = checks.caps_of(caps, types) if caps is not None else ()
        try:
            request = checks.request(worker, types, limit, lease, most, whose)
        except TypeError:  # it cannot be hashed, so it is no good
            request = checks.request.__wrapped__(worker, types, limit, lease, most, whose)
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
