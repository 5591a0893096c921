"""The statuses of a task and the moves between them: this table, and nothing else, decides."""

from __future__ import annotations

from typing import Final

from abathur.errors import IllegalMoveError

PENDING: Final = "pending"  # older databases only; the reconciler moves these on
BLOCKED: Final = "blocked"
SCHEDULED: Final = "scheduled"
READY: Final = "ready"
RUNNING: Final = "running"
WAITING: Final = "waiting"  # reserved: nothing makes a task wait yet
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"

NEW: Final = "new"  # where a task comes from when it is made; never stored
GONE: Final = "gone"  # where a pruned task goes; never stored, and no move, so no row of the trail

STATUSES: Final = (PENDING, BLOCKED, SCHEDULED, READY, RUNNING, WAITING, COMPLETED, FAILED, CANCELLED)
TERMINAL: Final = frozenset({COMPLETED, FAILED, CANCELLED})

MOVES: Final[dict[str, frozenset[str]]] = {
    # has unmet prerequisites; `run_at` in the future; neither
    NEW: frozenset({BLOCKED, SCHEDULED, READY}),
    # last prerequisite met; met but `run_at` ahead; cancelled; a failed prerequisite's edge says so
    BLOCKED: frozenset({READY, SCHEDULED, CANCELLED, FAILED}),
    # its time came; a prerequisite was added; cancelled
    SCHEDULED: frozenset({READY, BLOCKED, CANCELLED}),
    # claimed; a prerequisite was added; its budget is gone or it is set aside
    READY: frozenset({RUNNING, BLOCKED, FAILED, CANCELLED}),
    # done; attempts used up; retry with backoff or snooze; released or lease expired;
    # a prerequisite was added by its own handler; waits for an event, an answer or its children
    RUNNING: frozenset({COMPLETED, FAILED, SCHEDULED, READY, BLOCKED, WAITING, CANCELLED}),
    # what it waited for came, or its wait timed out
    WAITING: frozenset({READY, FAILED, CANCELLED}),
    # only by an explicit `retry`
    FAILED: frozenset({READY, BLOCKED, SCHEDULED}),
    CANCELLED: frozenset({READY, BLOCKED, SCHEDULED}),
    COMPLETED: frozenset(),
    # by the reconciler, never by `initialize()`, which rewrites no stored value
    PENDING: frozenset({BLOCKED, READY}),
}

LEGAL: Final = frozenset((found, wanted) for found, those in MOVES.items() for wanted in those)
"""The same table as pairs."""


def check_move(task_id: str, found: str, wanted: str) -> None:
    """Raise IllegalMoveError unless the table allows the move from `found` to `wanted`."""
    allowed = MOVES.get(found, frozenset())
    if wanted not in allowed:
        raise IllegalMoveError(task_id, found, wanted, sorted(allowed))
