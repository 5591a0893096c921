"""Each change of a task's status is published at least once, from the trail, by one instance at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from abathur import Database, Retention
from abathur.service import DatabaseService
from abathur.testing.nats_server import NatsServer
from tests.nats import remove_streams, until
from tests.service.conftest import COMMON, PREFIXES, Served

RESTARTS = pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning")
"""nats-py leaves one to the garbage collector when it connects anew, and that says so."""
pytestmark = [RESTARTS, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


class Ear:
    """Hears the task events of a service."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []

    async def listen(self, client: Any, prefix: str) -> Ear:
        async def hear(msg: Any) -> None:
            body = json.loads(msg.data)
            assert msg.headers["Nats-Msg-Id"] == f"{body['database_id']}.{body['audit_id']}"
            self.heard.append((msg.subject.removeprefix(f"{prefix}.events.task."), body))

        await client.subscribe(f"{prefix}.events.task.*", cb=hear)
        await client.flush()
        return self

    def of(self, task_id: str) -> list[str]:
        return [status for status, body in self.heard if body["task_id"] == task_id]

    async def until(self, task_id: str, *statuses: str) -> None:
        async def there() -> bool:
            return self.of(task_id) == list(statuses)

        await until(there)


async def test_every_change_of_a_tasks_life_is_told_in_order(served: Served) -> None:
    ear = await Ear().listen(served.client, served.prefix)
    task = await served.db.tasks.enqueue("x", agent_type="told", project="p")
    (claim,) = await served.db.tasks.claim("w-1", agent_types=["told"])
    await served.db.tasks.complete(claim)
    await ear.until(task.id, "ready", "running", "completed")
    body = ear.heard[-1][1]
    assert body["event_type"] == "task.completed"
    assert (body["previous"], body["status"], body["attempt"]) == ("running", "completed", 1)
    assert (body["agent_type"], body["project"], body["actor"]) == ("told", "p", "w-1")
    entries = await served.db.audit.list(task_id=task.id)
    assert [body["audit_id"] for _, body in ear.heard if body["task_id"] == task.id] == [
        e.id for e in entries
    ]


async def test_another_process_is_heard_too(served: Served, module_url: str) -> None:
    ear = await Ear().listen(served.client, served.prefix)
    async with Database(module_url, **COMMON) as other:
        task = await other.tasks.enqueue("x")
    await ear.until(task.id, "ready")


async def test_what_happened_while_no_service_ran_is_told_when_one_starts(
    nats_server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    client = await connected(nats_server.url)
    async with Database(tmp_path / "a.db", **COMMON) as db:
        before = await db.tasks.enqueue("before there was a service")
        service = DatabaseService(nats_server.url, db, next(PREFIXES))
        ear = await Ear().listen(client, service.prefix)
        async with service:
            first = await db.tasks.enqueue("while it ran")
            await ear.until(first.id, "ready")
        second = await db.tasks.enqueue("while it was down")
        async with service:
            await ear.until(second.id, "ready")
            assert ear.of(before.id) == []
            assert ear.of(first.id) == ["ready"]
            await remove_streams(service)


async def test_of_two_instances_one_publishes_and_the_other_goes_on_when_it_ends(
    nats_server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    client = await connected(nats_server.url)
    prefix = next(PREFIXES)
    ear = await Ear().listen(client, prefix)
    async with Database(tmp_path / "a.db", **COMMON) as db:
        one, other = (DatabaseService(nats_server.url, db, prefix) for _ in range(2))
        async with other:
            async with one:
                tasks = await db.tasks.enqueue_many([{"prompt": str(n)} for n in range(200)])
                await ear.until(tasks[-1].id, "ready")
                assert [service._running.outbox.told.holds for service in (one, other)].count(True) == 1
            task = await db.tasks.enqueue("the other one tells this")
            await ear.until(task.id, "ready")
            assert len(ear.heard) == 201  # nothing twice
            await remove_streams(other)


async def test_jetstream_keeps_the_events_of_tasks_and_drops_repeats(
    nats_server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    client = await connected(nats_server.url)
    async with Database(tmp_path / "a.db", **COMMON) as db:
        service = DatabaseService(nats_server.url, db, next(PREFIXES))
        async with service:
            for number in range(5):
                await db.tasks.enqueue(str(number))
            name = f"{service.prefix}_task_events"

            async def kept() -> bool:
                return (await client.jsm().stream_info(name)).state.messages == 5

            await until(kept)
        # As if the publisher had died before it wrote down how far it was.
        await db.run(_back_to, 0)
        async with service:
            await db.tasks.enqueue("last")

            async def six() -> bool:
                return (await client.jsm().stream_info(name)).state.messages >= 6

            await until(six)
            await asyncio.sleep(0.05)
            assert (await client.jsm().stream_info(name)).state.messages == 6
            await remove_streams(service)


def _back_to(last_id: int) -> Any:
    from abathur.script import Built

    yield Built("UPDATE audit_readers SET last_id = ?", [last_id])


async def test_a_task_is_not_pruned_before_it_was_told(
    own_server: Callable[..., NatsServer], tmp_path: Path
) -> None:
    server = own_server()
    async with Database(tmp_path / "a.db", **COMMON) as db:
        async with DatabaseService(server.url, db):
            pass
        for number in range(3):
            await db.tasks.enqueue(str(number))
        for claim in await db.tasks.claim("w", limit=3):
            await db.tasks.complete(claim)
        now = Retention(completed=timedelta(0))
        assert (await db.tasks.prune(now, dry_run=True)).tasks == 0
        assert (await db.tasks.prune(now)).tasks == 0
        async with DatabaseService(server.url, db) as service:

            async def told() -> bool:
                return service._running.outbox.told.events >= 9

            await until(told)
        assert (await db.tasks.prune(now)).tasks == 3
        assert (await db.audit.verify()).ok


async def test_task_events_outlive_a_restart_of_the_server(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path
) -> None:
    server = own_server()
    async with DatabaseService(server.url, tmp_path / "a.db") as service:
        client = await connected(server.url)
        made = []
        for round_ in range(3):
            made += await service.db.tasks.enqueue_many([{"prompt": str(n)} for n in range(20)])
            server.restart(kill=round_ == 1)
            made += await service.db.tasks.enqueue_many([{"prompt": str(n)} for n in range(20)])

        async def kept() -> bool:
            try:
                info = await client.jsm().stream_info("rosey_task_events")
            except Exception:  # noqa: BLE001  # the client is just connecting anew
                return False
            return info.state.messages >= len(made)

        await until(kept, seconds=40)
