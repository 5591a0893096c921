"""Progress: the lines that a command writes to fd 3."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import anyio
import msgspec

from abathur.context import Context
from abathur.errors import LeaseLostError
from abathur.maintenance import TROUBLE
from abathur.tasks.failures import LONGEST_MESSAGE

log = logging.getLogger("abathur.commands")

EVERY: Final = 0.5
"""Seconds between two writes of progress to the database, however many lines there are."""
LONGEST_LINE: Final = 16_384


class Progress(asyncio.Protocol):
    """Reads the lines, and passes the latest on, now and then."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._half = b""
        self._skipping = False
        """In a line that is too long."""
        self._complained = False
        self._fraction: float | None = None
        self._message: str | None = None
        self._changed = asyncio.Event()
        self.lost: LeaseLostError | None = None
        self.closed = asyncio.Event()

    # -- reading -------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        *lines, self._half = (self._half + data).split(b"\n")
        for line in lines:
            if self._skipping:
                self._skipping = False
            elif line.strip():
                self._line(line)
        if self._skipping:
            self._half = b""
        elif len(self._half) > LONGEST_LINE:
            self._complain(self._half, "it is too long")
            self._skipping, self._half = True, b""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's
        if self._half.strip() and not self._skipping:
            self._line(self._half)
            self._half = b""
        self.closed.set()

    def _line(self, line: bytes) -> None:
        try:
            said = msgspec.json.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return self._complain(line, "it is not JSON")
        fraction, message = _parts(said)
        if fraction is None and message is None:
            return self._complain(line, 'it has neither a "progress" from 0 to 1 nor a "message"')
        # What a line does not say stays as it was.
        self._fraction = self._fraction if fraction is None else fraction
        self._message = self._message if message is None else message
        self._changed.set()
        return None

    def _complain(self, line: bytes, why: str) -> None:
        """Once for each attempt: who writes one such line may write a thousand."""
        if not self._complained:
            self._complained = True
            beginning = line[:100].decode("utf-8", "replace")
            task = self._ctx.task
            log.warning("task %s: a line of progress was ignored: %s: %r", task.id, why, beginning)

    # -- passing on ----------------------------------------------------------------------------

    async def report(self) -> None:
        """Write what was said last, at most every `EVERY` seconds, until the lease is lost."""
        while self.lost is None:
            await self._changed.wait()
            await self.flush()
            await anyio.sleep(EVERY)

    async def flush(self) -> None:
        """Write what was said and is not written yet. Sets `lost` if the task is no longer ours."""
        if not self._changed.is_set() or self.lost is not None:
            return
        self._changed.clear()
        try:
            await self._ctx.progress(self._fraction, self._message)
        except asyncio.CancelledError:
            self._changed.set()  # for the flush at the end
            raise
        except LeaseLostError as error:
            self.lost = error
        except TROUBLE as error:
            log.warning("task %s: its progress was not written: %s", self._ctx.task.id, error)


def _parts(said: Any) -> tuple[float | None, str | None]:
    """What is good of a line: a fraction and a message."""
    if not isinstance(said, dict):
        return None, None
    fraction, message = said.get("progress"), said.get("message")
    if not isinstance(fraction, (int, float)) or isinstance(fraction, bool) or not 0 <= fraction <= 1:
        fraction = None
    if not isinstance(message, str) or not (message := _clean(message)):
        message = None
    return fraction, message


def _clean(message: str) -> str:
    return message.replace("\0", "").encode("utf-8", "replace").decode().strip()[:LONGEST_MESSAGE]
