"""The host's clock as a transaction sees it: microseconds since the epoch, never going backwards."""

from __future__ import annotations

import threading
import time
from typing import Final

FARTHEST: Final = 366 * 86_400 * 1_000_000
"""Microseconds that a recorded moment may be ahead of the host's clock."""


class Clock:
    """A wall clock that a step back of the host's time cannot turn back.

    While the wall clock is behind what was already shown, time goes on at the rate of the
    monotonic clock, so leases still expire and scheduled tasks still come due.
    """

    def __init__(self) -> None:
        self._shown = 0
        self._monotonic = time.monotonic_ns()
        self._lock = threading.Lock()  # readers and the writer ask from their own threads

    def now(self) -> int:
        """The time in microseconds since the epoch (UTC); later calls never return less."""
        with self._lock:
            passed = (time.monotonic_ns() - self._monotonic) // 1000
            self._monotonic += passed * 1000
            self._shown = max(time.time_ns() // 1000, self._shown + passed)
            return self._shown

    def at_least(self, moment: int) -> None:
        """Start no earlier than `moment`: what the database has already recorded.

        A moment that is far in the future is a damaged one, and is left out.
        """
        with self._lock:
            if moment < time.time_ns() // 1000 + FARTHEST:
                self._shown = max(self._shown, moment)
