"""The values that the library hands out and takes: frozen, with plain field names."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from attrs import frozen
from msgspec import Struct

from abathur.states import TERMINAL

Level = Literal["ok", "note", "warning", "problem"]
"""How bad a finding is. ``note``: good to know; ``warning``: see to it; ``problem``: it does not work so."""

OnFailure = Literal["block", "fail", "cancel", "ignore"]
"""What a failed or cancelled prerequisite does to its dependent. ``block``: it stays blocked."""


class Task(Struct, frozen=True, weakref=True):  # made in a tenth of the time that attrs takes
    """A task as it was when it was read."""

    id: str
    """A UUIDv7 as text; older tasks have other ids."""
    prompt: str
    """What to do, in words."""
    agent_type: str
    """Which handlers may claim it."""
    priority: int
    """0 to 10, 10 is the most urgent; a step is worth a day of waiting."""
    status: str
    """One of `abathur.states.STATUSES`."""
    summary: str
    """One line for lists."""
    input: Any
    """The JSON value given to `enqueue`; ``{}`` when none was given."""
    result: Any
    """The JSON value given to `complete`, or None."""
    error: str | None
    """The last attempt's error, in a line or two. `db.tasks.attempts(id)` has all of them."""
    attempt: int
    """How many attempts were started; given back by `release`."""
    max_attempts: int
    """How many attempts it has before it fails."""
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
    """Not claimed before this moment."""
    lease_expires_at: datetime | None
    """When another worker may have it, unless it is renewed; None when nobody holds it."""
    deadline: datetime | None
    """Near it, the task goes first. Nothing happens when it passes."""
    submitted_at: datetime | None
    """When it was enqueued."""
    started_at: datetime | None
    """When the last attempt began."""
    completed_at: datetime | None
    """When it became completed, failed or cancelled."""
    updated_at: datetime | None
    """When its row last changed."""
    created_by: str | None
    """Who enqueued it; ``task:<id>`` when a handler did."""
    parent: str | None
    """The id of the task that this one is a part of."""
    project: str | None
    """A label of the caller's, to list by."""
    session: str | None
    """A label of the caller's."""
    source: str
    """A label of the caller's for where it came from, ``human`` if none was given."""
    estimated_duration: float | None
    """Seconds."""

    @property
    def ended(self) -> bool:
        """Whether it is completed, failed or cancelled."""
        return self.status in TERMINAL

    def __repr__(self) -> str:
        # Prompts and payloads may hold secrets, so a repr, which ends up in logs, leaves them out.
        return f"Task({self.id} {self.status} {self.agent_type} attempt={self.attempt}/{self.max_attempts})"


class Claim(Struct, frozen=True, weakref=True):  # the same
    """The right to work on a task until its lease ends; every write of a worker carries its fence."""

    task: Task
    """The task as it was claimed."""
    fence: int
    """The task's fence at this claim."""
    worker: str
    """Who claimed it."""
    lease: float
    """Seconds after which, without a heartbeat, the task is given to another worker."""

    def __repr__(self) -> str:
        return f"Claim({self.task.id} fence={self.fence} worker={self.worker!r})"


@frozen
class Prerequisite:
    """One entry of `depends_on`, where it is more than an id.

    task: the id of a task, or the `ref` of another task of the same `enqueue_many`. on_failure: what its
    failure or cancellation does to the task that waits for it: ``block`` (it stays blocked, until a
    retry of the prerequisite frees it), ``fail``, ``cancel``, or ``ignore`` (it runs anyway).
    """

    task: str
    on_failure: OnFailure = "block"


@frozen(kw_only=True)
class Attempt:
    """An attempt that did not complete its task."""

    task_id: str
    """The task that it was an attempt at."""
    fence: int
    """The fence of its claim."""
    attempt: int
    """1 for the first."""
    worker: str | None
    """Who worked on it."""
    started_at: datetime | None
    """When it was claimed."""
    ended_at: datetime
    """When it was failed, or its lease was found expired."""
    outcome: str
    """``failed``, ``timed_out`` or ``expired``."""
    error: Any
    """``{"type", "message", "traceback"?, "stderr"?}``, or None."""


@frozen(kw_only=True)
class Progress:
    """What a handler last said about how far it is."""

    task_id: str
    """The task that is meant."""
    fraction: float | None
    """0 to 1."""
    message: str | None
    """One line, in the handler's words."""
    at: datetime
    """When it was said."""


@frozen(kw_only=True)
class AuditEntry:
    """One row of the audit trail."""

    id: int
    """Rises with each entry."""
    at: datetime | None
    """When it was done."""
    actor: str | None
    """Who did it: a worker, a caller's `actor`, or an older agent id."""
    action: str
    """``task.<new status>`` for a change of status."""
    task_id: str | None
    """The task that it was done to, if any."""
    data: Any
    """For a change of status ``{"from", "attempt", "fence", ...}``."""
    result: str | None
    """What older versions wrote beside it; None in entries of this one."""


@frozen(kw_only=True)
class AuditReport:
    """What `db.audit.verify()` found."""

    ok: bool
    """Whether the trail is whole."""
    rows: int
    """Rows that a seal covers."""
    seals: int
    """Seals that were checked; there is one for each transaction that changed a status."""
    writers: int
    """Connections that wrote, each with a chain of its own."""
    checkpoints: int
    """Checkpoints that were compared with the seals before them."""
    pruned: int
    """Rows that were pruned, for which tombstones vouch."""
    cut_after: int
    """The id of the last row of the part that was cut off after it was pruned, 0 if nothing was."""
    adopted: int
    """Older rows from before the trail began; nothing vouches for them."""
    starts_after: int
    """The id of the last adopted row, 0 if there is none."""
    first_bad: int | None
    """The id of the first row that was altered, removed or inserted."""
    problem: str | None
    """What is wrong with it, in words."""


@frozen(kw_only=True)
class Finding:
    """One thing that `db.doctor()` has looked at."""

    code: str
    """The check's name, such as ``file-mode``; it stays the same from version to version."""
    level: Level
    what: str
    """What was looked at."""
    found: str
    """What is there."""
    remedy: str = ""
    """What to do about it; empty when nothing has to be done."""
