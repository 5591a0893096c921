"""Several instances on one database share the work, and agree on what there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from abathur import Database
from abathur.service import DatabaseService
from tests.nats import Caller
from tests.service.conftest import COMMON, Served

FIELDS = [{"name": "a", "type": "text"}]


@pytest.fixture
async def second(served: Served, module_url: str) -> AsyncIterator[DatabaseService]:
    """Another instance, with a Database of its own, as in another process."""
    async with (
        Database(module_url, **COMMON) as db,
        DatabaseService(served.server.url, db, served.prefix) as service,
    ):
        yield service


async def test_a_schema_that_one_instance_has_registered_is_known_to_the_other_at_once(
    served: Served, second: DatabaseService
) -> None:
    plugin = served.plugin("shared")
    for number in range(10):
        table = f"t{number}"
        await served.ok(f"db.schema.{plugin}.register", {"table": table, "fields": FIELDS})
        # Whichever instance gets these, it knows the table.
        await asyncio.gather(*(served.ok(f"db.row.{plugin}.{table}.insert", {"a": "x"}) for _ in range(6)))
        wider = [*FIELDS, {"name": "b", "type": "integer"}]
        await served.ok(f"db.schema.{plugin}.register", {"table": table, "fields": wider})
        await asyncio.gather(
            *(served.ok(f"db.row.{plugin}.{table}.insert", {"a": "x", "b": 1}) for _ in range(6))
        )
        assert (await served.ok(f"db.row.{plugin}.{table}.search"))["count"] == 12


async def test_both_instances_take_a_part_and_each_insert_is_stored_once(
    served: Served, second: DatabaseService
) -> None:
    plugin = served.plugin("both")
    await served.ok(f"db.schema.{plugin}.register", {"table": "items", "fields": FIELDS})
    before = [one.requests for one in second._running.counted.values()]
    made = await asyncio.gather(
        *(served.ok(f"db.row.{plugin}.items.insert", {"a": str(n)}) for n in range(300))
    )
    assert len({one["id"] for one in made}) == 300
    found = (await served.ok(f"db.row.{plugin}.items.search", {"limit": 1_000}))["rows"]
    assert sorted(int(row["a"]) for row in found) == list(range(300))
    taken = sum(one.requests for one in second._running.counted.values()) - sum(before)
    assert 0 < taken < 301


async def test_eight_registrations_at_once_make_one_schema(served: Served, second: DatabaseService) -> None:
    plugin = served.plugin("race")
    body = {"table": "items", "fields": FIELDS}
    answers = await asyncio.gather(*(served.ok(f"db.schema.{plugin}.register", body) for _ in range(8)))
    assert [answer["created"] for answer in answers].count(True) == 1


async def test_an_instance_that_is_stopped_under_load_loses_nothing_that_it_acknowledged(
    served: Served, module_url: str
) -> None:
    plugin = served.plugin("load")
    await served.ok(f"db.schema.{plugin}.register", {"table": "items", "fields": FIELDS})
    answered: list[int] = []
    stopping = asyncio.Event()

    async def ask(number: int) -> None:
        while not stopping.is_set():
            answer = await served.ok(f"db.row.{plugin}.items.insert", {"a": str(number)})
            answered.append(answer["id"])

    asking = [asyncio.create_task(ask(number)) for number in range(16)]
    for _ in range(3):
        async with (
            Database(module_url, **COMMON) as db,
            DatabaseService(served.server.url, db, served.prefix),
        ):
            await asyncio.sleep(0.1)
    stopping.set()
    await asyncio.gather(*asking)  # every request was answered, also those that a stopped one had taken
    caller: Any = Caller(client=served.client, prefix=served.prefix)
    told = await caller.ok(f"db.row.{plugin}.items.search", {"aggregates": {"n": {"$count": "*"}}})
    assert told["n"] == len(answered) == len(set(answered))
