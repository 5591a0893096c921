"""Which code is the user's own, which of it is stopped at its lines, and how a line of it is named."""

from __future__ import annotations

import gc
import inspect
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, Final

import abathur
from abathur.errors import InvalidInputError

LIBRARY: Final = str(Path(abathur.__file__).parent) + os.sep
OTHERS: Final = tuple(
    {str(Path(path).resolve()) + os.sep for path in sysconfig.get_paths().values()}
    | {path + os.sep for path in sysconfig.get_paths().values()}
)
"""Where Python and what is installed lie."""


class Places:
    """Tells the user's code from that of Python, of what is installed, and of this library.

    inside: functions that are stopped at their own lines and awaits, beside the handlers. All others are
    taken for a part of the outside world, which does not die with the process.
    """

    def __init__(self, inside: Iterable[Any] = ()) -> None:
        self._homes: tuple[str, ...] = ()
        self._known: dict[str, bool] = {}
        self._stopped: set[CodeType] = set()
        for one in inside:
            self._stopped |= codes_of(one)

    def add(self, handlers: Iterable[Any]) -> None:
        """These are handlers: their packages are the user's wherever they lie."""
        every = list(handlers)
        self._homes = tuple({home for one in every if (home := _home(one))})
        self._known.clear()
        for one in every:
            self._stopped |= codes_of(one)

    def is_stopped(self, code: CodeType) -> bool:
        """Whether the lines of this code are points."""
        return code in self._stopped

    def is_users(self, filename: str) -> bool:
        """Whether the code of a file is the user's."""
        found = self._known.get(filename)
        if found is None:
            found = self._known[filename] = self._look(filename)
        return found

    def _look(self, filename: str) -> bool:
        if filename.startswith(("<", LIBRARY)):
            return False
        return filename.startswith(self._homes) or not filename.startswith(OTHERS)

    def above(self, frame: FrameType | None) -> str:
        """The line of the handler that has led to `frame`."""
        while frame is not None:
            if frame.f_code in self._stopped:
                return place(frame)
            frame = frame.f_back
        return ""

    def awaiting(self, coroutine: Any) -> tuple[FrameType, Any] | None:
        """The innermost line of a handler in a coroutine that waits, with what is awaited there.

        None where there is none, and where the database is awaited: its statements are points by themselves.
        """
        found: tuple[FrameType, Any] | None = None
        is_ours = False
        while coroutine is not None:
            frame, awaited = _inside(coroutine)
            if frame is not None:
                filename = frame.f_code.co_filename
                if frame.f_code in self._stopped:
                    found, is_ours = (frame, awaited), False
                elif filename.startswith(LIBRARY):
                    is_ours = True
            coroutine = awaited
        return None if is_ours else found


def forget_unstarted(frame: FrameType) -> None:
    """Close the coroutines in a frame's variables that nobody will await, so that Python does not warn."""
    for value in list(frame.f_locals.values()):
        for one in value if isinstance(value, (list, tuple, set)) else (value,):
            close_unstarted(one)


def close_unstarted(coroutine: Any) -> None:
    """Close a coroutine that was never begun, with those that it was given, perhaps inside of something."""
    if not inspect.iscoroutine(coroutine) or inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED:
        return
    given = gc.get_referents(coroutine)
    coroutine.close()
    for one in given:
        close_unstarted(one)
        if not isinstance(one, (dict, type, CodeType, ModuleType, FunctionType)):
            for inner in gc.get_referents(one):
                close_unstarted(inner)


def frames_of(coroutine: Any) -> Iterator[FrameType]:
    """The frames of a coroutine that waits, and of all that it waits for."""
    while coroutine is not None:
        frame, coroutine = _inside(coroutine)
        if frame is not None:
            yield frame


def place(frame: FrameType) -> str:
    """A line as people find it: ``path:line in function``."""
    code: CodeType = frame.f_code
    path = Path(code.co_filename)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}:{frame.f_lineno} in {code.co_name}"


def codes_of(function: Any) -> set[CodeType]:
    """The code of a function, a method, a partial or an object that is called, and of what is defined in it.

    Raises InvalidInputError for what has none.
    """
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if code is None:  # an object that is called
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004
    if not isinstance(code, CodeType):
        raise InvalidInputError(
            f"{function!r} has no lines.", "Expected a function that is written in Python.", "Leave it out."
        )
    return {code, *_nested(code)}


def _nested(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _nested(constant)


def _inside(awaitable: Any) -> tuple[FrameType | None, Any]:
    """The frame of a coroutine or generator that is suspended, and what it waits for."""
    for prefix, waits in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
        if hasattr(awaitable, f"{prefix}_frame"):
            return getattr(awaitable, f"{prefix}_frame"), getattr(awaitable, waits)
    return None, None


def _home(handler: Any) -> str | None:
    """The directory of the package that a handler belongs to, or its file."""
    name = getattr(handler, "__module__", None)
    module = sys.modules.get(str(name).partition(".")[0])
    path = getattr(module, "__file__", None)
    if path is None:
        return None
    return str(Path(path).parent) + os.sep if Path(path).stem == "__init__" else path
