"""Where a database file lies: its file system, who may read it, who holds its lock, what lies beside it."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from abathur.engines import files
from abathur.engines.backup import PARTIAL
from abathur.models import Finding

VOLATILE: Final = frozenset({"tmpfs", "ramfs"})
LONG_LOG: Final = 64 * 1024 * 1024
"""Bytes of log that are too many: commits cut it at a quarter of that, unless a reader is in the way."""
PATIENCE: Final = 1.0
"""Seconds for which somebody must hold the lock before it is worth a word: transactions are short."""
PAUSE: Final = 0.02


def findings(path: Path) -> list[Finding]:
    """All findings about the place of the database at `path`; takes up to a second while a lock is held."""
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except OSError:
        return []  # a name that is too long, a directory that may not be read: opening it says so
    return [_file_system(path), *_modes(path), _log(path), _lock(path), *_leftovers(path)]


def _file_system(path: Path) -> Finding:
    kind = files.file_system(path.parent)
    if kind in files.NETWORK_FILE_SYSTEMS:
        return Finding(
            code="file-system",
            level="problem",
            what="file system",
            found=f"{kind} is a network file system, on which WAL mode can lose data.",
            remedy="Move the file to a local disk.",
        )
    if kind in VOLATILE:
        return Finding(
            code="file-system",
            level="warning",
            what="file system",
            found=f"{kind} is kept in memory: everything is gone when the machine stops.",
            remedy="Move the file to a disk, unless it may be lost.",
        )
    return Finding(code="file-system", level="ok", what="file system", found=kind)


# -- who may read and write ---------------------------------------------------------------------


def _modes(path: Path) -> list[Finding]:
    directory = path.parent
    open_files = []
    for one in (path, *(Path(f"{path}{ending}") for ending in ("-wal", "-shm", "-lock"))):
        with suppress(OSError):
            mode = stat.S_IMODE(one.stat().st_mode)
            if mode & 0o077:
                open_files.append((one, mode))
    found = [_file_modes(open_files)]
    with suppress(OSError):
        found.append(_directory_mode(directory, directory.stat().st_mode))
    closed = [one for one in (path, directory) if one.exists() and not _is_writable(one)]
    if closed:
        found.append(
            Finding(
                code="read-only",
                level="problem",
                what="right to write",
                found=f"{' and '.join(map(str, closed))} cannot be written by this user.",
                remedy="Change the owner or the permissions; the directory must be writable for the log.",
            )
        )
    return found


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _file_modes(open_files: list[tuple[Path, int]]) -> Finding:
    if not open_files:
        return Finding(code="file-mode", level="ok", what="modes of the files", found="0600")
    listed = ", ".join(f"{one.name} {mode:04o}" for one, mode in open_files)
    return Finding(
        code="file-mode",
        level="warning",
        what="modes of the files",
        found=f"Others may read them: {listed}.",
        remedy=f"chmod 600 {' '.join(str(one) for one, _ in open_files)}",
    )


def _directory_mode(directory: Path, mode: int) -> Finding:
    if mode & 0o022 and not mode & stat.S_ISVTX:
        return Finding(
            code="directory-mode",
            level="warning",
            what="mode of the directory",
            found=f"{directory} is {stat.S_IMODE(mode):04o}: others may replace the files in it.",
            remedy=f"chmod go-w {directory}",
        )
    return Finding(
        code="directory-mode", level="ok", what="mode of the directory", found=f"{stat.S_IMODE(mode):04o}"
    )


# -- the log and the lock -----------------------------------------------------------------------


def _log(path: Path) -> Finding:
    size = files.size(Path(f"{path}-wal"))
    if size > LONG_LOG:
        return Finding(
            code="wal-size",
            level="warning",
            what="write-ahead log",
            found=f"{size / 2**20:,.0f} MiB: a reader has kept it from being cut.",
            remedy="Find the program that keeps a read transaction open, and end it; "
            "the next writer cuts the log.",
        )
    return Finding(code="wal-size", level="ok", what="write-ahead log", found=f"{size / 2**20:,.1f} MiB")


def _lock(path: Path) -> Finding:
    """Who keeps the write lock; a transaction that is just being made is no news."""
    what = "write lock"
    lock = Path(f"{path}-lock")
    first = pid = _holder(lock)
    end = time.monotonic() + PATIENCE
    while pid is not None and pid == first and time.monotonic() < end:
        time.sleep(PAUSE)
        pid = _holder(lock)
    if pid is None or pid != first:
        return Finding(code="lock", level="ok", what=what, found="free, or in use for moments only")
    state = _state(pid)
    if state == "stopped":
        return Finding(
            code="lock",
            level="problem",
            what=what,
            found=f"Process {pid} holds it and is stopped, so nobody can write.",
            remedy=f"Let it go on (kill -CONT {pid}), or end it (kill -KILL {pid}) and its transaction "
            "is undone.",
        )
    return Finding(
        code="lock",
        level="warning",
        what=what,
        found=f"Process {pid} ({state}) has held it for {PATIENCE:g} s or longer.",
        remedy="See what it does; a migration or a large transaction may take a while.",
    )


def _holder(lock: Path) -> int | None:
    """The pid written in the lock file while somebody holds it (0 if it is no number), else None."""
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None  # no lock file, so nobody has written yet; or none that is ours to try
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.pread(fd, 32, 0).strip()
        return int(said) if said.isdigit() else 0
    else:
        return None
    finally:
        os.close(fd)  # which gives the lock back, if it was taken


def _state(pid: int) -> str:
    """What a process does: running, stopped, or not seen from here (as from inside of a container)."""
    try:
        about = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return "not seen from here"
        except PermissionError:
            return "running"
        return "running"
    return "stopped" if about.rpartition(")")[2].split()[0] in "Tt" else "running"


# -- what lies beside it ------------------------------------------------------------------------


def _leftovers(path: Path) -> list[Finding]:
    found = []
    copies = sorted(path.parent.glob(f"{_escaped(path.name)}.before-*.db"))
    if copies:
        size = sum(files.size(copy) for copy in copies)
        found.append(
            Finding(
                code="old-backups",
                level="note",
                what="copies from before a migration",
                found=f"{len(copies)} ({size / 2**20:,.1f} MiB), the last of them {copies[-1].name}",
                remedy="Delete them when you are content with the migrated database.",
            )
        )
    halves = [half for half in path.parent.glob(f"{PARTIAL}*") if not _is_being_made(half)]
    if halves:
        size = sum(files.size(half) for half in halves)
        found.append(
            Finding(
                code="half-backups",
                level="warning",
                what="unfinished backups",
                found=f"{len(halves)} ({size / 2**20:,.1f} MiB), whose makers were killed",
                remedy=f"rm {' '.join(map(str, sorted(halves)))}",
            )
        )
    return found


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _is_being_made(half: Path) -> bool:
    pid = half.name.removeprefix(PARTIAL).partition("-")[0]
    return pid.isdigit() and _state(int(pid)) != "not seen from here"
