"""Events are stored exactly once with JetStream, whatever is stopped, killed or made anew meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abathur import Database
from abathur.service import DatabaseService
from abathur.testing.nats_server import NatsServer
from tests.nats import until
from tests.service.conftest import COMMON

LINE = "rosey.db.message.log"

RESTARTS = pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning")
"""nats-py leaves one to the garbage collector when it connects anew, and that says so."""
pytestmark = [RESTARTS, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def line(user: str, number: int) -> bytes:
    return json.dumps({"username": user, "message": str(number)}).encode()


async def lines(db: Database, user: str) -> int:
    found = await db.chat.user_stats(user)
    return int(found["total_chat_lines"]) if found["found"] else 0


async def stored(db: Database, user: str, number: int) -> None:
    """Wait until so many lines are stored; and no more."""

    async def there() -> bool:
        return await lines(db, user) >= number

    await until(there, seconds=40)
    await asyncio.sleep(0.1)
    assert await lines(db, user) == number


@pytest.fixture(params=["newest", "older"])
def server(request: pytest.FixtureRequest, own_server: Callable[..., NatsServer]) -> NatsServer:
    """A server of the test's own, of each version."""
    older = request.getfixturevalue("older_server") if request.param == "older" else None
    return own_server(server=older)


async def test_events_of_before_while_down_and_after_are_all_stored_once(
    server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    client = await connected(server.url)
    service = DatabaseService(server.url, tmp_path / "a.db")
    await service.start()
    for number in range(50):
        await client.publish(LINE, line("ann", number))
    await client.flush()
    await service.stop()
    for number in range(30):
        await client.publish(LINE, line("ann", number))
    await client.flush()
    await service.start()
    for number in range(50):
        await client.publish(LINE, line("ann", number))
    await stored(service.db, "ann", 130)
    info = await service.nats.jsm().stream_info("rosey_events")
    assert info.config.subjects == [
        "rosey.db.user.joined", "rosey.db.user.left", "rosey.db.message.log", "rosey.db.stats.user_count",
        "rosey.db.stats.high_water", "rosey.db.status.update", "rosey.db.messages.outbound.mark_sent",
        "rosey.db.action.pm_command", "rosey.events.pm_command",
    ]  # fmt: skip
    await until(lambda: _is_empty(service), seconds=5)
    await service.stop()


async def _is_empty(service: DatabaseService) -> bool:
    return (await service.nats.jsm().stream_info("rosey_events")).state.messages == 0


@pytest.mark.parametrize(
    ("server", "kill"), [("newest", False), ("newest", True), ("older", True)], indirect=["server"]
)
async def test_events_outlive_a_restart_of_the_server(
    server: NatsServer, connected: Any, tmp_path: Path, kill: bool
) -> None:
    """R22: what the server has acknowledged is stored once, also when it is killed."""
    async with DatabaseService(server.url, tmp_path / "a.db") as service:
        client = await connected(server.url)
        context = client.jetstream(timeout=1)
        number = acknowledged = 0
        for _ in range(3):
            for _ in range(40):
                number += 1
                while True:
                    try:
                        headers = {"Nats-Msg-Id": f"m{number}"}
                        await context.publish(LINE, line("bob", number), headers=headers)
                    except Exception:  # noqa: BLE001  # the server is just away: tried again with the same id
                        await asyncio.sleep(0.05)
                    else:
                        acknowledged += 1
                        break
            server.restart(kill=kill)
        await stored(service.db, "bob", acknowledged)


async def test_a_stream_that_is_made_anew_counts_from_one_and_nothing_of_it_is_taken_for_stored(
    server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    async with (
        Database(tmp_path / "a.db", **COMMON) as db,
        DatabaseService(server.url, db) as one,
        DatabaseService(server.url, db) as other,
    ):
        client = await connected(server.url)
        expected = 0
        for _ in range(3):
            for _ in range(20):
                expected += 1
                await client.publish(LINE, line("cat", expected))
            await stored(db, "cat", expected)
            before = (await client.jsm().stream_info("rosey_events")).created
            await client.jsm().delete_stream("rosey_events")

            async def again(before: Any = before) -> bool:
                try:
                    return (await client.jsm().stream_info("rosey_events")).created != before
                except Exception:  # noqa: BLE001  # not yet
                    return False

            await until(again)
        assert one.is_running
        assert other.is_running


async def test_two_instances_store_each_event_once(
    server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    async with (
        DatabaseService(server.url, tmp_path / "a.db") as one,
        DatabaseService(server.url, tmp_path / "a.db") as other,
    ):
        client = await connected(server.url)
        for number in range(2_000):
            await client.publish(LINE, line("dan", number))
        await stored(one.db, "dan", 2_000)
        assert await lines(other.db, "dan") == 2_000
        # Each took a part of them; which is up to the server.
        told = [service._running.events.told.stored for service in (one, other)]
        assert sum(told) == 2_000


async def test_an_event_that_is_delivered_again_is_not_stored_again(
    server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    """As when the service dies between the commit and the acknowledgement."""
    path = tmp_path / "a.db"
    service = DatabaseService(server.url, path)
    await service.start()
    client = await connected(server.url)
    for number in range(20):
        await client.publish(LINE, line("eve", number))
    await stored(service.db, "eve", 20)
    created = (await client.jsm().stream_info("rosey_events")).created
    await service.stop()
    for number in range(5):
        await client.publish(LINE, line("eve", number))
    await client.flush()
    # What is waiting is recorded by somebody who dies before the acknowledgement.
    from abathur.chat import Event

    async with Database(path) as db:
        made = f"rosey_events@{created.isoformat()}"
        first = (await client.jsm().stream_info("rosey_events")).state.first_seq
        events = [Event("message.log", line("eve", n), key=(made, first + n)) for n in range(3)]
        assert (await db.chat.record(events)).stored == 3
    async with service:
        await stored(service.db, "eve", 25)
        assert service._running.events.told.repeated == 3


async def test_without_jetstream_events_are_stored_as_they_come(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path
) -> None:
    server = own_server(jetstream=False)
    async with DatabaseService(server.url, tmp_path / "a.db") as service:
        client = await connected(server.url)
        for number in range(100):
            await client.publish(LINE, line("fay", number))
        await stored(service.db, "fay", 100)
        server.restart()
        await until(lambda: _is_back(client))
        await until(lambda: _is_back(service.nats))
        await client.publish(LINE, line("fay", 100))
        await stored(service.db, "fay", 101)


async def _is_back(client: Any) -> bool:
    try:
        await client.flush(timeout=1)
    except Exception:  # noqa: BLE001  # not yet
        return False
    return bool(client.is_connected)


async def test_events_wait_while_the_database_is_locked(
    server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    async with (
        Database(path, lock_timeout=0.2) as db,
        DatabaseService(server.url, db) as service,
        Database(path) as other,
    ):
        client = await connected(server.url)
        async with other.engine.migration():  # holds the lock of all writers
            for number in range(10):
                await client.publish(LINE, line("gus", number))
            await asyncio.sleep(0.5)
        await stored(service.db, "gus", 10)
