"""Runs a command for one attempt of a task: what goes in, what comes out, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Final

import anyio
import msgspec
from attrs import frozen

from abathur import payload
from abathur.commands import supervisor
from abathur.commands.given import environment, task_json
from abathur.commands.progress import Progress
from abathur.commands.streams import Control, Output
from abathur.context import Context, DoNotRetry
from abathur.errors import CommandError

log = logging.getLogger("abathur.commands")

MOST_STDOUT: Final = 2 * payload.LARGEST
"""Bytes that are read; JSON that is set for people is longer than what is stored of it."""
DO_NOT_RETRY: Final = os.EX_DATAERR
"""65: the exit code by which a command says that another attempt would fail in the same way."""
DRAIN: Final = 1.0
"""Seconds to read what is left in the pipes. Only a process that has left the group holds them longer."""
PATIENCE: Final = 10.0
"""Seconds beyond `kill_after` that a supervisor gets; then it is stuck, and is ended as well."""


class FinalCommandError(CommandError, DoNotRetry):
    """Another attempt would fail in the same way."""


@frozen
class Command:
    """What to run, checked."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    is_text: bool
    kill_after: float


async def run(command: Command, ctx: Context) -> Any:
    """Run it, and return the task's result. Raises CommandError or LeaseLostError.

    However this ends, by an error or a cancellation as well, the process group has ended before.
    """
    attempt = _Attempt(command, ctx)
    await attempt.start()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(attempt.report)
            await attempt.control.over.wait()
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await attempt.end()
        ctx.last_words = attempt.last_words()
    await attempt.progress.flush()
    return attempt.result()


class _Attempt:
    """One run of a command."""

    def __init__(self, command: Command, ctx: Context) -> None:
        self._command = command
        self._ctx = ctx
        self._pipes: list[asyncio.BaseTransport] = []
        self.progress = Progress(ctx)
        self.control = Control()
        self._output = Output(MOST_STDOUT, self.control.over.set)

    # -- beginning -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the supervisor, which starts the command. Raises CommandError."""
        with anyio.CancelScope(shield=True), contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            # A pipe of our own for stdin: asyncio's is a socket on some versions, and /dev/stdin
            # of a socket cannot be opened.
            try:
                stdin, feed = _pipe(theirs, ours)
                said, progress = _pipe(ours, theirs)
                control, other = socket.socketpair()
                ours.callback(control.close)
                theirs.callback(other.close)
                await self._spawn(stdin, progress, other)
            except OSError as error:
                raise CommandError(
                    f"{self._name} could not be started: {error.strerror}.",
                    "Expected its directory to be there, and processes and pipes to be had.",
                    f"Look at {error.filename or self._command.cwd} and at the limits of this process.",
                ) from error
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_connection(lambda: self.control, sock=control)
            self._pipes.append(transport)
            self._pipes.append((await loop.connect_read_pipe(lambda: self.progress, said))[0])
            writer, _ = await loop.connect_write_pipe(asyncio.Protocol, feed)
            self._pipes.append(writer)
            ours.pop_all()  # the transports close them
        writer.write(task_json(self._ctx))  # kept in memory until it is read; it has an upper bound
        writer.write_eof()

    async def _spawn(self, stdin: IO[bytes], progress: IO[bytes], control: socket.socket) -> None:
        arguments = (str(control.fileno()), str(progress.fileno()), f"{self._command.kill_after:g}")
        await asyncio.get_running_loop().subprocess_exec(
            lambda: self._output,
            sys.executable,
            *("-I", "-S", str(Path(supervisor.__file__)), *arguments, *self._command.argv),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(control.fileno(), progress.fileno()),
            env=environment(self._ctx, self._command.env),
            cwd=self._command.cwd,
            start_new_session=True,  # Ctrl-C is for the runner
        )

    async def report(self) -> None:
        """Pass its progress on; when the lease turns out to be lost, it is over."""
        await self.progress.report()
        self.control.over.set()

    # -- ending --------------------------------------------------------------------------------

    async def end(self) -> None:
        """End what still runs of it, read what is left in the pipes, close everything."""
        self.control.ask_to_end()
        with anyio.move_on_after(self._command.kill_after + PATIENCE):
            await self._output.exited.wait()
        if not self._output.exited.is_set() or self.control.code is None:
            await self._end_by_hand()
        with anyio.move_on_after(DRAIN):
            await self._output.drained.wait()
            await self.progress.closed.wait()
        for pipe in self._pipes:
            pipe.close()
        self._output.close()

    async def _end_by_hand(self) -> None:
        """The supervisor was killed, or hangs: end the group without it."""
        if self.control.group is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.control.group, signal.SIGKILL)
        self._output.kill()
        await self._output.exited.wait()

    # -- the outcome ---------------------------------------------------------------------------

    def result(self) -> Any:
        """What it has printed, or the error that its end means."""
        if self.progress.lost is not None:
            raise self.progress.lost
        if self._output.too_much:
            raise FinalCommandError(
                f"{self._name} has printed more than {MOST_STDOUT:,} bytes on stdout, and was ended.",
                f"Expected a result of {payload.LARGEST:,} bytes at most.",
                "Let it write to a file, and print the file's name.",
                self._stderr,
            )
        if self.control.errno is not None:
            raise self._not_started(self.control.errno)
        code = self.control.code
        if code is None:
            raise CommandError(
                f"{self._name} was ended, because somebody has killed its supervisor.",
                "Expected that process to be left alone.",
                "See whether memory was short: the kernel's log tells.",
            )
        if code:
            raise self._failed(code)
        return self._read(bytes(self._output.stdout))

    def _failed(self, code: int) -> CommandError:
        how = f"ended with exit code {code}" if code > 0 else f"was ended by {_signal_name(-code)}"
        said = self._output.stderr.words() or "it has written nothing to stderr."
        if code == DO_NOT_RETRY:
            return FinalCommandError(
                f"{self._name} {how}, so it is not tried again: {said}", stderr=self._stderr
            )
        return CommandError(f"{self._name} {how}: {said}", stderr=self._stderr)

    def _not_started(self, number: int) -> CommandError:
        remedies = {
            errno.ENOEXEC: "Give it a first line such as `#!/bin/sh`.",
            errno.ENOENT: "See whether it is there, and the interpreter that its first line names.",
            errno.EACCES: "Run `chmod +x` on it.",
            errno.E2BIG: "Make its arguments and its env smaller.",
        }
        return CommandError(
            f"{self._name} could not be started: {os.strerror(number)}.",
            f"Expected a program that can be started in {self._command.cwd}.",
            remedies.get(number, "Try it by hand."),
        )

    def _read(self, printed: bytes) -> Any:
        if self._command.is_text:
            return printed.decode("utf-8", "replace").replace("\0", "").rstrip("\n")
        if not printed.strip():
            return None
        try:
            return msgspec.json.decode(printed)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            beginning = printed[:200].decode("utf-8", "replace")
            raise FinalCommandError(
                f"{self._name} has printed what is not JSON: {error}. It begins with {beginning!r}.",
                "Expected one JSON value on stdout, or nothing.",
                'Print everything else on stderr (`>&2`), or set output = "text".',
                self._stderr,
            ) from None

    def last_words(self) -> str:
        """The end of its stderr, for the error of a time-out."""
        words = self._output.stderr.words()
        return f"The end of its stderr: {words}" if words else ""

    @property
    def _stderr(self) -> str:
        return self._output.stderr.text()

    @property
    def _name(self) -> str:
        return f"`{self._command.argv[0]}`"


def _pipe(reads: contextlib.ExitStack, writes: contextlib.ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    """A pipe, each end closed by its own stack."""
    reader, writer = os.pipe()
    return (
        reads.enter_context(os.fdopen(reader, "rb", buffering=0)),
        writes.enter_context(os.fdopen(writer, "wb", buffering=0)),
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
