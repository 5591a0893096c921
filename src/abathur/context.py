"""What a handler gets: its task, and what it can say and ask for while it runs."""

from __future__ import annotations

from typing import Any

from abathur.database import Database
from abathur.keeper import Running
from abathur.models import Claim, Task


class DoNotRetry(Exception):  # noqa: N818  # it says what to do, as the field's names do
    """Raise it in a handler when another attempt would fail in the same way: the task fails at once."""


class Context:
    """The first and only argument of a handler. `db` is the Database, `claim` the handler's claim."""

    def __init__(self, db: Database, claim: Claim, running: Running, timeout: float | None = None) -> None:
        self.db = db
        self.claim = claim
        self.timeout = claim.task.timeout if timeout is None else timeout
        """Seconds that this attempt may take: the task's, or less if the agent says so."""
        self.last_words = ""
        """What is added to the error of a time-out: how far the handler had come, say."""
        self._running = running

    @property
    def task(self) -> Task:
        """The task as it was claimed: `.prompt`, `.input`, `.id` and the rest."""
        return self.claim.task

    @property
    def input(self) -> Any:
        """The task's input, a JSON value; ``{}`` when none was given."""
        return self.claim.task.input

    @property
    def attempt(self) -> int:
        """1 for the first attempt."""
        return self.claim.task.attempt

    @property
    def cancelled(self) -> bool:
        """Whether the task was cancelled or lost. A plain function, in a thread, has to look itself."""
        return self._running.why is not None

    async def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        """Say how far the work is. Renews the lease.

        fraction: 0 to 1. message: one line.

        Raises LeaseLostError when the task is no longer this worker's.
        """
        await self.db.tasks.heartbeat(self.claim, progress=fraction, message=message)
        self._running.renewed()

    async def enqueue(self, prompt: str, **parameters: Any) -> Task:
        """Make a task as a part of this one; takes the parameters of `db.tasks.enqueue`.

        prompt: what to do, in words. parameters: all others; `parent`, `project` and `created_by` are
        this task's unless given.

        A handler that is run again makes it again, so give it a `key`, such as one with `ctx.task.id`.
        Raises as `db.tasks.enqueue` does.
        """
        return await self.db.tasks.enqueue(prompt, **self._as_part(parameters))

    async def enqueue_many(self, tasks: list[dict[str, Any]]) -> list[Task]:
        """Make many tasks as parts of this one, all or none.

        tasks: mappings, as for `db.tasks.enqueue_many`. Raises as that does.
        """
        return await self.db.tasks.enqueue_many([self._as_part(task) for task in tasks])

    def _as_part(self, parameters: dict[str, Any]) -> dict[str, Any]:
        task = self.claim.task
        return {"parent": task.id, "project": task.project, "created_by": f"task:{task.id}", **parameters}

    def __repr__(self) -> str:
        return f"Context({self.claim!r})"
