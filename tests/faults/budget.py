"""How much a fault test is to do: a quick number in the suite, a share of the time in `make torture`.

    def test_r1(budget):
        for n in budget(quick=300, long=10_000):
            kill_somebody()

In the suite it yields `quick` times. In `make torture` (ABATHUR_TORTURE_SECONDS is the test's share)
it yields until the share is over or `long` is reached, whichever comes first, and at least once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from attrs import define

SECONDS = "ABATHUR_TORTURE_SECONDS"


@define
class Budget:
    """One test's; `done` is how many rounds it has begun."""

    seconds: float | None = None
    """The share of the time in `make torture`; None in the suite."""
    done: int = 0
    long: int = 0

    def __call__(self, quick: int, long: int) -> Iterator[int]:
        """The numbers of the rounds, from 0 on."""
        self.long = long
        began = time.monotonic()
        most = quick if self.seconds is None else long
        while self.done < most:
            if self.seconds is not None and self.done and time.monotonic() - began >= self.seconds:
                return
            self.done += 1
            yield self.done - 1

    @classmethod
    def from_environment(cls) -> Budget:
        value = os.environ.get(SECONDS)
        return cls(None if value is None else float(value))
