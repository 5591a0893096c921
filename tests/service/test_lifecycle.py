"""A service is made in several forms, cleans up after itself, and leaves open what was passed in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats.errors
import pytest

from abathur import Database, errors
from abathur.service import DatabaseService, Limits
from abathur.testing.nats_server import NatsServer
from tests.nats import Caller, remove_streams, until
from tests.service.conftest import COMMON, PREFIXES


@pytest.mark.parametrize("form", ["path", "url", "relative url", "config", "both", "dict for the database"])
async def test_each_form_of_a_database_works(nats_server: NatsServer, tmp_path: Path, form: str) -> None:
    path, prefix = tmp_path / "agents.db", next(PREFIXES)
    part = {"url": f"sqlite+aiosqlite:///{path}", "echo": True}
    config = {"database": part, "nats": {"url": nats_server.url}}
    service = {
        "path": lambda: DatabaseService(nats_server.url, path, prefix),
        "url": lambda: DatabaseService(nats_server.url, f"sqlite+aiosqlite:///{path}", prefix),
        "relative url": lambda: DatabaseService(nats_server.url, f"sqlite:///{path}", prefix=prefix),
        "config": lambda: DatabaseService(config, prefix=prefix),
        "both": lambda: DatabaseService(nats_server.url, config, prefix),
        "dict for the database": lambda: DatabaseService(nats_server.url, {"database": part}, prefix),
    }[form]()
    async with service:
        assert path.exists()
        assert service.db.name == str(path)
        await service.db.tasks.enqueue("x")
        await remove_streams(service)


async def test_start_and_stop_may_be_called_twice_and_a_service_starts_again(
    nats_server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    service = DatabaseService(nats_server.url, tmp_path / "agents.db", next(PREFIXES))
    client = Caller(client=await connected(nats_server.url), prefix=service.prefix)
    await service.stop()
    for _ in range(2):
        await service.start()
        await service.start()
        made = await client.ok("tasks.enqueue", {"prompt": "x"})
        assert (await client.ok("tasks.get", {"id": made["id"]}))["exists"]
        await remove_streams(service)
        await service.stop()
        await service.stop()
        with pytest.raises(nats.errors.NoRespondersError):
            await client.ask("db.health")
    with pytest.raises(errors.LifecycleError, match="does not run"):
        _ = service.nats


async def test_what_was_passed_in_stays_open(nats_server: NatsServer, connected: Any, tmp_path: Path) -> None:
    client = await connected(nats_server.url)
    async with Database(tmp_path / "agents.db", **COMMON) as db:
        for _ in range(2):
            async with DatabaseService(client, db, next(PREFIXES)) as service:
                assert service.db is db
                assert service.nats is client
                await remove_streams(service)
            assert client.is_connected
            await db.tasks.enqueue("x")


async def test_a_database_that_was_not_opened_yet_is_opened_and_left_open(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    db = Database(tmp_path / "agents.db", **COMMON)
    async with DatabaseService(nats_server.url, db, next(PREFIXES)) as service:
        await remove_streams(service)
    await db.tasks.enqueue("x")
    await db.close()


async def test_a_start_that_fails_half_way_leaves_nothing_open(
    own_server: Callable[..., NatsServer], tmp_path: Path
) -> None:
    """What is left open, the suite's own check for threads, descriptors and tasks would find."""
    server = own_server()
    (tmp_path / "bad.db").write_bytes(b"no database " * 100)
    with pytest.raises(errors.NotADatabaseError):
        await DatabaseService(server.url, tmp_path / "bad.db").start()
    service = DatabaseService(server.url, tmp_path / "good.db")
    server.stop()
    with pytest.raises(errors.NatsUnavailableError):
        await service.start()
    server.start()
    await service.start()
    await service.stop()


async def test_a_stream_that_is_not_ours_is_a_conflict_and_stays_as_it_is(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path
) -> None:
    server = own_server()
    manager = (await connected(server.url)).jsm()
    await manager.add_stream(name="rosey_events", subjects=["something.else"])
    with pytest.raises(errors.StreamConflictError) as caught:
        await DatabaseService(server.url, tmp_path / "a.db").start()
    assert caught.value.differing == [
        "it takes something.else",
        "its retention is limits, not workqueue",
    ]
    await manager.delete_stream("rosey_events")
    await manager.add_stream(name="mine", subjects=["rosey.db.message.log"])
    with pytest.raises(errors.StreamConflictError, match="another stream"):
        await DatabaseService(server.url, tmp_path / "a.db").start()
    assert (await manager.stream_info("mine")).config.subjects == ["rosey.db.message.log"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("nats://127.0.0.1:1",), "database"),
        ((5, "a.db"), "nats"),
        (({"database": {}},), "names no database"),
        (({"database": {"url": "a.db", "urll": 1}},), "urll"),
        (({"database": {"url": "a.db"}, "nat": {}},), "nat"),
        (({"database": 5},), "database"),
        (("nats://127.0.0.1:1", "a.db", "Rosey"), "prefix"),
        (("nats://127.0.0.1:1", "a.db", "rosey.>"), "prefix"),
        (("nats://127.0.0.1:1", "a.db", ""), "prefix"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_opened(arguments: Any, word: str) -> None:
    with pytest.raises(errors.InvalidInputError, match=word):
        DatabaseService(*arguments)


@pytest.mark.parametrize("limits", [{"concurrency": 0}, {"rate": -1}, {"timeout": "long"}, {"batch": True}])
def test_a_limit_that_is_none_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidInputError, match=next(iter(limits))):
        Limits(**limits)


async def test_a_prefix_of_several_tokens_works(
    nats_server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    prefix = f"acme.{next(PREFIXES)}"
    async with DatabaseService(nats_server.url, tmp_path / "a.db", prefix) as service:
        client = Caller(client=await connected(nats_server.url), prefix=prefix)
        assert (await client.ok("db.health"))["prefix"] == prefix
        manager = service.nats.jsm()
        names = [str(info.config.name) for info in await manager.streams_info()]
        ours = [name for name in names if name.startswith(prefix.replace(".", "+"))]
        assert len(ours) == 2
        for name in ours:
            await manager.delete_stream(name)


async def test_too_many_requests_are_refused_with_a_code_and_the_others_are_answered(
    nats_server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    limits = Limits(concurrency=2, waiting=5)
    async with DatabaseService(nats_server.url, tmp_path / "a.db", next(PREFIXES), limits=limits) as service:
        client = Caller(client=await connected(nats_server.url), prefix=service.prefix)
        answers = await asyncio.gather(*(client.ask("tasks.enqueue", {"prompt": "x"}) for _ in range(200)))
        done = [one for one in answers if one["success"]]
        assert 5 <= len(done) == (await service.db.tasks.counts())["ready"]
        assert {one["error"]["code"] for one in answers if not one["success"]} == {"RATE_LIMITED"}
        await remove_streams(service)


async def test_a_plugin_that_asks_too_often_is_slowed_down_and_others_are_not(
    nats_server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    limits = Limits(rate=5)
    async with DatabaseService(nats_server.url, tmp_path / "a.db", next(PREFIXES), limits=limits) as service:
        client = Caller(client=await connected(nats_server.url), prefix=service.prefix)
        answers = [await client.ask("db.kv.loud.list") for _ in range(12)]
        codes = {one["error"]["code"] for one in answers if not one["success"]}
        assert "RATE_LIMITED" in codes
        assert (await client.ask("db.kv.quiet.list")).get("error", {}).get("code") != "RATE_LIMITED"
        await remove_streams(service)


async def test_a_rate_of_less_than_one_a_second_lets_the_first_request_in_and_binds_each_plugin_by_itself(
    nats_server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    limits = Limits(rate=0.001)
    async with DatabaseService(nats_server.url, tmp_path / "a.db", next(PREFIXES), limits=limits) as service:
        client = Caller(client=await connected(nats_server.url), prefix=service.prefix)
        for plugin in ("loud", "quiet"):
            await client.ok("db.kv.list", {"plugin_name": plugin})
            assert (await client.refused("db.kv.list", {"plugin_name": plugin}))[0] == "RATE_LIMITED"
            assert (await client.refused(f"db.kv.{plugin}.list"))[0] == "RATE_LIMITED"
        await remove_streams(service)


async def test_a_request_that_takes_too_long_is_answered_with_a_time_out(
    nats_server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    limits = Limits(timeout=0.1)
    path = tmp_path / "a.db"
    async with (
        DatabaseService(nats_server.url, path, next(PREFIXES), limits=limits) as service,
        Database(path) as other,
    ):
        client = Caller(client=await connected(nats_server.url), prefix=service.prefix)
        async with other.engine.migration():  # holds the lock of all writers
            code, message = await client.refused("tasks.enqueue", {"prompt": "x"})
        assert (code, "0.1 s" in message) == ("TIMEOUT", True)
        await remove_streams(service)


async def test_a_plugin_that_is_not_served_is_refused(
    nats_server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    async with DatabaseService(
        nats_server.url, tmp_path / "a.db", next(PREFIXES), plugins={"quotes"}
    ) as service:
        client = Caller(client=await connected(nats_server.url), prefix=service.prefix)
        await client.ok("db.schema.quotes.list")
        await client.ok("db.kv.list", {"plugin_name": "quotes"})
        for subject, body in (
            ("db.schema.other.list", {}),
            ("db.row.other.items.search", {}),
            ("db.kv.other.list", {}),
            ("db.kv.list", {"plugin_name": "other"}),
        ):
            assert (await client.refused(subject, body))[0] == "PERMISSION_DENIED"
        await remove_streams(service)


async def test_a_service_looks_after_its_database(nats_server: NatsServer, tmp_path: Path) -> None:
    """As a runner does: where only a service runs, nobody else joins the seals of the trail."""
    async with Database(tmp_path / "a.db", **COMMON) as db:
        await db.tasks.enqueue("x")
        async with DatabaseService(nats_server.url, db, next(PREFIXES)) as service:

            async def joined() -> bool:
                return (await db.audit.verify()).checkpoints > 0

            await until(joined)
            await remove_streams(service)
