"""What the benchmarks of the database service are made of: a server, a service in a process, a clock."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats
from attrs import define, field, frozen

from abathur import Database
from abathur.testing.nats_server import NatsServer

PREFIX = "bench"
ECHO = """
import asyncio, sys, nats
async def main():
    client = await nats.connect(sys.argv[1])
    async def echo(msg):
        await msg.respond(msg.data)
    await client.subscribe("bench-echo", cb=echo)
    await client.flush(); await client.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
DIRECT = """
import asyncio, sys, time
from abathur import Database
from abathur.chat import Event
async def main():
    async with Database(sys.argv[1]) as db:
        print("ready", flush=True)
        began, n = time.monotonic(), 0
        while time.monotonic() - began < float(sys.argv[2]):
            n += 1
            await db.chat.record([Event("message.log", {"username": "direct", "message": str(n)})])
            await asyncio.sleep(max(began + n / 50 - time.monotonic(), 0))
asyncio.run(main())
"""


@frozen
class Result:
    """One benchmark's figure, beside its bound and its aim."""

    name: str
    bound: str
    aim: str
    found: str
    within: bool


class Process:
    """A program that says when it is ready."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "ABATHUR_ENVIRONMENT": "test"},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{command} has ended with {self.process.wait()}")

    def cpu(self) -> float:
        """Seconds of a core that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """MiB that are resident."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()


@define
class Bench:
    """A server, a service on a file with durability `full`, a client, and a reader of the file."""

    place: Path
    server: NatsServer
    client: Any = None
    db: Any = None
    service: Any = None
    results: list[Result] = field(factory=list)
    _names: int = 0

    @property
    def path(self) -> Path:
        return self.place / "agents.db"

    def start(self) -> None:
        """Start the service; it is ready when this returns."""
        arguments = ("--database", str(self.path), "--nats", self.server.url, "--prefix", PREFIX)
        self.service = Process("-m", "abathur", "serve", "nats", *arguments)

    async def open(self) -> None:
        self.start()
        self.client = await nats.connect(self.server.url)
        self.db = Database(self.path, environment="test")
        await self.db.initialize()

    async def close(self) -> None:
        await self.client.close()
        await self.db.close()
        self.service.stop()

    def name(self) -> str:
        """A user that no other benchmark has."""
        self._names += 1
        return f"user-{self._names}"

    async def say(self, user: str, number: int, client: Any = None) -> None:
        """Publish a line of the chat."""
        raw = json.dumps({"username": user, "message": str(number)}).encode()
        await (client or self.client).publish(f"{PREFIX}.db.message.log", raw)

    async def lines(self, user: str) -> int:
        """How many lines of a user are stored: read from the file, on a connection of this process."""
        found = await self.db.chat.user_stats(user)
        return found["total_chat_lines"] if found["found"] else 0

    async def stored(self, user: str, number: int, seconds: float) -> int:
        """Wait until so many lines are stored, or so many seconds; how many there are."""
        deadline = time.perf_counter() + seconds
        while (found := await self.lines(user)) < number and time.perf_counter() < deadline:
            await asyncio.sleep(0)
        return found

    async def ask(self, subject: str, body: Any) -> Any:
        raw = json.dumps(body).encode()
        answer = json.loads((await self.client.request(f"{PREFIX}.{subject}", raw, timeout=30)).data)
        assert answer["success"], answer
        return answer

    def add(self, name: str, bound: str, aim: str, found: str, within: bool) -> None:
        self.results.append(Result(name, bound, aim, found, within))
        print(f"  {'ok  ' if within else 'OVER'} {name}: {found}   (bound: {bound}; aim: {aim})", flush=True)


def spread(times: list[float]) -> tuple[float, float, float]:
    """Average, median and 95th percentile, in milliseconds."""
    ordered = sorted(times)
    return (
        sum(ordered) / len(ordered) * 1_000,
        ordered[len(ordered) // 2] * 1_000,
        ordered[min(len(ordered) * 95 // 100, len(ordered) - 1)] * 1_000,
    )


async def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began
