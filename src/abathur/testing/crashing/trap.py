"""The trap: counts the points that a run passes, and ends the run at one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from attrs import define, field, frozen


class Killed(BaseException):
    """The run is dead. No handler catches it by accident, and none is resumed after it."""


@frozen
class CrashPoint:
    """A place at which a process may be killed."""

    what: str
    """What was about to be done, or had just been done."""
    where: str = ""
    """The line of the handler, as ``path:line in function``; empty where none of its lines was at work."""

    def __str__(self) -> str:
        return f"{self.what}, at {self.where}" if self.where else self.what


@define(eq=False)
class Trap:
    """One run of a scenario. `stop_at` is the number of the point that ends it, from 1; 0 for none."""

    stop_at: int
    limit: int
    points: list[CrashPoint] = field(factory=list)
    dead: bool = False
    is_full: bool = False
    """It ended because there were more points than `limit`."""
    on_death: Callable[[], object] = lambda: None
    _lock: threading.Lock = field(factory=threading.Lock)

    def reach(self, what: str, where: str = "") -> None:
        """Pass a point. Called from the event loop and from threads. Raises Killed if the run ends here."""
        with self._lock:
            if self.dead:
                raise Killed
            if len(self.points) >= self.limit:
                self.dead = self.is_full = True
            else:
                self.points.append(CrashPoint(what, where))
                self.dead = len(self.points) == self.stop_at
        if self.dead:
            self.on_death()
            raise Killed

    def alive(self) -> None:
        """Raise Killed after the end."""
        if self.dead:
            raise Killed
