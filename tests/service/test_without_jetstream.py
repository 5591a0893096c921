"""A service does without JetStream only where there is none, not where it cannot answer just now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats.js.errors
import pytest

from abathur import Database, errors
from abathur.service import DatabaseService, Limits, dispatch, events
from abathur.testing.nats_server import NatsServer
from tests.nats import Caller, until
from tests.service.test_events import LINE, line, stored

LEADERLESS = (
    'cluster { name: c, listen: "127.0.0.1:-1", routes: ["nats://127.0.0.1:1", "nats://127.0.0.1:2"] }'
)
"""One server of a cluster whose other servers are away, so that its JetStream has no leader."""


async def test_a_jetstream_that_has_no_leader_is_waited_for_and_not_done_without(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path
) -> None:
    server = own_server(config=LEADERLESS)
    client = await connected(server.url)

    async def says_so() -> bool:  # at first it says nothing
        try:
            await client.jsm()._api_request("$JS.API.INFO", timeout=1)
        except nats.js.errors.ServiceUnavailableError as error:
            return error.err_code == 10008
        except TimeoutError:
            return False
        return False

    await until(says_so, seconds=60, pause=0.5)
    with pytest.raises(errors.NatsUnavailableError, match="JetStream system temporarily unavailable"):
        await DatabaseService(server.url, tmp_path / "a.db").start()
    async with DatabaseService(server.url, tmp_path / "a.db", jetstream=False) as service:
        assert service.events_mode == "at-most-once"


async def test_events_wait_while_the_database_is_locked_and_those_beyond_are_counted(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_WAITING", 100)
    server, path = own_server(jetstream=False), tmp_path / "a.db"
    limits = Limits(batch=10)
    async with (
        Database(path, lock_timeout=0.2) as db,
        DatabaseService(server.url, db, limits=limits) as service,
        Database(path) as other,
    ):
        client = await connected(server.url)
        told = service._running.events.told
        async with other.engine.migration():  # holds the lock of all writers
            for number in range(10):
                await client.publish(LINE, line("hal", number))
            await client.flush()
            await until(lambda: _is_empty(told.waiting))
            for number in range(150):
                await client.publish(LINE, line("hal", number))

            async def lost() -> bool:
                return bool(told.lost == 50)

            await until(lost)
            await asyncio.sleep(0.5)  # more than once the database says that it is locked
        await stored(db, "hal", 110)


async def _is_empty(waiting: Any) -> bool:
    return not waiting


async def test_bodies_that_wait_for_their_turn_have_a_bound_together(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "MOST_BYTES", 100_000)
    server = own_server(jetstream=False)
    limits = Limits(concurrency=1, body=50_000)
    async with DatabaseService(server.url, tmp_path / "a.db", limits=limits):
        client = Caller(client=await connected(server.url), prefix="rosey")
        assert (await client.refused("tasks.enqueue", {"prompt": "x" * 60_000}))[0] == "VALUE_TOO_LARGE"
        asked = {"prompt": "x", "input": "y" * 40_000}
        answers = await asyncio.gather(*(client.ask("tasks.enqueue", asked) for _ in range(40)))
        codes = {one["error"]["code"] for one in answers if not one["success"]}
        assert codes == {"RATE_LIMITED"}
        assert (await client.ok("tasks.enqueue", asked))["id"]  # nothing of the bound is used up
