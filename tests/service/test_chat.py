"""The subjects of the chat: events are stored, and questions are answered, in every form of the contract."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.nats import until
from tests.service.conftest import Served


async def stats(served: Served, name: str) -> dict[str, Any]:
    return await served.ok("db.query.user_stats", {"username": name})


async def test_events_of_a_user_become_their_statistics(served: Served) -> None:
    await served.tell("db.user.joined", {"username": "ann"})
    for text in ("hello", "there"):
        await served.tell("db.message.log", {"username": "ann", "message": text})

    async def all_there() -> dict[str, Any] | None:
        found = await stats(served, "ann")
        return found if found["found"] and found["total_chat_lines"] == 2 else None

    found = await until(all_there)
    assert set(found) == {
        "found", "username", "first_seen", "last_seen", "total_chat_lines", "total_time_connected",
        "current_session_start",
    }  # fmt: skip
    assert found["current_session_start"] is not None
    assert await served.ok("database.query.user_stats", {"username": "ann"}) == found
    await served.tell("db.user.left", {"username": "ann"})

    async def gone() -> bool:
        return (await stats(served, "ann"))["current_session_start"] is None

    await until(gone)


async def test_events_in_the_normalised_envelope_are_the_same(served: Served) -> None:
    await served.tell(
        "db.user.joined",
        {
            "event_type": "user_join",
            "platform": "cytube",
            "data": {"username": "bob"},
            "timestamp": 1_700_000_000,
        },
    )

    async def there() -> bool:
        return (await stats(served, "bob"))["found"]

    await until(there)


async def test_nobody_has_heard_of_a_user_who_was_never_there(served: Served) -> None:
    found = await stats(served, "nobody")
    assert found["found"] is False
    assert found["username"] == "nobody"
    assert found["message"]


async def test_the_channel_has_its_high_water_marks_and_its_top_chatters(served: Served) -> None:
    await served.tell("db.stats.user_count", {"chat_count": 7, "connected_count": 9})
    await served.tell("db.stats.high_water", {"chat_count": 11, "connected_count": 12})
    await served.tell("db.message.log", {"username": "cat", "message": "hi"})

    async def there() -> dict[str, Any] | None:
        found = await served.ok("db.query.channel_stats")
        names = [one["username"] for one in found["top_chatters"]]
        is_there = found["high_water_mark"]["users"] == 11 and "cat" in names
        return found if is_there else None

    found = await until(there)
    assert found["high_water_connected"]["users"] == 12
    assert found["total_users_seen"] >= 1
    assert len(found["top_chatters"]) <= 10
    assert set(await served.ok("database.query.channel_stats")) == set(found)


@pytest.mark.parametrize("subject", ["db.action.pm_command", "events.pm_command"])
async def test_each_command_goes_to_the_audit_trail(served: Served, subject: str) -> None:
    name = f"dan-{subject[:2]}"
    command = {
        "timestamp": "2026-01-02T03:04:05+00:00", "username": name, "command": "stats", "args": "x",
        "result": "error", "error": "no such user",
    }  # fmt: skip
    await served.tell(subject, command)

    async def there() -> Any:
        entries = await served.db.audit.list(limit=10_000)
        return [one for one in entries if name in str(one.data) or one.actor == name]

    (entry,) = await until(there)
    assert "stats" in str(entry.data)
    assert (await served.db.audit.verify()).ok


async def test_what_is_to_be_said_is_fetched_marked_and_tried_again(served: Served) -> None:
    first = await served.ok("db.messages.outbound.enqueue", {"message": "one"})
    second = await served.ok("db.messages.outbound.enqueue", {"message": "two"})
    page = await served.ok("db.messages.outbound.get", {"limit": 10})
    assert [one["message"] for one in page["messages"]] == ["one", "two"]
    failed = await served.ok(
        "db.messages.outbound.mark_failed", {"message_id": second["message_id"], "error": "flood"}
    )
    assert failed["retry_count"] == 1
    await served.tell("db.messages.outbound.mark_sent", {"message_id": first["message_id"]})

    async def none_left() -> bool:
        return not (await served.ok("db.messages.outbound.get"))["messages"]

    await until(none_left)
    gone = await served.ok(
        "db.messages.outbound.mark_failed",
        {"message_id": second["message_id"], "error": "banned", "permanent": True},
    )
    assert gone["status"] == "failed"


async def test_the_last_messages_are_recent_chat(served: Served) -> None:
    for number in range(3):
        await served.tell("db.message.log", {"username": "eve", "message": f"m{number}"})

    async def there() -> list[str]:
        found = await served.ok("db.stats.recent_chat.get", {"limit": 3})
        texts = [one["message"] for one in found["messages"]]
        return texts if texts == ["m0", "m1", "m2"] else []

    await until(there)


async def test_a_wrong_event_keeps_no_other_one_from_being_stored(served: Served) -> None:
    before = await served.ok("db.health")
    await served.client.publish(f"{served.prefix}.db.message.log", b"{")
    await served.tell("db.message.log", {"username": "fay"})
    await served.tell("db.message.log", ["fay"])
    await served.tell("db.message.log", {"username": "fay", "message": "still here"})

    async def there() -> bool:
        return (await stats(served, "fay"))["found"]

    await until(there)
    after = await served.ok("db.health")
    assert after["events_refused"] - before["events_refused"] == 3


async def test_an_event_in_a_burst_is_stored_once(served: Served) -> None:
    for number in range(500):
        await served.tell("db.message.log", {"username": "gus", "message": str(number)})

    async def there() -> bool:
        found = await stats(served, "gus")
        return bool(found["found"]) and found["total_chat_lines"] == 500

    await until(there)
    await asyncio.sleep(0.05)
    assert (await stats(served, "gus"))["total_chat_lines"] == 500
