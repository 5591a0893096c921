"""A clock that only the test moves, in the place of an engine's."""

from __future__ import annotations

from typing import Any

SECOND = 1_000_000
START = 1_800_000_000 * SECOND


class FakeClock:
    """Stands in for `engines.clock.Clock` and for `engines.postgres_clock.ServerClock`."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> int:
        return self.time

    def at_least(self, _: int) -> None:
        """Nothing has been recorded that this clock has not shown."""

    async def prepare(self, _: Any) -> None:
        """There is no server's clock to be measured."""
