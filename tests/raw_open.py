"""R15: nobody opens a live database file but SQLite: closing it would drop SQLite's locks on it.

POSIX locks belong to the process: `open(path).close()` anywhere in a process gives away the locks that
its SQLite connections hold on that file. An audit hook sees every open in this process. It looks closer
at those of files that SQLite has open, and reports the ones that our code is responsible for.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import abathur

SOURCE = str(Path(abathur.__file__).parent) + os.sep
SIDECARS = ("", "-wal", "-shm", "-journal")

caught: list[str] = []
"""What was opened, and from where, since somebody has emptied this list."""
_opened: set[str] = set()
"""The files that SQLite was told to open in this process, with those beside them."""


class RawOpenError(AssertionError):
    """The library has opened a database file by other means than SQLite."""


def watch() -> None:
    """Install the hook; it cannot be removed, and costs 0.3 us per event."""
    sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event == "open":
        _look(args)
    elif event == "sqlite3.connect":
        target = os.fsdecode(args[0]) if isinstance(args[0], (str, bytes, os.PathLike)) else ""
        if target.startswith("file:"):
            target = unquote(target.removeprefix("file:").partition("?")[0])
        if target and target != ":memory:":
            _opened.update(os.path.realpath(target) + more for more in SIDECARS)


def _look(args: tuple[Any, ...]) -> None:
    path, _, flags = args
    if not _opened or not isinstance(path, (str, bytes)):
        return
    name = os.fsdecode(path)
    if name not in _opened and (os.path.isabs(name) or os.path.realpath(name) not in _opened):
        return
    if isinstance(flags, int) and flags & os.O_EXCL:
        return  # it makes a file, so nobody had it open
    where = _ours()
    if where and _is_live(name):
        caught.append(f"{name} was opened by {where}")
        raise RawOpenError(caught[-1])


def _ours() -> str | None:
    """The place in the library that is responsible for this call, if one is."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(SOURCE):
            return f"{name}:{frame.f_lineno}"
        if name.startswith(os.path.dirname(__file__)) and name != __file__:
            return None  # a test opens it itself, perhaps from inside a script of its own
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _is_live(name: str) -> bool:
    """Whether this process has the file open."""
    path = os.path.realpath(name)
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return True  # where the system does not tell, once opened counts as open
    for number in numbers:
        with contextlib.suppress(OSError):  # it was closed meanwhile
            if os.readlink(f"/proc/self/fd/{number}").removesuffix(" (deleted)") == path:
                return True
    return False
