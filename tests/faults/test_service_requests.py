"""Requests that make no sense, and names that mean harm: thousands of them at a service over NATS."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest

from abathur import Database
from abathur.service import DatabaseService, subjects
from abathur.service.envelope import CODES
from abathur.testing.nats_fixtures import nats_server
from abathur.testing.nats_server import NatsServer
from tests.faults.budget import Budget
from tests.nats import Caller, remove_streams

__all__ = ["nats_server"]

BATCH = 250
"""Requests in flight at a time."""
BUGS = {"INTERNAL_ERROR", "DATABASE_ERROR"}
INSIDE = re.compile(r"SELECT |INSERT INTO|Traceback|\.py\b|/tmp/|sqlite3?\.", re.IGNORECASE)
OPS = [
    *(f"db.row.{{}}.{op}" for op in subjects.ROW_OPS),
    *(f"db.row.{{}}.items.{op}" for op in subjects.ROW_OPS),
    *(f"db.schema.{{}}.{op}" for op in subjects.SCHEMA_OPS),
    *(f"db.kv.{{}}.{op}" for op in subjects.KV_OPS),
    *(f"db.kv.{op}" for op in subjects.KV_OPS),
    *(f"db.query.{op}" for op in subjects.QUERY_OPS),
    *(f"db.messages.outbound.{op}" for op in subjects.OUTBOUND_OPS),
    "db.stats.recent_chat.get",
    *(f"tasks.{op}" for op in subjects.TASK_OPS if op != "wait"),
]
WORDS = [
    "table", "id", "data", "filters", "operations", "sort", "limit", "offset", "aggregates", "group_by",
    "fields", "schema", "name", "type", "key", "value", "prefix", "plugin_name", "request_id", "username",
    "message", "text", "score", "prompt", "depends_on", "tasks", "input", "$or", "$and", "$not", "$in",
    "$gt", "$inc", "$set", "$count",
]  # fmt: skip
ODD = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 1e308, 0.1, "", "items", "x",
    "'; DROP TABLE tasks; --", "\0", "\u202e", "\u00e9" * 50, "integer", "text", "2026-13-45", "9" * 400, [],
    {}, [[]], [None], {"": None}, {"$eq": {}},
]  # fmt: skip


def value(draw: random.Random, depth: int = 0) -> Any:
    """Something that is JSON, mostly nonsense."""
    kind = draw.random()
    if kind < 0.5 or depth > 4:
        return draw.choice(ODD)
    if kind < 0.8:
        return {draw.choice(WORDS): value(draw, depth + 1) for _ in range(draw.randrange(4))}
    return [value(draw, depth + 1) for _ in range(draw.randrange(4))]


def body(draw: random.Random) -> bytes:
    """A body: random bytes, JSON that is cut off, or JSON that means nothing."""
    kind = draw.random()
    if kind < 0.1:
        return draw.randbytes(draw.randrange(200))
    found = {draw.choice(WORDS): value(draw) for _ in range(draw.randrange(5))}
    if draw.random() < 0.7:
        found["table"] = draw.choice(["items", "items", "other", "tasks", 5])
    raw = json.dumps(found).encode()
    return raw[: draw.randrange(len(raw))] if kind < 0.2 else raw


@pytest.fixture
async def caller(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Caller]:
    """A service with a table `items` of the plugin `p`, and who asks it."""
    async with (
        Database(tmp_path / "agents.db", environment="test", durability="normal") as db,
        DatabaseService(nats_server.url, db, f"faults-{random.randrange(10**9)}") as service,
    ):
        client = await nats.connect(nats_server.url)
        caller = Caller(client=client, prefix=service.prefix, timeout=60)
        fields = [{"name": "text", "type": "text"}, {"name": "score", "type": "integer"}]
        await caller.ok("db.schema.p.register", {"table": "items", "fields": fields})
        yield caller
        assert (await db.audit.verify()).ok
        await remove_streams(service)
        await client.close()


def resident() -> int:
    """KiB of memory of this process, in which the service runs too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


@pytest.mark.row("R19")
@pytest.mark.leaks_allowed("readers are opened when they are first needed")
@pytest.mark.timeout(600)
async def test_every_malformed_request_gets_a_typed_answer(caller: Caller, budget: Budget, figure) -> None:
    """R19: and none costs memory that is not given back."""
    draw = budget.draw()
    times: list[float] = []
    codes: dict[str, int] = {}
    began_with = 0

    async def one(subject: str, raw: bytes) -> None:
        began = time.perf_counter()
        answer = await caller.raw(subject, raw)
        times.append(time.perf_counter() - began)
        code = "ok" if answer["success"] else answer["error"]["code"]
        codes[code] = codes.get(code, 0) + 1
        assert code == "ok" or code in CODES
        assert code not in BUGS, (subject, raw, answer)
        assert code == "ok" or not INSIDE.search(answer["error"]["message"]), (subject, raw, answer)

    for done in budget(quick=10_000, long=1_000_000, each=BATCH):
        await asyncio.gather(*(one(draw.choice(OPS).format("p"), body(draw)) for _ in range(BATCH)))
        if done == BATCH * 8:
            began_with = resident()
    grown = (resident() - began_with) / 1024
    assert len(codes) >= 4
    assert grown < 64 + budget.done / 10_000  # MiB; what was stored is cached, what was refused is gone
    p99 = sorted(times)[len(times) * 99 // 100] * 1_000
    figure(f"{len(times):,} malformed requests, {len(codes)} codes, p99 {p99:.0f} ms, {grown:+.0f} MiB")


@pytest.mark.row("R20")
@pytest.mark.leaks_allowed("readers are opened when they are first needed")
@pytest.mark.timeout(600)
async def test_no_hostile_name_reaches_another_namespace(caller: Caller, budget: Budget, figure) -> None:
    """R20: nothing is read, written or notified across namespaces, whatever the names are."""
    draw = budget.draw()
    await caller.ok("db.row.p.items.insert", {"text": "mine"})
    await caller.ok("db.kv.p.set", {"key": "k", "value": "mine"})
    alphabet = "*>. \"';\\/%$a_-pP\0\r\n\t\u0430\uff41\u202e\u00e9{}"
    seen = 0

    def hostile() -> str:
        if draw.random() < 0.02:
            return draw.choice("ap*") * 2_000
        return "".join(draw.choices(alphabet, k=draw.randrange(1, 8)))

    async def one(subject: str, asked: Any) -> None:
        nonlocal seen
        try:
            answer = await caller.ask(subject, asked)
        except (nats.errors.BadSubjectError, nats.errors.NoRespondersError):
            return  # no service has seen it
        seen += 1
        assert answer.get("data") != "mine"
        assert "mine" not in json.dumps(answer)
        if not answer["success"]:
            assert answer["error"]["code"] not in BUGS, (subject, answer)

    for _ in budget(quick=2_000, long=100_000, each=10):
        name, other = hostile(), hostile()
        await asyncio.gather(
            one(f"db.row.{name}.items.search", {}),
            one(f"db.row.{name}.search", {"table": "items"}),
            one(f"db.row.p{name}.items.delete", {"filters": {"id": {"$gt": 0}}}),
            one(f"db.kv.{name}.get", {"key": "k"}),
            one("db.kv.get", {"plugin_name": name, "key": "k"}),
            one("db.kv.delete", {"plugin_name": f"p{name}", "key": "k"}),
            one("db.row.q.search", {"table": f"{name}items"}),
            one("db.row.q.search", {"table": name, "filters": {other: 1}}),
            one("db.schema.q.register", {"table": name, "fields": [{"name": other, "type": "text"}]}),
            one(f"db.schema.{name}.unregister", {"table": "items"}),
        )
    (row,) = (await caller.ok("db.row.p.items.search"))["rows"]
    assert row["text"] == "mine"
    assert (await caller.ok("db.kv.p.get", {"key": "k"}))["value"] == "mine"
    figure(f"{budget.done:,} hostile requests, {seen:,} seen by the service, nothing reached")
