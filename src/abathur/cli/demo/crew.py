"""The demo's worker processes: started, killed, replaced and stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from abathur.errors import AbathurError

PATIENCE: Final = 10.0
"""Seconds that workers get to stop."""


class DemoError(AbathurError):
    """The demo itself could not go on."""


class Crew:
    """Worker processes, each with its log in the output directory."""

    def __init__(self, database: Path, logs: Path, lock: int) -> None:
        self._database = database
        self._logs = logs
        self._lock = lock
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._hired = 0

    def start(self) -> str:
        """Start another worker; returns its name."""
        self._hired += 1
        name = f"demo-worker-{self._hired}"
        command = [sys.executable, "-m", "abathur", "demo-worker", "--at", str(self._database)]
        command += ["--name", name, "--parent", str(os.getpid())]
        with self.log(name).open("wb") as log:
            # A session of its own: Ctrl-C is for the demo, which then stops its workers.
            self._running[name] = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(self._lock,),
            )
        return name

    def log(self, name: str) -> Path:
        """Where a worker's log is."""
        return self._logs / f"{name}.log"

    def pids(self) -> dict[str, int]:
        """The process ids of the workers that are to be at work, by name."""
        return {name: process.pid for name, process in self._running.items()}

    def kill(self, name: str) -> int:
        """End a worker with SIGKILL, and wait until it is dead; returns its process id."""
        process = self._running.pop(name)
        process.kill()
        process.wait()
        return process.pid

    def check(self) -> None:
        """Raise DemoError if a worker has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                last = self.log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
                raise DemoError(
                    f"{name} has ended with exit code {process.returncode}: {' '.join(last) or 'no message'}",
                    "Expected every worker to go on until it is stopped.",
                    f"Its log is {self.log(name)}.",
                )

    def stop(self) -> None:
        """Stop all workers, gracefully if they can."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            process.kill()
            process.wait()
        self._running.clear()

    def refused(self) -> int:
        """Late results that the database refused, which only the workers' logs tell."""
        logs = self._logs.glob("demo-worker-*.log")
        return sum(log.read_bytes().count(b"the result was refused") for log in logs)
