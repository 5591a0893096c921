"""The values that the library hands out and takes: frozen, with plain field names."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from attrs import define, frozen, setters

from abathur.states import TERMINAL

OnFailure = Literal["block", "fail", "cancel", "ignore"]
"""What a failed or cancelled prerequisite does to its dependent. ``block``: it stays blocked."""


@define(on_setattr=setters.frozen)  # as immutable as `frozen`, and made in half the time
class Task:
    """A task as it was when it was read."""

    id: str
    prompt: str
    agent_type: str
    priority: int
    """0 to 10; a step is worth a day of waiting."""
    status: str
    """One of `abathur.states.STATUSES`."""
    summary: str
    input: Any
    """The JSON value given to `enqueue`; ``{}`` when none was given."""
    result: Any
    """The JSON value given to `complete`, or None."""
    error: str | None
    """The last attempt's error, in a line or two. `db.tasks.attempts(id)` has all of them."""
    attempt: int
    """How many attempts were started; given back by `release`."""
    max_attempts: int
    fence: int
    """Rises at every claim and never falls."""
    worker: str | None
    """Who holds the lease, or held the last one."""
    timeout: float
    """Seconds that one attempt may take."""
    rank: int
    """The order of claiming: lower is sooner."""
    unmet: int
    """Prerequisites that are not met."""
    run_at: datetime | None
    lease_expires_at: datetime | None
    deadline: datetime | None
    submitted_at: datetime | None
    started_at: datetime | None
    """When the last attempt began."""
    completed_at: datetime | None
    """When it became completed, failed or cancelled."""
    updated_at: datetime | None
    created_by: str | None
    parent: str | None
    """The id of the task that this one is a part of."""
    project: str | None
    session: str | None
    source: str
    estimated_duration: float | None
    """Seconds."""

    @property
    def ended(self) -> bool:
        """Whether it is completed, failed or cancelled."""
        return self.status in TERMINAL

    def __repr__(self) -> str:
        # Prompts and payloads may hold secrets, so a repr, which ends up in logs, leaves them out.
        return f"Task({self.id} {self.status} {self.agent_type} attempt={self.attempt}/{self.max_attempts})"


@define(repr=False, on_setattr=setters.frozen)  # the same
class Claim:
    """The right to work on a task until its lease ends; every write of a worker carries its fence."""

    task: Task
    fence: int
    worker: str
    lease: float
    """Seconds after which, without a heartbeat, the task is given to another worker."""

    def __repr__(self) -> str:
        return f"Claim({self.task.id} fence={self.fence} worker={self.worker!r})"


@frozen
class Prerequisite:
    """One entry of `depends_on`, where it is more than an id."""

    task: str
    """The id of a task, or the `ref` of another task of the same `enqueue_many`."""
    on_failure: OnFailure = "block"


@frozen(kw_only=True)
class Attempt:
    """An attempt that did not complete its task."""

    task_id: str
    fence: int
    attempt: int
    worker: str | None
    started_at: datetime | None
    ended_at: datetime
    outcome: str
    """``failed``, ``timed_out`` or ``expired``."""
    error: Any
    """``{"type", "message", "traceback"?, "stderr"?}``, or None."""


@frozen(kw_only=True)
class Progress:
    """What a handler last said about how far it is."""

    task_id: str
    fraction: float | None
    """0 to 1."""
    message: str | None
    at: datetime


@frozen(kw_only=True)
class AuditEntry:
    """One row of the audit trail."""

    id: int
    at: datetime | None
    actor: str | None
    action: str
    """``task.<new status>`` for a change of status."""
    task_id: str | None
    data: Any
    """For a change of status ``{"from", "attempt", "fence", ...}``."""
    result: str | None


@frozen(kw_only=True)
class AuditReport:
    """What `db.audit.verify()` found."""

    ok: bool
    rows: int
    """Rows that a seal covers."""
    seals: int
    writers: int
    adopted: int
    """Older rows from before the trail began; nothing vouches for them."""
    starts_after: int
    """The id of the last adopted row, 0 if there is none."""
    first_bad: int | None
    """The id of the first row that was altered, removed or inserted."""
    problem: str | None
    """What is wrong with it, in words."""
