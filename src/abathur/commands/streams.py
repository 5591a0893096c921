"""What comes out of a command's process: its stdout, its stderr, and what its supervisor says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

MOST_STDERR: Final = 8_192
"""Bytes of stderr that are kept: the last ones."""
MOST_WORDS: Final = 1_200
"""Characters of them that go into an error's message."""
MOST_LINE: Final = 300


class Tail:
    """The last bytes of a stream."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = bytearray()
        self._lost = False

    def add(self, data: bytes) -> None:
        """Keep these, and let go of what is too long ago."""
        self._kept += data
        if len(self._kept) > self._most:
            del self._kept[: -self._most]
            self._lost = True

    def text(self) -> str:
        """What is kept, decoded; bytes that are no text are replaced."""
        text = self._kept.decode("utf-8", "replace").replace("\0", "").strip()
        return f"... {text}" if self._lost else text

    def words(self) -> str:
        """The last line, and below it the last lines if there are more: a message that begins well."""
        text = self.text()
        *before, last = text.splitlines() or [""]
        if not before:
            return last[-MOST_WORDS:]
        end = text if len(text) <= MOST_WORDS else f"... {text[-MOST_WORDS:]}"
        return f"{last[-MOST_LINE:]}\n{end}"


class Output(asyncio.SubprocessProtocol):
    """Reads both streams as fast as they come, whatever the command does, and keeps little of them.

    on_too_much: called once when stdout is longer than `most` bytes; the rest of it is dropped.
    """

    def __init__(self, most: int, on_too_much: Callable[[], None]) -> None:
        self._most = most
        self._on_too_much = on_too_much
        self._transport: asyncio.SubprocessTransport | None = None
        self._open = {1, 2}
        self.stdout = bytearray()
        self.stderr = Tail(MOST_STDERR)
        self.too_much = False
        self.exited = asyncio.Event()
        self.drained = asyncio.Event()
        """Both streams have ended."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)  # noqa: S101  # asyncio's promise
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self.stderr.add(data)
        elif not self.too_much:
            self.stdout += data
            if len(self.stdout) > self._most:
                self.too_much = True
                self.stdout.clear()
                self._on_too_much()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's
        self._open.discard(fd)
        if not self._open:
            self.drained.set()

    def process_exited(self) -> None:
        self.exited.set()

    def kill(self) -> None:
        """End the supervisor at once."""
        if self._transport is not None and not self.exited.is_set():
            self._transport.kill()

    def close(self) -> None:
        """Close the streams; the process must have ended."""
        if self._transport is not None:
            self._transport.close()


class Control(asyncio.Protocol):
    """The line to the supervisor; see `supervisor.py` for what is said on it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._half = b""
        self.group: int | None = None
        """The command's process group."""
        self.errno: int | None = None
        """Why it could not be started."""
        self.code: int | None = None
        """Its exit code, or the negative number of a signal."""
        self.over = asyncio.Event()
        """It has ended, or is to end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # asyncio's promise
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._half = (self._half + data).split(b"\n")
        for line in lines:
            word, _, number = line.partition(b" ")
            if word == b"group":
                self.group = int(number)
            elif word == b"error":
                self.errno = int(number)
            elif word == b"exit":
                self.code = int(number)
                self.over.set()

    def eof_received(self) -> bool:
        self.over.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's
        self.over.set()

    def ask_to_end(self) -> None:
        """Close our half of the line: the supervisor ends what still runs."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()
