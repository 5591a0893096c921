"""Events of a chat: each is stored once, and one that is wrong keeps no other one from being stored."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from abathur import Database, tasks
from abathur.chat import KINDS, Event, Key, Recorded, enqueue_message, record_events
from abathur.errors import DatabaseClosedError, InvalidInputError, InvalidPayloadError, NotInitializedError
from tests.conformance.chats import T, event, joined, said

HOSTILE = [
    "*", ">", ".", '"', "'; DROP TABLE abathur_chat_users; --", "a.b.>", "../../etc/passwd", "$where", "%",
    "_", "CR\r\nLF", "a\nb", "\x1b[31mred", "\u202eevil", "\uff41lice", "\u0430lice", "ALICE", "alice ",
    " alice", "e\u0301", "\u00e9", "🦋", "\ufeffalice", "null", "NULL", "0", "-1", "true", "[]", "{}",
    "x" * 200, "🦋" * 200, "\\", "\\u0000",
]  # fmt: skip


async def test_every_kind_of_event_is_stored_and_read_back(db):
    message_id = await db.chat.enqueue("good morning")
    recorded = await db.chat.record(
        [
            Event("user.joined", {"username": "alice"}),
            Event("user.left", {"username": "bob"}),
            Event("message.log", {"username": "alice", "message": "hello"}),
            Event("stats.user_count", {"chat_count": 3, "connected_count": 9}),
            Event("stats.high_water", {"chat_count": 5, "connected_count": 7}),
            Event("status.update", {"status_data": {"afk": False, "name": "bot"}}),
            Event("messages.outbound.mark_sent", {"message_id": message_id}),
            Event(
                "action.pm_command",
                {"timestamp": 1.5, "username": "alice", "command": "!kick", "result": "success"},
            ),
        ]
    )
    assert recorded == Recorded(8, 0, ())
    assert (await db.chat.user_stats("alice"))["total_chat_lines"] == 1
    assert (await db.chat.user_stats("bob"))["found"]
    stats = await db.chat.channel_stats()
    assert (stats["high_water_mark"]["users"], stats["high_water_connected"]["users"]) == (5, 9)
    assert [one["message"] for one in await db.chat.recent()] == ["hello"]
    assert (await db.chat.user_counts())[0]["connected_count"] == 9
    assert (await db.chat.status())["status_data"] == {"afk": False, "name": "bot"}
    assert await db.chat.unsent() == []
    assert [one.actor for one in await db.audit.list()] == ["alice"]


@pytest.mark.parametrize("form", ["mapping", "text", "bytes"])
@pytest.mark.parametrize(
    "name", [{"username": "alice"}, {"user": "alice"}, {"user_data": {"username": "alice"}}]
)
async def test_the_normalised_envelope_is_accepted_as_the_flat_body_is(db, form, name):
    bodies = [
        ("user.joined", {**name, "timestamp": T}),
        ("user.left", {"event_type": "user_leave", "platform": "p", "data": name, "timestamp": T + 60}),
    ]
    encode = {"mapping": dict, "text": json.dumps, "bytes": lambda body: json.dumps(body).encode()}[form]
    assert (await db.chat.record([Event(kind, encode(body)) for kind, body in bodies])).stored == 2
    found = await db.chat.user_stats("alice")
    assert (found["first_seen"], found["last_seen"], found["total_time_connected"]) == (T, T + 60, 60)


async def test_a_message_in_the_envelope_may_call_its_text_content(db):
    data = {"user": "alice", "content": "hello"}
    await db.chat.record([Event("message.log", {"event_type": "message", "platform": "p", "data": data})])
    assert (await db.chat.recent())[0]["message"] == "hello"


WRONG = [
    ("user.joined", {}, "Missing required field: username"),
    ("user.joined", {"username": None}, "Missing required field: username"),
    ("user.joined", {"username": ""}, "username is empty"),
    ("user.joined", {"username": " \n"}, "username is empty"),
    ("user.joined", {"username": 7}, "username is a int"),
    ("user.joined", {"username": ["a"]}, "username is a list"),
    ("user.joined", {"username": "a\0b"}, "username holds a NUL"),
    ("user.joined", {"username": "\ud800"}, "lone surrogate"),
    ("user.joined", {"username": "x" * 201}, "username is too long"),
    ("user.joined", {"username": "a", "timestamp": "yesterday"}, "timestamp='yesterday'"),
    ("user.joined", {"username": "a", "timestamp": -1}, "timestamp=-1"),
    ("user.joined", {"username": "a", "timestamp": float("nan")}, "timestamp=nan"),
    ("user.joined", {"username": "a", "timestamp": 10**400}, "timestamp=1000"),
    ("user.joined", {"username": "a", "timestamp": True}, "timestamp=True"),
    ("user.joined", {"username": "a", "timestamp": 1e300}, "timestamp=1e\\+300"),
    ("user.joined", {"event_type": "x", "data": ["a"]}, "data is a list"),
    ("user.left", {"username": "a", "connection": 7}, "connection is a int"),
    ("message.log", {"username": "a"}, "Missing required field: message"),
    ("message.log", {"message": "a"}, "Missing required field: username"),
    ("message.log", {"username": "a", "message": "x\0"}, "message holds a NUL"),
    ("message.log", {"username": "a", "message": "x" * 20_001}, "message is too long"),
    ("stats.user_count", {"connected_count": 1}, "Missing required field: chat_count"),
    ("stats.user_count", {"chat_count": -1}, "chat_count=-1"),
    ("stats.high_water", {"chat_count": "7"}, "chat_count='7'"),
    ("stats.high_water", {"chat_count": True}, "chat_count=True"),
    ("stats.high_water", {"chat_count": 1.5}, "chat_count=1.5"),
    ("stats.high_water", {"chat_count": 1, "connected_count": 10**30}, "connected_count=1000"),
    ("status.update", {}, "Missing required field: status_data"),
    ("status.update", {"status_data": [1]}, "status_data is a list"),
    ("status.update", {"status_data": {"a": float("inf")}}, "status_data is not JSON"),
    ("status.update", {"status_data": {"a": "x\0"}}, "status_data holds a NUL"),
    ("messages.outbound.mark_sent", {}, "Missing required field: message_id"),
    ("messages.outbound.mark_sent", {"message_id": "1"}, "message_id='1'"),
    ("messages.outbound.mark_sent", {"message_id": 2**70}, "message_id=1180"),
    ("messages.outbound.mark_sent", {"message_id": 4711}, "no outbound message 4711"),
    ("action.pm_command", {"username": "a", "command": "!x", "result": "success"}, "field: timestamp"),
    ("action.pm_command", {"timestamp": 1, "command": "!x", "result": "success"}, "field: username"),
    ("events.pm_command", {"timestamp": 1, "username": "a", "result": "success"}, "field: command"),
    ("events.pm_command", {"timestamp": 1, "username": "a", "command": "!x"}, "field: result"),
    ("events.pm_command", {"timestamp": 1, "username": "a", "command": "!x", "result": "ok"}, "result='ok'"),
    ("user.vanished", {"username": "a"}, "There is no event 'user.vanished'"),
    (None, {}, "There is no event None"),
    ("user.joined", "{", "is not JSON"),
    ("user.joined", b"\xff", "is not JSON"),
    ("user.joined", "[" * 100_000, "is not JSON|is a list"),
    ("user.joined", '"alice"', "is a str"),
    ("user.joined", None, "is a NoneType"),
    ("user.joined", b" " * 600_000, "has 600,000 bytes"),
]


async def test_events_that_are_wrong_are_refused_each_in_its_words_and_the_others_are_stored(db, subtests):
    events = [one for kind, data, _ in WRONG for one in (said("alice"), Event(kind, data), said("bob"))]
    recorded = await db.chat.record(events)
    assert (recorded.stored, recorded.repeated) == (2 * len(WRONG), 0)
    assert [refused.place for refused in recorded.refused] == list(range(1, len(events), 3))
    for refused, (kind, data, words) in zip(recorded.refused, WRONG, strict=True):
        with subtests.test(kind=kind, data=repr(data)[:80]), pytest.raises(InvalidInputError, match=words):
            raise refused.error
    assert isinstance(recorded.refused[-1].error, InvalidPayloadError)
    assert (await db.chat.channel_stats())["total_users_seen"] == 2
    assert (await db.chat.user_stats("alice"))["total_chat_lines"] == len(WRONG)
    assert await db.audit.list() == []


@pytest.mark.parametrize(
    "key", [("s",), ("s", 0), ("s", "1"), ("", 1), (1, 1), ("s", 2**60), "s", ("s", True)]
)
async def test_a_key_that_is_none_is_refused(db, key):
    recorded = await db.chat.record([Event("user.joined", {"username": "a"}, key), said("b")])
    assert (recorded.stored, len(recorded.refused)) == (1, 1)
    assert not (await db.chat.user_stats("a"))["found"]


async def test_hostile_names_are_data_and_each_is_another_user(db):
    await db.chat.record([one for name in HOSTILE for one in (joined(name, 0), said(name, f"I am {name}"))])
    assert (await db.chat.channel_stats())["total_users_seen"] == len(HOSTILE)
    for name in HOSTILE:
        found = await db.chat.user_stats(name)
        assert (found["username"], found["total_chat_lines"], found["current_session_start"]) == (name, 1, T)
    assert [one["username"] for one in await db.chat.recent(1_000)] == HOSTILE
    assert not (await db.chat.user_stats("alice"))["found"]


# -- once ------------------------------------------------------------------------------------------


async def test_an_event_that_is_delivered_again_is_stored_once(db):
    batch = [said("alice", f"{n}", key=Key("2026-01-01T00:00:00Z", n)) for n in range(1, 6)]
    assert await db.chat.record(batch) == Recorded(5, 0, ())
    assert await db.chat.record(batch) == Recorded(0, 5, ())
    assert await db.chat.record(batch[2:] + batch[2:]) == Recorded(0, 6, ())
    assert (await db.chat.user_stats("alice"))["total_chat_lines"] == 5
    assert [one["message"] for one in await db.chat.recent()] == ["1", "2", "3", "4", "5"]


async def test_a_stream_that_was_made_anew_counts_from_1_again(db):
    for created in ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"):
        assert (await db.chat.record([said("alice", key=(created, 1))])).stored == 1
    assert (await db.chat.user_stats("alice"))["total_chat_lines"] == 2


async def test_events_may_come_in_any_order_and_with_gaps(db):
    for n in (7, 3, 9, 4, 1, 8):
        assert (await db.chat.record([said("alice", key=("s", n))])).stored == 1
    for n in (7, 3, 9, 4, 1, 8):
        assert (await db.chat.record([said("alice", key=("s", n))])).repeated == 1
    assert (await db.chat.record([said("alice", key=("s", n)) for n in range(1, 11)])).stored == 4


async def test_an_event_that_was_refused_is_not_judged_again_when_it_is_delivered_again(db):
    wrong = [Event("user.joined", {}, ("s", 1)), Event("user.joined", "{", ("s", 2))]
    first = await db.chat.record(wrong)
    assert len(first.refused) == 2
    assert await db.chat.record([*wrong, said("a", key=("s", 3))]) == Recorded(1, 2, ())


async def test_what_is_acknowledged_is_never_stored_again(db):
    await db.chat.record([said("a", key=("s", n)) for n in (5, 9, 20)])
    await db.chat.acknowledged("s", 9)
    recorded = await db.chat.record([said("a", key=("s", n)) for n in range(1, 22)])
    assert (recorded.stored, recorded.repeated) == (11, 10)
    for wrong in (0, -1, "7", None, True):
        with pytest.raises(InvalidInputError):
            await db.chat.acknowledged("s", wrong)


async def test_events_without_a_key_are_stored_each_time(db):
    assert (await db.chat.record([said("a"), said("a")])).stored == 2
    assert (await db.chat.record([said("a")])).stored == 1


async def test_only_the_streams_that_were_used_last_are_remembered(db):
    for n in range(40):
        await db.chat.record([said("a", key=(f"stream {n}", 1))])
    assert (await db.chat.record([said("a", key=("stream 39", 1))])).repeated == 1
    assert (await db.chat.record([said("a", key=("stream 30", 1))])).repeated == 1


async def test_a_batch_is_stored_whole_or_not_at_all(db, monkeypatch):
    from abathur.chat import record

    def broken(*_):
        raise ZeroDivisionError
        yield

    with monkeypatch.context() as patch:
        patch.setattr(record.audit, "append", broken)
        with pytest.raises(ZeroDivisionError):
            await db.chat.record([joined("a", 0), said("a", key=("s", 1))])
    assert await db.chat.recent() == []
    assert (await db.chat.channel_stats())["total_users_seen"] == 0
    assert (await db.chat.record([said("a", key=("s", 1))])).stored == 1


async def test_concurrent_batches_are_each_answered_for_themselves(db):
    batches = [[said(f"user {n % 7}", key=("s", n)), Event("user.joined", {})] for n in range(1, 51)]
    answers = await asyncio.gather(*(db.chat.record(batch) for batch in batches for _ in range(2)))
    assert sum(one.stored for one in answers) == sum(one.repeated for one in answers) == 50
    assert [len(one.refused) for one in answers] == [1] * 100
    assert [one.refused[0].place for one in answers] == [1] * 100
    assert (await db.chat.channel_stats())["total_users_seen"] == 7


async def test_what_is_no_event_is_refused_and_what_is_no_batch_is_an_error(db):
    recorded = await db.chat.record([{"username": "a"}, None, said("a")])
    assert (recorded.stored, len(recorded.refused)) == (1, 2)
    for wrong in (said("a"), {"username": "a"}, "text", None):
        with pytest.raises(InvalidInputError, match="batch"):
            await db.chat.record(wrong)


async def test_an_empty_batch_is_nothing(db):
    assert await db.chat.record([]) == Recorded(0, 0, ())


async def test_what_another_database_object_stores_is_known_at_once(db, processes, unopened):
    async with unopened() as other:
        await db.chat.record([said("a", key=("s", 1))])
        assert (await other.chat.record([said("a", key=("s", 1)), said("a", key=("s", 2))])).repeated == 1
        assert (await db.chat.record([said("a", key=("s", 2))])).repeated == 1
        assert (await db.chat.user_stats("a"))["total_chat_lines"] == 2


# -- in a script of one's own ----------------------------------------------------------------------


async def test_a_task_is_completed_and_its_result_told_or_neither(db):
    await db.tasks.enqueue("count the users")
    (claim,) = await db.tasks.claim("w")

    def tell(text, boom, now):
        yield from tasks.complete(claim, {"n": 7}, now=now)
        message_id = yield from enqueue_message(text, now)
        recorded = yield from record_events([said("bot", text), Event("user.joined", {})], now)
        if boom:
            raise ZeroDivisionError
        return message_id, recorded

    with pytest.raises(InvalidInputError, match="message is empty"):
        await db.run(tell, "", False)
    with pytest.raises(ZeroDivisionError):
        await db.run(tell, "7 users", True)
    assert (await db.tasks.get(claim.task)).status == "running"
    assert await db.chat.unsent() == await db.chat.recent() == []
    message_id, recorded = await db.run(tell, "7 users", False)
    assert (recorded.stored, len(recorded.refused)) == (1, 1)
    assert [one["id"] for one in await db.chat.unsent()] == [message_id]
    assert (await db.tasks.get(claim.task)).result == {"n": 7}


# -- times -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        (T, T),
        (T + 0.75, T),
        (f"{datetime.fromtimestamp(T, UTC).isoformat()}", T),
        ("2023-11-14T23:13:20+01:00", T),
    ],
)
async def test_an_event_happened_at_its_own_time(db, stamp, seconds):
    await db.chat.record([Event("user.joined", {"username": "a", "timestamp": stamp})])
    assert (await db.chat.user_stats("a"))["first_seen"] == seconds


async def test_nothing_happened_after_it_had_arrived(db):
    arrived = datetime.fromtimestamp(T, UTC)
    late = {"username": "a", "timestamp": T * 1000}  # in milliseconds, or from a clock that is ahead
    await db.chat.record([Event("user.joined", late, arrived=arrived)])
    assert (await db.chat.user_stats("a"))["first_seen"] == T
    await db.chat.record([Event("user.joined", {"username": "b"}, arrived=arrived)])
    assert (await db.chat.user_stats("b"))["first_seen"] == T
    ahead = datetime.now(UTC) + timedelta(days=9)
    await db.chat.record([Event("user.joined", {"username": "c"}, arrived=ahead)])
    assert (await db.chat.user_stats("c"))["first_seen"] <= ahead.timestamp() - 8 * 86_400


async def test_a_time_of_arrival_without_a_time_zone_is_refused(db):
    naive = datetime(2026, 1, 1)  # noqa: DTZ001
    recorded = await db.chat.record([Event("user.joined", {"username": "a"}, arrived=naive)])
    assert "arrived" in str(recorded.refused[0].error)


# -- the rest --------------------------------------------------------------------------------------


async def test_each_event_has_a_method_of_its_own_which_raises_what_is_wrong(db):
    for call in (
        db.chat.user_joined(""),
        db.chat.user_left("a\0"),
        db.chat.log_message("a", 7),
        db.chat.log_user_count(-1),
        db.chat.high_water("many"),
        db.chat.update_status({"a": b"bytes"}),
        db.chat.log_command("a", "!x", result="fine", timestamp=1),
        db.chat.mark_sent(0),
    ):
        with pytest.raises(InvalidInputError):
            await call
    assert (await db.chat.channel_stats())["total_users_seen"] == 0


async def test_a_chat_of_a_database_that_is_not_open_says_so():
    db = Database(":memory:")
    with pytest.raises(NotInitializedError):
        _ = db.chat
    await db.close()
    with pytest.raises(DatabaseClosedError):
        _ = db.chat


def test_the_kinds_are_the_subjects_of_the_contract():
    assert set(KINDS) == {
        "user.joined",
        "user.left",
        "message.log",
        "stats.user_count",
        "stats.high_water",
        "status.update",
        "messages.outbound.mark_sent",
        "action.pm_command",
        "events.pm_command",
    }
    assert event("user.joined", 1, username="a").data["timestamp"] == T + 1
