"""Every subject answers every malformed request with a code, and never with what should stay inside."""

from __future__ import annotations

import asyncio
import json
import random
import re
from typing import Any

import pytest

from abathur import errors
from abathur.service import envelope, subjects
from tests.service.conftest import Served

INSIDE = re.compile(
    r"SELECT|INSERT INTO|UPDATE .* SET|DELETE FROM|sqlite|postgres|Traceback|\.py\b|/tmp|agents\.db|line \d+",
    re.IGNORECASE,
)
"""What no message may hold: SQL, a path, a traceback."""

SUBJECTS = [
    *(f"db.row.p.{op}" for op in subjects.ROW_OPS),
    *(f"db.row.p.items.{op}" for op in subjects.ROW_OPS),
    *(f"db.schema.p.{op}" for op in subjects.SCHEMA_OPS),
    "db.row.p.schema.register",
    *(f"db.kv.{op}" for op in subjects.KV_OPS),
    *(f"db.kv.p.{op}" for op in subjects.KV_OPS),
    *(f"{base}.query.{op}" for op in subjects.QUERY_OPS for base in ("db", "database")),
    *(f"db.messages.outbound.{op}" for op in subjects.OUTBOUND_OPS),
    "db.stats.recent_chat.get",
    "db.health",
    *(f"tasks.{op}" for op in subjects.TASK_OPS),
]
LENIENT = re.compile(r".*\.items\.insert$")
"""Where a body may also be a list: of rows."""


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_a_body_that_is_no_json_object_is_refused_on_every_subject(
    served: Served, subject: str
) -> None:
    for body, code in (
        (b"{", "INVALID_JSON"),
        (b"\xff\xfe", "INVALID_JSON"),
        (b'{"a": NaN}', "INVALID_JSON"),
        (b'{"a": "\\ud800"}', "INVALID_JSON"),
        (b"null", "VALIDATION_ERROR"),
        (b"5", "VALIDATION_ERROR"),
        (b'"text"', "VALIDATION_ERROR"),
        (b"[1]", "VALIDATION_ERROR"),
        (b"[" * 5_000, "VALIDATION_ERROR"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "VALIDATION_ERROR"),
        (b'{"a": "' + b"x" * 300_000 + b'"}', "VALUE_TOO_LARGE"),
    ):
        answer = await served.raw(subject, body)
        assert answer["success"] is False, (subject, body[:40])
        assert answer["error"]["code"] == code, (subject, body[:40], answer)
        assert not INSIDE.search(answer["error"]["message"]), answer


async def test_a_body_of_64_levels_is_taken(served: Served) -> None:
    nested: Any = 1
    for _ in range(62):
        nested = [nested]
    await served.ok("tasks.enqueue", {"prompt": "deep", "input": {"a": nested}})


@pytest.mark.parametrize(
    "subject",
    [
        "db.row.p", "db.row.p.frobnicate", "db.row.p.items.frobnicate", "db.row.p.items.more.insert",
        "db.row.P.insert", "db.row.-p.insert", "db.row.p.Items.insert", "db.row.p.1items.insert",
        "db.row.p;drop.insert", f"db.row.{'p' * 49}.insert", "db.row.p.schema.frobnicate",
        "db.schema.p", "db.schema.p.frobnicate", "db.schema.p.register.more", "db.schema.Ä.register",
        "db.kv.frobnicate", "db.kv.p.frobnicate", "db.kv.p.items.set", "db.kv.'.set",
        "db.query.frobnicate", "database.query.frobnicate", "db.query.user_stats.more",
        "tasks.frobnicate", "tasks.get.more",
    ],
)  # fmt: skip
async def test_a_subject_that_means_nothing_is_invalid(served: Served, subject: str) -> None:
    code, message = await served.refused(subject, {"table": "items"})
    assert code == "INVALID_SUBJECT"
    assert "Expected" in message


async def test_an_answer_that_the_server_would_not_take_is_an_error_that_says_so(served: Served) -> None:
    await served.ok(
        "tasks.enqueue",
        {"tasks": [{"prompt": "x", "project": "large", "input": "y" * 60_000} for _ in range(4)]},
    )
    for _ in range(5):
        await served.db.tasks.enqueue("x", project="large", input="y" * 250_000)
    answer = await served.ask("tasks.list", {"project": "large", "whole": True})
    assert answer["error"]["code"] == "VALUE_TOO_LARGE"
    assert answer["error"]["details"]["bytes"] > answer["error"]["details"]["limit"]
    assert (await served.ok("tasks.list", {"project": "large"}))["count"] == 9


async def test_random_bodies_get_typed_answers(served: Served) -> None:
    """R19: a sample; the long form is in tests/service/test_faults.py."""
    draw = random.Random(19)
    bodies = [bytes(draw.randrange(256) for _ in range(draw.randrange(60))) for _ in range(60)]
    answers = await asyncio.gather(
        *(served.raw(draw.choice(SUBJECTS), body) for body in bodies), return_exceptions=True
    )
    for answer in answers:
        assert isinstance(answer, dict), answer
        assert answer["success"] or answer["error"]["code"] in envelope.CODES


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.LockTimeoutError("/secret/agents.db", 30.0, 4711), "LOCK_TIMEOUT"),
        (errors.DiskFullError("/secret/agents.db"), "DATABASE_ERROR"),
        (errors.CorruptDatabaseError("/secret/agents.db", "page 3"), "DATABASE_ERROR"),
        (errors.ServerUnavailableError("postgresql://u@secret/db", "gone"), "UNAVAILABLE"),
        (errors.DatabaseClosedError(), "UNAVAILABLE"),
        (errors.UnknownStatementError("secret.x", ["secret.y"]), "INTERNAL_ERROR"),
        (RuntimeError("secret"), "INTERNAL_ERROR"),
        (errors.InvalidInputError("a.", "b.", "c."), "VALIDATION_ERROR"),
        (errors.IdempotencyConflictError("k", "t"), "CONFLICT"),
        (errors.RowConflictError("m", "Expected e.", "Do r."), "CONFLICT"),
        (errors.ValueTooLargeError("m", "Expected e.", "Do r."), "VALUE_TOO_LARGE"),
        (errors.MissingFieldError("table"), "MISSING_FIELD"),
    ],
)
def test_an_error_has_a_code_and_keeps_its_secrets(
    error: Exception, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = envelope.refusal(error, "a.subject")
    assert answer["error"]["code"] == code
    assert "secret" not in json.dumps(answer)
    if "secret" in str(error):  # the log has it, under the id that the answer gives
        assert answer["error"]["details"]["error_id"] in caplog.text


async def test_requests_are_counted_where_nats_micro_is_asked(served: Served) -> None:
    await served.refused("tasks.get", {})
    msg = await served.client.request(f"$SRV.STATS.abathur-database-{served.prefix}", b"", timeout=5)
    told = json.loads(msg.data)
    (tasks,) = [one for one in told["endpoints"] if one["name"] == "tasks"]
    assert tasks["subject"] == f"{served.prefix}.tasks.>"
    assert tasks["queue_group"] == f"{served.prefix}-database-service"
    assert tasks["num_requests"] >= tasks["num_errors"] >= 1
    assert tasks["last_error"] == "MISSING_FIELD"
    info = json.loads((await served.client.request(f"$SRV.INFO.{told['name']}", b"", timeout=5)).data)
    assert {one["name"] for one in info["endpoints"]} >= {"rows", "schema", "kv", "tasks", "health"}
    ping = json.loads(
        (await served.client.request(f"$SRV.PING.{told['name']}.{told['id']}", b"", timeout=5)).data
    )
    assert ping["id"] == told["id"]


async def test_health_says_how_it_is_and_not_where(served: Served) -> None:
    told = await served.ok("db.health")
    assert told["status"] == "healthy"
    assert told["events"] == "exactly-once"
    assert not INSIDE.search(json.dumps({**told, "engine": ""}))
    assert (await served.raw("db.health", b""))["success"]
