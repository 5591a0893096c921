"""`abathur serve nats` and `abathur doctor --nats`, as processes that are stopped and killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from abathur import Database
from abathur.cli import main
from abathur.service import Access, DatabaseService, checks
from abathur.testing.nats_server import NatsServer
from tests.nats import Caller

SECRET = "hunter2-canary"


class Program:
    """`abathur`, in a process of its own."""

    def __init__(self, *arguments: str, place: Path, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ABATHUR_NATS")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "abathur", *arguments],
            cwd=place,
            env={**kept, "ABATHUR_ENVIRONMENT": "test", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """Its next line of output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, number: int | None = None) -> tuple[int, str, str]:
        """Its exit code and the rest of what it says, after a signal if one is given."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    started: list[Program] = []

    def start(*arguments: str, **environment: str) -> Program:
        started.append(Program(*arguments, place=tmp_path, **environment))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serve_says_when_it_is_ready_and_stops_on_a_signal(
    program: Callable[..., Program],
    own_server: Callable[..., NatsServer],
    connected: Any,
    tmp_path: Path,
    number: int,
) -> None:
    server = own_server()
    served = program("serve", "nats", "--database", "agents.db", "--nats", server.url, "--prefix", "bot")
    assert (
        served.line()
        == f"Serving {tmp_path / 'agents.db'} on {server.url} as bot: events exactly once, by JetStream"
    )
    caller = Caller(client=await connected(server.url), prefix="bot")
    made = await caller.ok("tasks.enqueue", {"prompt": "x"})
    code, out, err = served.end(number)
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == f"Stopped: {signal.Signals(number).name}."
    async with Database(tmp_path / "agents.db", environment="test") as db:
        assert (await db.tasks.get(made["id"])).prompt == "x"


def called(*arguments: str) -> tuple[int, str, str]:
    """The same in this process: exit code, output, errors."""
    done = CliRunner().invoke(main, arguments)
    return done.exit_code, done.stdout, done.stderr


def test_a_missing_server_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"nats://127.0.0.1:{free.getsockname()[1]}"
    code, out, err = called("serve", "nats", "--database", "agents.db", "--nats", url)
    assert (code, out) == (1, "")
    assert f"No NATS server can be reached at {url}" in err
    code, _, err = called("serve", "nats", "--json", "--database", "agents.db", "--nats", url)
    assert json.loads(err.splitlines()[-1])["error"]["type"] == "NatsUnavailableError"
    code, out, _ = called("doctor", "--nats", url)
    assert code == 1
    assert "problem" in out
    assert "See whether it runs" in out


async def test_a_server_that_refuses_is_explained_and_the_environment_lets_in(
    program: Callable[..., Program], own_server: Callable[..., NatsServer]
) -> None:
    server = own_server(config=f'authorization {{ user: "service", password: "{SECRET}" }}')
    arguments = ("serve", "nats", "--database", "agents.db", "--nats", server.url)
    code, _, err = program(*arguments).end()
    assert code == 1
    assert "refused" in err
    code, out, _ = program("doctor", "--nats", server.url).end()
    assert (code, "refused" in out) == (1, True)
    login = {"ABATHUR_NATS_USER": "service", "ABATHUR_NATS_PASSWORD": SECRET}
    served = program(*arguments, "-v", **login)
    assert served.line().startswith("Serving ")
    code, out, _ = program("doctor", "--json", "--nats", server.url, **login).end()
    assert code == 0
    found = {one["code"]: one["level"] for one in json.loads(out)["findings"]}
    assert found == {
        "nats-server": "ok", "nats-jetstream": "ok", "nats-events": "ok", "nats-service": "ok",
    }  # fmt: skip
    code, out, err = served.end(signal.SIGTERM)
    assert (code, SECRET in out + err) == (0, False)


async def test_a_server_that_throws_the_service_out_ends_it_with_the_reason(
    program: Callable[..., Program], own_server: Callable[..., NatsServer]
) -> None:
    server = own_server(config=f'authorization {{ user: "service", password: "{SECRET}" }}')
    login = {"ABATHUR_NATS_USER": "service", "ABATHUR_NATS_PASSWORD": SECRET}
    served = program("serve", "nats", "--database", "agents.db", "--nats", server.url, **login)
    assert served.line().startswith("Serving ")
    server.reconfigure('authorization { user: "service", password: "another" }')
    code, _, err = served.end()
    assert code == 1
    assert "refused" in err
    assert "Traceback" not in err


def test_a_password_on_the_command_line_is_refused() -> None:
    for command in (("serve", "nats"), ("doctor",)):
        code, out, err = called(*command, "--nats", f"nats://u:{SECRET}@127.0.0.1:4222")
        assert code == 1
        assert "ABATHUR_NATS_PASSWORD" in err
        assert SECRET not in out + err


def test_doctor_says_what_is_missing(own_server: Callable[..., NatsServer]) -> None:
    server = own_server(jetstream=False)
    code, out, _ = called("doctor", "--json", "--nats", server.url)
    assert code == 0
    found = {one["code"]: one["level"] for one in json.loads(out)["findings"]}
    assert found == {"nats-server": "ok", "nats-jetstream": "warning", "nats-service": "note"}


async def test_a_service_that_is_killed_under_load_loses_nothing_that_it_acknowledged(
    program: Callable[..., Program], own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path
) -> None:
    """R22: whatever was answered is there after kill -9, and each request_id has had one effect."""
    server = own_server()
    arguments = ("serve", "nats", "--database", "agents.db", "--nats", server.url)
    caller = Caller(client=await connected(server.url), prefix="rosey", timeout=1)
    context = caller.client.jetstream(timeout=2)
    answered: set[str] = set()
    published = 0

    async def insist(number: int) -> None:
        body = {"prompt": str(number), "request_id": f"r{number}"}
        for _ in range(200):
            try:
                answer = await caller.ask("tasks.enqueue", body)
            except Exception:  # noqa: BLE001  # nobody answers at the moment: it is repeated
                await asyncio.sleep(0.02)
                continue
            if answer["success"]:
                answered.add(answer["id"])
                return
        raise AssertionError(f"request {number} was never answered")

    served = program(*arguments)
    assert served.line().startswith("Serving ")
    for round_ in range(2):
        working = asyncio.gather(*(insist(round_ * 100 + n) for n in range(100)))
        for number in range(50):
            line = json.dumps({"username": "ann", "message": str(number)}).encode()
            await context.publish("rosey.db.message.log", line)
            published += 1
        await asyncio.sleep(0.02 * (round_ + 1))
        served.process.kill()
        served = program(*arguments)
        assert served.line().startswith("Serving ")
        await working
    async with Database(tmp_path / "agents.db", environment="test") as db:
        assert (await db.tasks.counts())["ready"] == 200 == len(answered)

        async def lines() -> int:
            found = await db.chat.user_stats("ann")
            return int(found["total_chat_lines"]) if found["found"] else 0

        for _ in range(400):
            if await lines() >= published:
                break
            await asyncio.sleep(0.05)
        assert await lines() == published
        assert (await db.audit.verify()).ok
    assert served.end(signal.SIGTERM)[0] == 0


async def test_doctor_says_how_many_events_wait_and_whether_the_service_hangs(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path
) -> None:
    server = own_server()
    access = Access.of(server.url)
    before = {one.code: one for one in await checks.examine(access)}
    assert before["nats-events"].found == "none yet; the service makes it"
    async with DatabaseService(server.url, tmp_path / "a.db"):
        pass
    client = await connected(server.url)
    for _ in range(1_001):
        await client.publish("rosey.db.message.log", b"{}")
    await client.flush()
    hanging = await client.subscribe("rosey.db.health")
    await client.flush()
    found = {one.code: one for one in await checks.examine(access)}
    assert (found["nats-events"].level, found["nats-service"].level) == ("warning", "warning")
    assert "1,001 events" in found["nats-events"].found
    assert found["nats-service"].remedy
    await hanging.unsubscribe()
