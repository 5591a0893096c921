"""Streams of a user's own, and events that nobody takes, do not stop the publisher of task events."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from abathur import Database, Retention
from abathur.audit import readers
from abathur.script import Built
from abathur.service import DatabaseService
from abathur.testing.nats_server import NatsServer
from tests.nats import until
from tests.service.conftest import COMMON
from tests.service.test_task_events import Ear


async def complete(db: Database) -> str:
    """A task that goes all the way."""
    task = await db.tasks.enqueue("x")
    (claim,) = await db.tasks.claim("w")
    await db.tasks.complete(claim)
    return task.id


async def until_told(db: Database) -> None:
    """Until the publisher has nothing before it."""

    async def all_told() -> bool:
        return set((await db.read(readers.behind)).values()) == {0}

    await until(all_told)


@pytest.mark.parametrize("status", ["blocked", "completed"])
async def test_a_stream_of_somebodys_own_over_some_statuses_is_used_and_the_others_are_published_too(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path, status: str
) -> None:
    server = own_server()
    client = await connected(server.url)
    await client.jsm().add_stream(name="mine", subjects=[f"rosey.events.task.{status}"])
    ear = await Ear().listen(client, "rosey")
    async with Database(tmp_path / "a.db", **COMMON) as db, DatabaseService(server.url, db):
        for _ in range(3):
            await ear.until(await complete(db), "ready", "running", "completed")
    kept = (await client.jsm().stream_info("mine")).state.messages
    assert kept == (3 if status == "completed" else 0)


async def test_an_event_that_is_too_large_for_a_stream_is_skipped_with_an_error(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path, caplog: Any
) -> None:
    server = own_server()
    client = await connected(server.url)
    await client.jsm().add_stream(name="mine", subjects=["rosey.events.task.*"], max_msg_size=64)
    async with Database(tmp_path / "a.db", **COMMON) as db, DatabaseService(server.url, db):
        with caplog.at_level(logging.ERROR, "abathur.service"):
            await complete(db)
            await until_told(db)
    assert "was skipped" in caplog.text
    assert (await client.jsm().stream_info("mine")).state.messages == 0


async def test_an_event_that_is_too_large_for_the_server_is_skipped_with_an_error(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path, caplog: Any
) -> None:
    server = own_server(config="max_payload: 420", jetstream=False)
    client = await connected(server.url)
    async with Database(tmp_path / "a.db", **COMMON) as db, DatabaseService(server.url, db) as service:
        ear = await Ear().listen(client, "rosey")
        with caplog.at_level(logging.ERROR, "abathur.service"):
            await db.tasks.enqueue("y" * 500)
            await until_told(db)
        assert "was skipped" in caplog.text
        assert ear.heard == []
        assert service.nats.stats["reconnects"] == 0


async def test_a_publisher_that_gets_nowhere_for_a_week_holds_up_no_pruning(tmp_path: Path) -> None:
    async with Database(tmp_path / "a.db", **COMMON) as db:
        await db.run(readers.begin, "stuck")
        await complete(db)
        now = Retention(completed=timedelta(0))
        assert (await db.tasks.prune(now, dry_run=True)).tasks == 0
        await db.run(_seen_long_ago)
        assert await db.run(readers.hold, "stuck", "me", 15.0) is not None
        assert (await db.tasks.prune(now, dry_run=True)).tasks == 1


def _seen_long_ago() -> Any:
    yield Built("UPDATE audit_readers SET seen_at = seen_at - ?", [8 * 86_400 * 1_000_000])
