"""The order of claiming: one stored integer per task, lower is sooner.

The submission time in ms, minus a day per priority step, minus an hour per task that depends on it
(24 at most). Waiting ages a task by itself, because everybody's clock runs on; nothing has to be
computed at the claim. A deadline cannot be a constant in it, so a sweep in the claim's own
transaction lifts each task once, when its deadline comes near.
"""

from __future__ import annotations

from typing import Final

from abathur.times import SECOND

DAY: Final = 86_400_000  # milliseconds, as ranks are
HOUR: Final = 3_600_000
MOST_DEPENDENTS: Final = 24
LIFT: Final = 11 * DAY
"""More than the ten days of the highest priority: a task in danger goes first."""
NEAR: Final = 3_600 * SECOND
"""How long before a deadline, less the estimated duration, a task is in danger."""


def rank(submitted: int, priority: int, dependents: int) -> int:
    """The rank of a task that was submitted at `submitted` (microseconds)."""
    return submitted // 1000 - DAY * priority - weight(dependents)


def weight(dependents: int) -> int:
    """How far a task is moved forward by those that wait for it."""
    return HOUR * min(dependents, MOST_DEPENDENTS)


def lift_at(deadline: int | None, estimated_duration: float | None) -> int | None:
    """When the sweep lifts a task with this deadline (microseconds), or None."""
    if deadline is None:
        return None
    return deadline - NEAR - int((estimated_duration or 0) * SECOND)
