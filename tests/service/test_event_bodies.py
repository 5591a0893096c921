"""Events that make no sense are dropped one by one: none keeps another one from being stored."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from abathur.audit import readers
from abathur.chat import record
from abathur.service import subjects
from tests.faults.test_service_requests import value
from tests.nats import until
from tests.service.conftest import Served

FIELDS = [
    "username", "user", "message", "content", "timestamp", "chat_count", "connected_count", "status_data",
    "message_id", "command", "result", "args", "error", "connection", "user_data", "event_type", "data",
    "platform",
]  # fmt: skip
HUGE = int("9" * 400)
"""No float is as large."""


async def stored(served: Served, user: str) -> None:
    """A right event is stored, and the service says that it is well."""
    await served.tell("db.message.log", {"username": user, "message": "still here"})

    async def there() -> bool:
        found = await served.ok("db.query.user_stats", {"username": user})
        return bool(found["found"]) and found["total_chat_lines"] == 1

    await until(there)
    health = await served.ok("db.health")
    assert (health["status"], health["down"]) == ("healthy", [])


def right(name: str) -> dict[str, Any]:
    """A body that fits each subject."""
    return {
        "username": name, "message": "x", "chat_count": 1, "connected_count": 2, "status_data": {"a": 1},
        "message_id": 1, "command": "!x", "result": "success", "timestamp": 1_700_000_000,
    }  # fmt: skip


@pytest.mark.parametrize("field", ["timestamp", "chat_count", "connected_count", "message_id"])
async def test_a_number_that_is_no_float_is_refused_by_itself(served: Served, field: str) -> None:
    for subject in subjects.EVENTS:
        await served.tell(subject, {**right("huge"), field: HUGE})
        await served.tell(
            subject, {"event_type": "x", "platform": "p", "data": {**right("huge"), field: HUGE}}
        )
    await stored(served, f"after-{field}")


async def test_nonsense_in_the_body_of_an_event_stops_nothing(served: Served) -> None:
    """R19, for the subjects of events: a fixed sample, as what a fault costs is the whole intake."""
    draw = random.Random(19)
    for _ in range(1_000):
        body = right(f"user-{draw.randrange(9)}")
        for name in draw.sample(FIELDS, draw.randrange(1, 4)):
            body[name] = HUGE if draw.random() < 0.05 else value(draw)
        raw = json.dumps(body).encode()
        if draw.random() < 0.1:
            raw = raw[: draw.randrange(len(raw))]
        await served.client.publish(f"{served.prefix}.{draw.choice(subjects.EVENTS)}", raw)
    await stored(served, "after-nonsense")


async def test_an_error_that_nobody_has_thought_of_is_outlived_and_told(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a bug")

    async def is_degraded() -> bool:
        health = await served.ok("db.health")
        return (health["status"], health["down"]) == ("degraded", ["events", "outbox"])

    async def is_well() -> bool:
        return (await served.ok("db.health"))["status"] == "healthy"

    with monkeypatch.context() as patched:
        patched.setattr(record, "record_calls", broken)
        patched.setattr(readers, "page", broken)
        await served.tell("db.message.log", {"username": "eve", "message": "hi"})
        await served.db.tasks.enqueue("x")
        await until(is_degraded)
    await until(is_well)

    async def came_again() -> bool:
        return (await served.ok("db.query.user_stats", {"username": "eve"}))["found"]

    await until(came_again)
    await stored(served, "after-a-bug")
    assert (await served.ok("db.query.user_stats", {"username": "eve"}))["total_chat_lines"] == 1
