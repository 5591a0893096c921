"""The fixtures for people's tests: as anybody uses them, under both plugins that run asynchronous tests."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from tests.nats import Caller

FIELDS = [{"name": "text", "type": "text", "required": True}]

TESTS = """
import json

import pytest

FIELDS = [{"name": "text", "type": "text"}]

def test_a_plain_test_has_a_server(nats_server):
    assert nats_server.url.startswith("nats://127.0.0.1:")

def test_a_plain_test_has_no_client(nats_client):
    pass

@pytest.mark.MARK
async def test_an_async_test_has_a_service(database_service, nats_client, schema_registered):
    answer = await schema_registered(FIELDS, plugin="quotes", table="quotes")
    assert answer["created"]
    subject = f"{database_service.prefix}.db.row.quotes.quotes.insert"
    reply = await nats_client.request(subject, json.dumps({"text": "x"}).encode(), timeout=10)
    assert json.loads(reply.data)["id"] == 1
    await database_service.db.tasks.enqueue("x")

@pytest.mark.MARK
async def test_each_test_has_a_fresh_one(database_service, nats_client, schema_registered):
    assert (await schema_registered(FIELDS, plugin="quotes", table="quotes"))["created"]
    assert await database_service.db.tasks.counts() == {}

@pytest.mark.MARK
async def test_a_schema_that_is_refused_fails_the_test(schema_registered):
    await schema_registered([{"name": "Text", "type": "text"}])
"""


async def test_a_schema_is_registered_with_one_call(
    database_service: Any, nats_client: Any, schema_registered: Any
) -> None:
    caller = Caller(client=nats_client, prefix=database_service.prefix)
    assert (await schema_registered(FIELDS))["created"]
    assert (await caller.ok("db.row.test.items.insert", {"text": "x"}))["id"] == 1
    await schema_registered(FIELDS, plugin="quotes", table="quotes", immutable_fields=["text"])
    assert (await caller.ok("db.schema.quotes.list"))["tables"] == ["quotes"]


async def test_a_schema_that_is_refused_fails_with_the_services_own_message(schema_registered: Any) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"test\.items was not registered: VALIDATION_ERROR: "):
        await schema_registered([])


async def test_a_test_may_stop_the_service(database_service: Any) -> None:
    await database_service.stop()
    assert not database_service.is_running


@pytest.mark.parametrize("plugin", ["anyio", "asyncio"])
def test_the_fixtures_work_under_each_plugin(tmp_path: Path, plugin: str) -> None:
    (tmp_path / "test_it.py").write_text(TESTS.replace("MARK", plugin))
    (tmp_path / "conftest.py").write_text(
        "import pytest\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    other = {"anyio": ["-p", "no:asyncio"], "asyncio": ["-p", "no:anyio"]}[plugin]
    named = [] if entry_points(group="pytest11", name="abathur") else ["-p", "abathur.testing.plugin"]
    command = [sys.executable, "-m", "pytest", "-q", *named, "-n", "0", *other]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    for outcome in ("3 passed", "1 failed", "1 error"):
        assert outcome in done.stdout, done.stdout + done.stderr
    assert "test.items was not registered: VALIDATION_ERROR" in done.stdout
    assert "nats_client is for asynchronous tests" in done.stdout
