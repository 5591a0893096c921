"""The limits of a service: how much of what it takes, and what happens beyond."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import Final

from attrs import define, field, frozen

from abathur.errors import InvalidInputError
from abathur.payload import LARGEST

MOST_KEYS: Final = 10_000
"""Callers whose rate is remembered; names are cheap, and memory is not."""


@frozen(kw_only=True)
class Limits:
    """What a service takes at most. What is beyond gets an error that says so, never silence.

    concurrency: requests at work at a time. waiting: requests that wait for their turn; those beyond are
    RATE_LIMITED. rate: requests a second of one plugin, in bursts of as many; None for any number. body:
    bytes of a request. timeout: seconds for a request, after which it is answered with TIMEOUT; whether it
    was done is told by repeating it with its `request_id`. waits: calls of `tasks.wait` at a time.
    longest_wait: seconds of one of them. batch: events that are stored in one transaction.
    """

    concurrency: int = 64
    waiting: int = 2_000
    rate: float | None = None
    body: int = LARGEST
    timeout: float = 35.0
    waits: int = 200
    longest_wait: float = 60.0
    batch: int = 500

    def __attrs_post_init__(self) -> None:
        for name in ("concurrency", "waiting", "rate", "body", "timeout", "waits", "longest_wait", "batch"):
            value = getattr(self, name)
            if value is None and name == "rate":
                continue
            wants_integer = name not in ("rate", "timeout", "longest_wait")
            right = isinstance(value, int if wants_integer else (int, float)) and not isinstance(value, bool)
            if not right or not 0 < value < math.inf:
                raise InvalidInputError(
                    f"{name}={value!r} is no limit.",
                    f"Expected {'an integer from 1' if wants_integer else 'a number above 0'}.",
                    f"Leave {name} out for {getattr(type(self)(), name) if name != 'rate' else 'any rate'}.",
                )


@define
class Rates:
    """How many requests each caller may still make: a bucket each, which fills up again by itself."""

    rate: float
    _left: OrderedDict[str, tuple[float, float]] = field(factory=OrderedDict)

    def take(self, caller: str) -> bool:
        """Whether this caller may make one more request now."""
        now = time.monotonic()
        most = max(self.rate, 1.0)  # else nobody could ever ask, where it is less than one a second
        left, at = self._left.pop(caller, (most, now))
        left = min(left + (now - at) * self.rate, most)
        may = left >= 1
        self._left[caller] = (left - 1 if may else left, now)
        if len(self._left) > MOST_KEYS:
            self._left.popitem(last=False)  # the one that has asked least recently: its bucket is fullest
        return may
