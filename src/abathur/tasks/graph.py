"""What a task waits for, as values."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from abathur.models import OnFailure
from abathur.script import Script, Statement
from abathur.tasks import reading


@frozen(kw_only=True)
class PrerequisiteState:
    """One task that another one waits for, or has waited for."""

    task_id: str
    """The id of the prerequisite."""
    status: str
    """Its status now."""
    summary: str
    """Its line for lists."""
    on_failure: OnFailure
    """What becomes of the waiting task when the prerequisite fails or is cancelled."""
    met: bool
    """Whether nothing is waited for any longer: it is completed, or its end is ignored."""


def prerequisites(task_id: str) -> Script[list[PrerequisiteState]]:
    """What a task waits for, met or not, by id. Raises UnknownTaskError."""
    yield from reading.brief(task_id)
    rows = yield Statement("batches.prerequisites", ids=reading.ids_json([task_id]))
    return [state(row) for row in sorted(rows, key=lambda row: str(row["prerequisite_task_id"]))]


def state(edge: Any) -> PrerequisiteState:
    """A prerequisite from the row of an edge."""
    return PrerequisiteState(
        task_id=edge["prerequisite_task_id"],
        status=edge["status"],
        summary=edge["summary"],
        on_failure=edge["on_failure"],
        met=edge["resolved_at"] is not None,
    )
