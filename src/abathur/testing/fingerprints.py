"""Fingerprints of protected databases at the start and the end of a session: has anything slipped by?

The files are read in a process of its own, never here, where closing one would drop SQLite's locks on it.
That process runs this file by its path. It imports next to nothing, for a session waits for it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

WHOLE = 64 * 1024**2
"""Bytes up to which a file is read as a whole; of a longer one the ends, its size and its time."""
PIECE = 1024**2
LOGS = ("-wal", "-journal")


class Change:
    """A protected file that is not as it was."""

    def __init__(self, path: str, what: str, holders: list[str]) -> None:
        self.path = path
        self.what = what
        """What became of it, in words."""
        self.holders = holders
        """Programs beside the tests that have it open, and may have written to it."""


class Fingerprints:
    """What some files are like, at the moment at which this is made. Raises OSError if no process starts."""

    def __init__(self, files: list[str]) -> None:
        self._files = files
        self._before = _look(files, 0)

    def changes(self) -> list[Change]:
        """The files that are different now."""
        now = _look(self._files, os.getpid())
        found = []
        for path in self._files:
            before, after = self._before[path], now[path]
            if before["of"] != after["of"]:
                what = "its contents have changed" if after["of"] else "it is gone"
                found.append(Change(path, what, after["holders"]))
        return found


def _look(files: list[str], tests: int) -> dict[str, Any]:
    """What the files are like, and who has them open besides the process `tests`; 0 asks nobody."""
    import ast
    import subprocess

    asked = b"\0".join([str(tests).encode(), *map(os.fsencode, files)])
    command = [sys.executable, "-I", "-S", __file__]
    done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, check=True)  # noqa: S603
    found: dict[str, Any] = ast.literal_eval(done.stdout.decode("ascii"))
    return found


# -- in the other process ----------------------------------------------------------------------


def _fingerprint(path: str) -> list[Any]:
    """A file and its log; empty where there is none."""
    main = _digest(path)
    return [] if main is None else [main, *(_digest(path + ending) or "" for ending in LOGS)]


def _digest(path: str) -> str | None:
    """None if there is no file; empty for an empty one, as a log is that nobody writes to."""
    try:
        from _blake2 import blake2b  # the module hashlib loads OpenSSL
    except ImportError:
        from hashlib import blake2b
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            if found.st_size <= WHOLE:
                return str(blake2b(file.read()).hexdigest()) if found.st_size else ""
            ends = file.read(PIECE)
            file.seek(-PIECE, os.SEEK_END)
            ends += file.read()
            return f"{found.st_size} {found.st_mtime_ns} {blake2b(ends).hexdigest()}"
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _holders(paths: Iterable[str], tests: int) -> dict[str, list[str]]:
    """Which programs have these files open, without the tests and what they have started."""
    found: dict[str, list[str]] = {path: [] for path in paths}
    try:
        processes = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return found
    for process in processes:
        try:
            links = {os.readlink(f"/proc/{process}/fd/{n}") for n in os.listdir(f"/proc/{process}/fd")}
        except OSError:  # somebody else's, or it has ended
            continue
        for path in found.keys() & links:
            if not _is_below(process, tests):
                found[path].append(f"{_name(process)} (process {process})")
    return found


def _is_below(process: int, ancestor: int) -> bool:
    while process > 1:
        if process == ancestor:
            return True
        try:
            with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as stat:
                process = int(stat.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return False
    return False


def _name(process: int) -> str:
    try:
        with open(f"/proc/{process}/comm", encoding="utf-8", errors="replace") as comm:
            return comm.read().strip()
    except OSError:
        return "a program"


def _main() -> None:
    tests, *files = map(os.fsdecode, sys.stdin.buffer.read().split(b"\0"))
    holders = _holders(files, int(tests)) if int(tests) else {}
    found = {path: {"of": _fingerprint(path), "holders": holders.get(path, [])} for path in files}
    sys.stdout.write(ascii(found))


if __name__ == "__main__":
    _main()
