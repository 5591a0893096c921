"""Stops the user's own code at each of its lines, and lets none of it run after that.

A trace function that raises is switched off by Python, so that the `finally` blocks on the way out would run,
which no killed process does. So a profile function waits behind it: it is called for the first call that
such a block makes, sets the trace function again, and raises; and so on, each of the two setting the other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

from abathur.testing.crashing.places import Places, forget_unstarted, place
from abathur.testing.crashing.trap import Killed, Trap

T = TypeVar("T")

COMPREHENSIONS: Final = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})
EXITS: Final = frozenset({"__exit__", "__aexit__"})


class Tracer:
    """Watches the lines of one run. lines: whether each is a point; else they are only kept from running."""

    def __init__(self, trap: Trap, places: Places, *, lines: bool) -> None:
        self._trap = trap
        self._places = places
        self._lines = lines

    def call(self, fn: Callable[..., T], *args: Any) -> T:
        """Call a function and watch what this thread executes meanwhile."""
        before = sys.gettrace(), sys.getprofile()
        try:
            if self._trap.dead:
                sys.setprofile(self._called)
            sys.settrace(self._entered)
            return fn(*args)
        finally:
            sys.settrace(before[0])
            if sys.getprofile() is not before[1]:
                sys.setprofile(before[1])

    def _entered(self, frame: FrameType, event: str, arg: Any) -> Any:
        """A function begins, or goes on after an await."""
        del event, arg
        if not self._is_users(frame.f_code):
            if self._trap.dead and frame.f_code.co_name in EXITS and self._is_of_users(frame.f_back):
                self._end(frame)
            return None
        if self._trap.dead:
            self._end(frame)
        return self._line

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        del arg
        if event == "line":
            if self._trap.dead:
                self._end(frame)
            code = frame.f_code
            if self._lines and self._places.is_stopped(code) and code.co_name not in COMPREHENSIONS:
                try:
                    self._trap.reach("before the line", place(frame))
                except Killed:
                    self._end(frame)
        return self._line

    def _called(self, frame: FrameType, event: str, arg: Any) -> None:
        """Something is called by code that runs although it should not."""
        if event not in ("call", "c_call") or arg in (sys.settrace, sys.setprofile):
            return
        if self._trap.dead and self._is_users(frame.f_code):
            sys.settrace(self._entered)
            self._end(frame)

    def _end(self, frame: FrameType) -> None:
        """Raise Killed, and see to it that it is raised again wherever somebody catches it."""
        sys.setprofile(self._called)
        outer: FrameType | None = frame
        while outer is not None and outer.f_code is not Tracer.call.__code__:
            if self._is_users(outer.f_code):
                outer.f_trace = self._line
                forget_unstarted(outer)
            outer = outer.f_back
        raise Killed

    def _is_of_users(self, frame: FrameType | None) -> bool:
        return frame is not None and self._is_users(frame.f_code)

    def _is_users(self, code: CodeType) -> bool:
        return self._places.is_users(code.co_filename)
