"""Where an engine may be used: in the process and the event loop that opened it, until it is closed."""

from __future__ import annotations

import asyncio
import os

from abathur.errors import DatabaseClosedError, ForkedProcessError, WrongEventLoopError

_forks = 0
"""How many forks lie between this process and the one that imported this module. `os.getpid()` is a call of
the operating system, and every call of a database asks."""


def _forked() -> None:
    global _forks  # noqa: PLW0603  # a process has one
    _forks += 1


os.register_at_fork(after_in_child=_forked)


class Home:
    """The process and the event loop of one engine."""

    def __init__(self) -> None:
        self.closed = False
        self._pid, self._forks = os.getpid(), _forks
        self._loop: asyncio.AbstractEventLoop | None = None

    def move_in(self) -> None:
        """It is opened here. Raises WrongEventLoopError outside of asyncio."""
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise WrongEventLoopError("outside of an asyncio event loop, under trio perhaps") from None
        # It may have been made before a fork and be opened after it.
        self._pid, self._forks = os.getpid(), _forks

    def check(self) -> None:
        """Raise a LifecycleError unless the engine may be used here and now."""
        if self.closed:
            raise DatabaseClosedError
        self.check_process()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise WrongEventLoopError("outside of an asyncio event loop") from None
        if loop is not self._loop:
            raise WrongEventLoopError("in another event loop than the one that opened it")

    def check_process(self) -> None:
        """Raise ForkedProcessError in a process that was forked off."""
        if self._forks != _forks:
            raise ForkedProcessError(self._pid, os.getpid())
