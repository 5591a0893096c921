"""How much a fault test is to do: a quick number in the suite, a share of the time in `make torture`.

    @pytest.mark.row("R1")
    def test_r1(budget):
        for n in budget(quick=300, long=10_000):
            kill_somebody()

In the suite it yields `quick` times. In `make torture` (ABATHUR_TORTURE_SECONDS is the test's share)
it yields until the share is over or `long` is reached, whichever comes first, and at least once. What
was done is recorded as the property "budget" of the test, which `make torture` adds up over its runs.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator

from attrs import define

SECONDS = "ABATHUR_TORTURE_SECONDS"


@define
class Budget:
    """One test's; `done` is how many rounds it has begun."""

    seconds: float | None = None
    """The share of the time in `make torture`; None in the suite."""
    done: int = 0
    long: int = 0
    record: Callable[[str, object], None] = lambda name, value: None
    """pytest's `record_property`."""

    def __call__(self, quick: int, long: int, each: int = 1) -> Iterator[int]:
        """The numbers of the rounds, from 0 on. `each` is how many of the counted things a round does."""
        self.long = long
        began = time.monotonic()
        most = quick if self.seconds is None else long
        try:
            while self.done < most:
                if self.seconds is not None and self.done and time.monotonic() - began >= self.seconds:
                    return
                self.done += each
                yield self.done - each
        finally:
            self.record("budget", f"{self.done} {self.long}")

    def draw(self) -> random.Random:
        """For a test that draws at random: the same in each run of the suite, different in `make torture`."""
        seed = 1 if self.seconds is None else time.time_ns()
        self.record("seed", seed)
        return random.Random(seed)

    @classmethod
    def from_environment(cls, record: Callable[[str, object], None]) -> Budget:
        value = os.environ.get(SECONDS)
        return cls(None if value is None else float(value), record=record)
