"""The server's clock as the transactions of this process see it.

Several hosts work on one database. If each took its own clock, one that is ahead would take tasks away
from the others. So the moment of every transaction is the server's: it is measured against a clock of the
host that nobody can set, and measured again before the two can drift apart.
"""

from __future__ import annotations

import time
from typing import Final

import asyncpg

from abathur.engines.base import GivenClock
from abathur.engines.postgres_faults import DRIVER, translate

MEASURE_EVERY: Final = 30.0
"""Seconds. Two quartz clocks part by some 3 ms in that time."""
TRIES: Final = 3
QUERY: Final = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"


class ServerClock:
    """Microseconds since the epoch by the server's clock; later answers are never less."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._ahead = 0
        """Microseconds by which the server is ahead of `_steady`."""
        self._measured = float("-inf")
        self._shown = 0

    async def prepare(self, connection: asyncpg.Connection) -> None:
        """Measure, if the last time was long ago. It takes some round trips, of which the shortest counts.

        Raises Transient, or an AbathurError.
        """
        if _steady() - self._measured < MEASURE_EVERY * 1_000_000:
            return
        shortest = None
        for _ in range(TRIES):
            began = _steady()
            try:
                server = await connection.fetchval(QUERY)
            except DRIVER as error:
                raise translate(error, self._name, "a look at the clock") from error
            ended = _steady()
            if shortest is None or ended - began < shortest:
                shortest = ended - began
                self._ahead = server - (began + ended) // 2
        self._measured = _steady()

    def now(self) -> int:
        """The moment now."""
        self._shown = max(self._shown, _steady() + self._ahead)
        return self._shown

    def at_least(self, moment: int) -> None:
        """Start no earlier than `moment`, which the database has recorded."""
        self._shown = max(self._shown, moment)


class GivenServerClock(ServerClock):
    """A clock that was given in the server's place: nothing is measured."""

    def __init__(self, name: str, given: GivenClock) -> None:
        super().__init__(name)
        self._given = given

    async def prepare(self, connection: asyncpg.Connection) -> None:
        pass

    def now(self) -> int:
        return self._given.now()

    def at_least(self, moment: int) -> None:
        self._given.at_least(moment)


def _steady() -> int:
    """Microseconds of a clock that goes on while the host sleeps, and that nobody sets."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock) // 1000
