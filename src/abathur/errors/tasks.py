"""Errors about what was asked of a task."""

from __future__ import annotations

from collections.abc import Sequence

from abathur.errors.base import AbathurError


class IllegalMoveError(AbathurError):
    """The table in `states.py` does not allow a task to go from `found` to `wanted`."""

    def __init__(
        self, task_id: str, found: str, wanted: str, allowed: Sequence[str], expected: str | None = None
    ) -> None:
        self.task_id = task_id
        self.found = found
        self.wanted = wanted
        super().__init__(
            f"Task {task_id} is {found} and cannot become {wanted}.",
            expected or f"From {found} a task can become: {', '.join(sorted(allowed)) or 'nothing'}.",
            "Look at the task with `db.tasks.get(id)` or `abathur show` before you change it.",
        )


class LeaseLostError(AbathurError):
    """The worker's claim is over: its fence is no longer the task's, so its write was refused."""

    def __init__(self, task_id: str, fence: int, found: str) -> None:
        self.task_id = task_id
        self.fence = fence
        super().__init__(
            f"The claim on task {task_id} with fence {fence} is lost: {found}.",
            "Expected the task to be running under this fence.",
            "Stop working on it and drop the result; claim again for new work. "
            "If the lease was too short for the work, ask for a longer one or send heartbeats.",
        )


class CommandError(AbathurError):
    """The program of a command agent failed, or could not be started: the attempt's error.

    `stderr` is the end of what the program has written there; it is kept with the attempt.
    """

    def __init__(self, problem: str, expected: str = "", remedy: str = "", stderr: str = "") -> None:
        self.stderr = stderr
        super().__init__(problem, expected, remedy)


class WaitTimeoutError(AbathurError, TimeoutError):
    """A task did not end within the time that `wait` was given."""

    def __init__(self, task_id: str, status: str, timeout: float) -> None:
        self.task_id = task_id
        self.status = status
        super().__init__(
            f"Task {task_id} is still {status} after {timeout:g} s.",
            "Expected it to be completed, failed or cancelled by then.",
            "Wait longer, or see whether a worker for its agent type is running.",
        )
