"""What keeps tests off real databases, and what makes tests of agents short.

Names are resolved when they are first used; none of them needs pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from abathur._lazily import names_of

if TYPE_CHECKING:
    from abathur.testing.assertions import (
        assert_cancelled,
        assert_completed,
        assert_enqueued,
        assert_failed,
        assert_status,
        refute_enqueued,
    )
    from abathur.testing.clock import FakeClock
    from abathur.testing.crashing.points import Crash, CrashPoints, crash_points
    from abathur.testing.crashing.trap import CrashPoint
    from abathur.testing.draining import Drained, LeftTask, drain
    from abathur.testing.factories import TaskFactory, claim_task, make_graph, make_task, make_tasks

_HOMES = {
    "Crash": "crashing.points",
    "CrashPoint": "crashing.trap",
    "CrashPoints": "crashing.points",
    "Drained": "draining",
    "FakeClock": "clock",
    "LeftTask": "draining",
    "TaskFactory": "factories",
    "assert_cancelled": "assertions",
    "assert_completed": "assertions",
    "assert_enqueued": "assertions",
    "assert_failed": "assertions",
    "assert_status": "assertions",
    "claim_task": "factories",
    "crash_points": "crashing.points",
    "drain": "draining",
    "make_graph": "factories",
    "make_task": "factories",
    "make_tasks": "factories",
    "refute_enqueued": "assertions",
}

__all__ = [  # noqa: RUF022  # what most people need comes first
    "FakeClock",
    "drain",
    "Drained",
    "LeftTask",
    "assert_enqueued",
    "refute_enqueued",
    "assert_completed",
    "assert_failed",
    "assert_cancelled",
    "assert_status",
    "crash_points",
    "CrashPoints",
    "Crash",
    "CrashPoint",
    "TaskFactory",
    "make_task",
    "make_tasks",
    "make_graph",
    "claim_task",
]


__getattr__ = names_of(__name__, {name: f"{__name__}.{home}" for name, home in _HOMES.items()})


def __dir__() -> list[str]:
    return sorted(__all__)
