"""Streams: which events of a stream were stored, so that each is stored once.

The numbers of a stream are kept as ranges, such as ``1-90210,90214``: its events come nearly in
order, so there are few of them, however many events there were.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from attrs import define, field

from abathur.audit import ranges

MOST_GAPS: Final = 1_000
"""Gaps between the ranges of one stream that are remembered. What lies in an older one and comes after
all is taken for a repetition."""
MOST_STREAMS: Final = 16
"""Streams that are remembered: those from which events came last."""


@define
class Stored:
    """The numbers of a stream whose events were stored."""

    _first: list[int] = field(factory=list)
    _last: list[int] = field(factory=list)

    @classmethod
    def of(cls, text: str | None) -> Stored:
        """The numbers of a stored text."""
        spans = ranges.spans_of(text)
        return cls([first for first, _ in spans], [last for _, last in spans])

    @property
    def text(self) -> str:
        """The text to store."""
        return ranges.text_of(list(zip(self._first, self._last, strict=True)))

    def add(self, number: int) -> bool:
        """Note a number; False if it was there."""
        at = bisect_right(self._first, number)
        if at and number <= self._last[at - 1]:
            return False
        follows = at > 0 and self._last[at - 1] == number - 1
        precedes = at < len(self._first) and self._first[at] == number + 1
        if follows and precedes:
            self._last[at - 1] = self._last.pop(at)
            del self._first[at]
        elif follows:
            self._last[at - 1] = number
        elif precedes:
            self._first[at] = number
        else:
            self._first.insert(at, number)
            self._last.insert(at, number)
        if len(self._first) > MOST_GAPS + 1:  # close the oldest gap
            del self._first[1], self._last[0]
        return True

    def add_up_to(self, number: int) -> None:
        """Note all numbers up to this one, whether their events came or not."""
        at = bisect_right(self._first, number + 1)
        last = max([number, *self._last[:at]])
        self._first[:at], self._last[:at] = [1], [last]
