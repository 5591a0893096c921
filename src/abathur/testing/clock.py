"""A clock that tests set: what the database takes for now, in place of the host's clock or the server's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from abathur import times
from abathur.errors import InvalidInputError

FARTHEST = datetime(9000, 1, 1, tzinfo=UTC)


class FakeClock:
    """The time of a Database that is made with it: ``Database(..., clock=FakeClock())``.

    start: what it shows at first, with a time zone; else the host's time now. frozen: whether it stands
    still until `advance` or `move_to`; else it also goes on by itself, at the usual rate.

    Whatever the library decides by time goes by it: scheduled tasks, backoffs, leases, deadlines, ages.
    What waits for one of them in this process is woken when it is set. Several Databases may share one.
    It does not change `datetime.now()`, nor how long `asyncio.sleep` or the time-out of an attempt takes.
    """

    def __init__(self, start: datetime | None = None, *, frozen: bool = True) -> None:
        self._lock = threading.Lock()  # the database asks from threads of its own
        self._shown = time.time_ns() // 1000 if start is None else _micros(start)
        self._since = None if frozen else time.monotonic_ns()
        self._heard: list[Callable[[], None]] = []

    def now(self) -> int:
        """The time as scripts get it: microseconds since the epoch (UTC)."""
        with self._lock:
            return self._read()

    @property
    def time(self) -> datetime:
        """The time as a datetime in UTC."""
        return times.EPOCH + timedelta(microseconds=self.now())

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return self._since is None

    def advance(
        self, seconds: float | timedelta = 0, *, minutes: float = 0, hours: float = 0, days: float = 0
    ) -> None:
        """Move on by so much time, and wake whoever waits for it.

        Raises InvalidInputError for what is no time, or negative: time that a database has seen never
        goes back.
        """
        try:
            whole = seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)
            whole += timedelta(minutes=minutes, hours=hours, days=days)
        except (TypeError, ValueError, OverflowError):
            whole = timedelta(-1)
        if whole < timedelta(0):
            raise InvalidInputError(
                f"advance({seconds!r}) is no time to move on by.",
                "Expected seconds or a timedelta, not negative: a database's time never goes back.",
                "Make a new FakeClock that starts earlier.",
            )
        self._set(lambda now: now + whole // timedelta(microseconds=1))

    def move_to(self, moment: datetime) -> None:
        """Move on to a moment, which has a time zone. Raises InvalidInputError for one that is over."""
        wanted = _micros(moment)
        if wanted < self.now():
            raise InvalidInputError(
                f"move_to({moment.isoformat()}) is before {self.time.isoformat()}, which the clock shows.",
                "Expected a later moment: a database's time never goes back.",
                "Make a new FakeClock that starts earlier.",
            )
        self._set(lambda now: max(now, wanted))

    def freeze(self) -> None:
        """Stand still from now on."""
        with self._lock:
            self._shown = self._read()
            self._since = None

    def unfreeze(self) -> None:
        """Go on by itself from now on, at the usual rate."""
        with self._lock:
            self._shown = self._read()
            self._since = time.monotonic_ns()

    # -- for the engines -----------------------------------------------------------------------

    def at_least(self, moment: int) -> None:
        """Show no less than `moment` (microseconds), which a database has recorded."""
        with self._lock:
            self._shown = max(self._shown, moment)

    def subscribe(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Call `heard` whenever the clock is set. The answer ends that."""
        self._heard.append(heard)
        return lambda: self._heard.remove(heard)

    def _read(self) -> int:
        if self._since is not None:
            passed = (time.monotonic_ns() - self._since) // 1000
            self._since += passed * 1000
            self._shown += passed
        return self._shown

    def _set(self, moved: Callable[[int], int]) -> None:
        with self._lock:
            wanted = moved(self._read())
            if wanted > times.micros(FARTHEST, "the end"):
                raise InvalidInputError(
                    "The clock would show a year after 9000.", "Expected an earlier one.", "Advance it less."
                )
            self._shown = wanted
        for heard in list(self._heard):
            heard()

    def __repr__(self) -> str:
        return f"FakeClock({self.time.isoformat()}{'' if self.frozen else ', goes on'})"


def _micros(moment: datetime) -> int:
    return times.micros(moment, "the moment")
