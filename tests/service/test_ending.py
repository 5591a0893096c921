"""A service that has stopped hears nothing more, whatever the connection was like when it stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats.errors
import pytest

from abathur import Database
from abathur.service import DatabaseService, Limits
from abathur.testing.nats_server import NatsServer
from tests.nats import Caller, remove_streams, until
from tests.service.conftest import PREFIXES

RESTARTS = pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning")
"""nats-py leaves one to the garbage collector when it connects anew, and that says so."""
pytestmark = [RESTARTS, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

SUBJECTS = ["rosey.db.health", "rosey.db.kv.p.list", "rosey.tasks.list", "$SRV.PING", "$SRV.STATS"]


@pytest.mark.parametrize("jetstream", [True, False])
async def test_a_service_that_stops_while_the_server_is_away_does_not_come_back_with_it(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path, jetstream: bool
) -> None:
    server = own_server(jetstream=jetstream)
    shared, other = await connected(server.url), await connected(server.url)
    service = DatabaseService(shared, tmp_path / "a.db")
    await service.start()
    server.stop()

    async def is_away() -> bool:
        return shared.is_reconnecting and other.is_reconnecting

    await until(is_away)
    async with asyncio.timeout(20):
        await service.stop()
    server.start()

    async def is_back() -> bool:
        return shared.is_connected and other.is_connected

    await until(is_back)
    await shared.flush()
    for subject in SUBJECTS:
        with pytest.raises(nats.errors.NoRespondersError):
            await other.request(subject, b"{}", timeout=5)
    left = [one.subject for one in shared._subs.values() if not one.subject.startswith("_INBOX")]
    assert left == []


async def test_a_stop_that_is_cancelled_leaves_nothing_behind(
    nats_server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    """The suite's own check would find a worker, a connection or a thread that is left."""
    client = Caller(client=await connected(nats_server.url), prefix=next(PREFIXES))
    service = DatabaseService(nats_server.url, tmp_path / "a.db", client.prefix)
    await service.start()
    await remove_streams(service)
    async with (
        Database(tmp_path / "a.db") as other,
        other.engine.migration(),
    ):  # holds the lock of all writers
        asking = asyncio.create_task(client.ask("tasks.enqueue", {"prompt": "x"}))
        reading = asyncio.create_task(client.ask("tasks.wait", {"id": "none"}))
        await asyncio.sleep(0.2)
        stopping = asyncio.create_task(service.stop())
        await asyncio.sleep(0.2)
        stopping.cancel()
        answer = await asking
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert answer["error"]["code"] == "UNAVAILABLE"
    assert "Whether it was done is open" in answer["error"]["message"]
    assert (await reading)["success"] is False
    with pytest.raises(nats.errors.NoRespondersError):
        await client.ask("db.health")


async def test_what_waits_for_its_turn_is_answered_when_the_patience_is_over(
    nats_server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    client = Caller(client=await connected(nats_server.url), prefix=next(PREFIXES))
    service = DatabaseService(nats_server.url, tmp_path / "a.db", client.prefix, limits=Limits(concurrency=1))
    await service.start()
    await remove_streams(service)
    async with Database(tmp_path / "a.db") as other, other.engine.migration():
        asking = [asyncio.create_task(client.ask("tasks.enqueue", {"prompt": "x"})) for _ in range(5)]
        await asyncio.sleep(0.2)
        stopping = asyncio.create_task(service._running.stop(0.3))
        answers = await asyncio.gather(*asking)
        assert not stopping.done()  # the database has not decided yet
    await stopping
    await service.stop()
    assert {one["error"]["code"] for one in answers} == {"UNAVAILABLE"}
    assert sum("is open" in one["error"]["message"] for one in answers) == 1


async def test_a_write_whose_answer_is_too_large_is_answered_as_done(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path
) -> None:
    server = own_server(config="max_payload: 4096", jetstream=False)
    client = Caller(client=await connected(server.url), prefix="rosey")
    async with DatabaseService(server.url, tmp_path / "a.db") as service:
        fields = [{"name": "a", "type": "integer"}]
        await client.ok("db.schema.p.register", {"table": "items", "fields": fields})
        raw = b"[" + b",".join([b"{}"] * 1_000) + b"]"
        answer = await client.raw("db.row.p.items.insert", raw)
        assert answer == {"success": True, "created": 1_000, "truncated": True}
        made = await client.ok("tasks.enqueue", {"prompt": "y" * 3_900})
        assert made == {
            "id": made["id"], "task": {"id": made["id"], "status": "ready"}, "truncated": True,
        }  # fmt: skip
        assert (await service.db.tasks.get(made["id"])).prompt == "y" * 3_900
        assert (await client.refused("tasks.get", {"id": made["id"]}))[0] == "VALUE_TOO_LARGE"
