"""What a command is given: the task as JSON for its stdin, and variables for its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from abathur.commands.supervisor import PROGRESS_FD
from abathur.context import Context

OURS: Final = (
    "ABATHUR_TASK_ID",
    "ABATHUR_FENCE",
    "ABATHUR_ATTEMPT",
    "ABATHUR_AGENT_TYPE",
    "ABATHUR_WORKER",
    "ABATHUR_DATABASE",
    "ABATHUR_PROMPT",
    "ABATHUR_PROGRESS_FD",
)
"""Variables that every command gets."""
MOST_PROMPT: Final = 65_536
"""Bytes of a prompt that go into the environment; Linux allows 128 KiB in a variable."""


def environment(ctx: Context, added: Mapping[str, str]) -> dict[str, str]:
    """The variables of this process, those that are added, and ours."""
    task = ctx.task
    ours = {
        "ABATHUR_TASK_ID": task.id,
        "ABATHUR_FENCE": str(ctx.claim.fence),
        "ABATHUR_ATTEMPT": str(task.attempt),
        "ABATHUR_AGENT_TYPE": task.agent_type,
        "ABATHUR_WORKER": ctx.claim.worker,
        "ABATHUR_DATABASE": ctx.db.engine.address,
        "ABATHUR_PROGRESS_FD": str(PROGRESS_FD),
    }
    if len(task.prompt.encode()) <= MOST_PROMPT:
        ours["ABATHUR_PROMPT"] = task.prompt
    # An outer task's, when this runner is itself run by a command, are not this one's.
    inherited = {name: value for name, value in os.environ.items() if name not in OURS}
    return {**inherited, **added, **ours}


def task_json(ctx: Context) -> bytes:
    """The task as a command gets it: one JSON object in one line."""
    task = ctx.task
    shown = {
        "id": task.id,
        "prompt": task.prompt,
        "agent_type": task.agent_type,
        "input": task.input,
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "error": task.error,
        "fence": ctx.claim.fence,
        "worker": ctx.claim.worker,
        "timeout": ctx.timeout,
        "priority": task.priority,
        "summary": task.summary,
        "parent": task.parent,
        "project": task.project,
        "session": task.session,
        "source": task.source,
        "created_by": task.created_by,
        "submitted_at": _iso(task.submitted_at),
        "started_at": _iso(task.started_at),
        "deadline": _iso(task.deadline),
        "estimated_duration": task.estimated_duration,
    }
    return msgspec.json.encode(shown) + b"\n"


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
