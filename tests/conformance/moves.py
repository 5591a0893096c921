"""What the tests of moving share: a database with something of everything, and a look at every row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import frozen

from abathur import Claim, Database, Retention
from abathur.audit import cutting, readers
from abathur.chat import Event
from abathur.moving.tables import ELSEWHERE
from abathur.projects import claim as claims
from abathur.projects import decision
from abathur.projects.index import jobs
from abathur.schema.declare import Schema
from abathur.script import Built, Script, Statement


@frozen
class Filled:
    """What is known of a database that `fill` has filled."""

    claim: Claim
    """Of a task that is running."""
    head: str
    """Of its trail."""


async def fill(db: Database, monkeypatch: Any) -> Filled:
    """Tasks in every status, edges, keys, attempts, progress; a trail that was pruned, cut and joined."""
    monkeypatch.setattr(cutting, "FEWEST", 5)
    for n in range(8):
        await db.tasks.enqueue(f"old {n}")
        (claim,) = await db.tasks.claim("w")
        await db.tasks.complete(claim)
    assert (await db.tasks.prune(Retention(completed=timedelta(0)))).seals
    first = await db.tasks.enqueue("first — ünïcode 🦋", key="a key", input={"text": "x" * 3000}, priority=9)
    await db.tasks.enqueue("blocked", depends_on=[first.id], parent=first.id)
    await db.tasks.enqueue("for later", agent_type="other", run_at=datetime.now(UTC) + timedelta(days=9))
    for n in range(6):
        await db.tasks.enqueue(f"{n}", agent_type="ending", max_attempts=2)
    ending = await db.tasks.claim("w2", agent_types=["ending"], limit=5)
    await db.tasks.complete(ending[0], {"done": [1, 2.5, None]})
    await db.tasks.fail(ending[1], "for good", retry=False)
    await db.tasks.fail(ending[2], "again", retry_in=3600)
    await db.tasks.release(ending[3])
    await db.tasks.cancel(ending[4].task.id, reason="not needed")
    assert (await db.tasks.prune(Retention(cancelled=timedelta(0)))).audit_rows
    await _chat(db)
    await db.run(jobs.start, jobs.request("a project", "/somewhere", "", force=False, actor="x"))
    await _plugins(db)
    await db.run(_registry)
    await db.run(readers.begin, "a reader")
    await db.audit.checkpoint()
    (claim,) = await db.tasks.claim("w1", agent_types=["general"], lease=3600)
    await db.tasks.heartbeat(claim, progress=0.25, message="a quarter")
    return Filled(claim, str(await db.audit.head()))


async def _chat(db: Database) -> None:
    await db.chat.user_joined("ünïcode 🦋")
    await db.chat.record([Event("message.log", {"username": "b", "message": "hello"}, ("a stream", 7))])
    await db.chat.log_user_count(3, 5)
    await db.chat.update_status({"afk": False})
    await db.chat.mark_failed(await db.chat.enqueue("good morning"), "muted")
    await db.chat.log_command("b", "!kick a", result="error", timestamp=1.5, error="no")


async def _plugins(db: Database) -> None:
    store = db.rows.for_plugin("quotes")
    fields = {"text": {"type": "text"}, "ratio": {"type": "float"}, "done": {"type": "boolean"}}
    await store.register({"table": "quotes", "fields": fields, "indexes": ["text"]})
    rows = [{"text": "ünïcode 🦋", "ratio": 1 / 3}, {"done": True, "ratio": 2}]
    await store.insert("quotes", rows, request_id="r-1")
    await store.kv.set("a key", {"of": ["a", "plugin"]}, ttl_seconds=3600)


def _registry(now: int) -> Script[None]:
    """A project without a store: what lies beside the registry is moved by itself."""
    project = {"project_id": "a project", "now": now}
    yield Statement(
        "projects.insert", id="a project", name="ünïcode 🦋", description="of trees", database_name="trees_1",
        metadata='{"a": 1}', now=now,
    )  # fmt: skip
    yield Statement(
        "projects.put_root", root="/trees", name="ünïcode 🦋", persisted=1, directory="1:2", **project
    )
    yield Statement("projects.set_working_directory", session="s", directory="/trees", now=now)
    yield from claims.note(
        [decision.Event(project_id="a project", kind="created", detail={"root": "/trees"})], "e", "x", now
    )


def _rows(schemas: Sequence[Schema]) -> Script[dict[str, list[dict[str, Any]]]]:
    found = {}
    for table in (table for schema in schemas for table in schema.tables):
        if table.name not in ELSEWHERE:
            order = ", ".join(table.key or [column.name for column in table.columns])
            rows = yield Built(f"SELECT * FROM {table.name} ORDER BY {order}")
            found[table.name] = [dict(row) for row in rows]
    return found


async def everything(db: Database) -> dict[str, list[dict[str, Any]]]:
    """Every row of every declared table, except the stamp and the workers."""
    return await db.read(_rows, await db.declared())


def run(sql: str, *params: Any) -> Script[list[dict[str, Any]]]:
    """A script: one statement of the test's own."""
    rows = yield Built(sql, params)
    return [dict(row) for row in rows]
