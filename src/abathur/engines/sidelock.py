"""The side-file lock by which the writers of several processes take turns.

SQLite's own busy handler sleeps up to 100 ms between tries and starves processes: measured, one of
eight did a single transaction while another did 1,117. A blocking `flock` is not fair either. So
the lock is tried without blocking, again and again, with a short random pause.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import time
from pathlib import Path

from abathur.engines.faults import translate_os
from abathur.errors import LockTimeoutError

SHORTEST_PAUSE, LONGEST_PAUSE = 0.00005, 0.002  # seconds


class SideLock:
    """`<real path>-lock`: held for each write transaction and checkpoint; the file holds the holder's pid.

    The file is never deleted: a process that waits on a deleted file would not exclude anybody.
    It is released by the operating system when its holder dies.
    """

    def __init__(self, database: Path, timeout: float) -> None:
        self.path = Path(f"{database}-lock")
        self._database = database
        self._timeout = timeout
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock; blocks this thread. Raises LockTimeoutError, which names the holder."""
        fd = self._open()
        if not self._try(fd):
            self._wait(fd)
        self._sign(fd)

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it."""
        fd = self._open()
        if not self._try(fd):
            return False
        self._sign(fd)
        return True

    def release(self) -> None:
        """Let the next writer in."""
        if self._fd is not None:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            except OSError:
                self.close()  # which lets go of it as well; the next one opens the file again

    def close(self) -> None:
        """Forget the file; releases the lock if it is held."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with contextlib.suppress(OSError):  # an error that is reported late; it is closed all the same
                os.close(fd)

    def _open(self) -> int:
        if self._fd is None:
            try:
                self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise translate_os(error, str(self.path)) from error
        return self._fd

    @staticmethod
    def _sign(fd: int) -> None:
        """Say who holds it. Where there is no space for that, it is held all the same."""
        mine = b"%-12d" % os.getpid()
        with contextlib.suppress(OSError):
            if os.pread(fd, 12, 0) != mine:  # a look costs a tenth of a write
                os.pwrite(fd, mine, 0)

    def _try(self, fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise translate_os(error, str(self.path)) from error
        return True

    def _wait(self, fd: int) -> None:
        deadline = time.monotonic() + self._timeout
        while not self._try(fd):
            if time.monotonic() >= deadline:
                raise LockTimeoutError(str(self._database), self._timeout, self._holder(fd))
            time.sleep(random.uniform(SHORTEST_PAUSE, LONGEST_PAUSE))  # noqa: S311  # a pause, no secret

    @staticmethod
    def _holder(fd: int) -> int | None:
        with contextlib.suppress(ValueError, OSError):
            return int(os.pread(fd, 32, 0))
        return None
