"""Words for the values of `why`: moments, lengths of time, tasks by name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from abathur import times
from abathur.tasks.views import TaskState

_LONGEST_NAME: Final = 50
_UNITS: Final = ((86_400, "days"), (3_600, "hours"), (60, "min"))


def length(micros: int) -> str:
    """A length of time: ``12 s``, ``5 min``, ``3 hours``, ``2 days``."""
    seconds = micros / times.SECOND
    for unit, name in _UNITS:
        if seconds >= 2 * unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds:.0f} s" if seconds >= 1 or not seconds else "less than 1 s"


def ago(micros: int) -> str:
    """How long ago something was."""
    return f"{length(micros)} ago"


def clock(moment: int | datetime) -> str:
    """A moment in UTC."""
    found = times.moment(moment) if isinstance(moment, int) else moment
    return f"{found:%Y-%m-%d %H:%M:%S} UTC"


def named(task: TaskState) -> str:
    """A task by its id and its summary."""
    summary = " ".join(task.summary.split())
    if len(summary) > _LONGEST_NAME:
        summary = summary[: _LONGEST_NAME - 1].rstrip() + "…"
    return f'{task.id} "{summary}"' if summary else task.id


def after_colon(said: str | None) -> str:
    """What somebody said, to follow a sentence whose full stop comes after it."""
    return f": {said.strip().rstrip('.')}" if said and said.strip() else ""


def listed(parts: Sequence[str]) -> str:
    """``a, b and c``; of many only the first."""
    shown = parts if len(parts) <= 10 else [*parts[:9], f"{len(parts) - 9:,} others"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
