"""Processes that cost a hundredth of a second each: forked from a server that has imported everything.

A test that kills three hundred of them would else spend its time on starting interpreters.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import processes

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.faults.processes"])
LIFE = CONTEXT.Pipe(duplex=False)
"""Closed when this process ends, however it ends; its children see that, and end too."""


class Child:
    """A program of `tests.faults.processes`. What it says goes to a file, so that no pipe can be full."""

    def __init__(self, place: Path, number: int, program: str, *arguments: object) -> None:
        self.program = program
        self.stopped_until: float | None = None
        self._out, self._err = place / f"{number}.out", place / f"{number}.err"
        ours, self._stdin = CONTEXT.Pipe(duplex=False)
        said = (str(self._out), str(self._err))
        self.process = CONTEXT.Process(
            target=processes.child, args=(LIFE[0], ours, *said, program, *map(str, arguments))
        )
        self.process.start()
        ours.close()
        self.pid = self.process.pid
        self.ended = False

    @property
    def lines(self) -> list[str]:
        """What it has said so far, without half a line that a kill has left."""
        try:
            return self._out.read_text().rpartition("\n")[0].splitlines()
        except FileNotFoundError:
            return []

    @property
    def errors(self) -> str:
        return self._err.read_text() if self._err.exists() else ""

    def line(self, number: int, timeout: float = 30) -> str:
        """The line with this number, counted from 0, as soon as it is there."""
        deadline = time.monotonic() + timeout
        while len(lines := self.lines) <= number:
            if self.ended or time.monotonic() >= deadline:
                pytest.fail(f"{self.program} did not say line {number}: {lines}\n{self.errors}")
            time.sleep(0.002)
        return lines[number]

    def go(self) -> None:
        self.tell("go")

    def tell(self, line: object) -> None:
        """One line for its standard input."""
        os.write(self._stdin.fileno(), f"{line}\n".encode())

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def is_alive(self) -> bool:
        return not self.ended and self.process.is_alive()

    def end(self, *, kill: bool = False, timeout: float = 60) -> int:
        """Wait for its end; returns its exit code."""
        if kill:
            self.process.kill()
        self.process.join(timeout)
        late = self.process.exitcode is None
        if late:
            self.process.kill()
            self.process.join()
        code = self.process.exitcode
        self.process.close()
        self._stdin.close()
        self.ended = True
        if late:
            pytest.fail(f"{self.program} did not end in {timeout} s\n{self.errors}")
        return code


Start = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts processes; what is left of them is killed after the test."""
    place = tmp_path / "said"
    place.mkdir()
    started: list[Child] = []

    def make(program: str, *arguments: object) -> Child:
        child = Child(place, len(started), program, *arguments)
        started.append(child)
        return child

    yield make
    for child in started:
        if not child.ended:
            child.end(kill=True)
