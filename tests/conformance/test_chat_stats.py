"""What is known of a channel: answers in the shapes that clients expect, kept and never counted."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from abathur import schema
from abathur.chat import Event
from abathur.chat.tables import CHAT
from abathur.errors import InvalidInputError, InvalidPayloadError
from tests.conformance.chats import T, event, joined, left, said
from tests.conformance.checks import select


async def test_the_statistics_of_a_channel_have_the_shape_of_the_contract(db):
    lines = {f"user {n:02}": n for n in range(1, 13)}
    events = [joined("silent", 0), *(said(name, at=1) for name, n in lines.items() for _ in range(n))]
    await db.chat.record(
        [
            *events,
            event("stats.high_water", 100, chat_count=20, connected_count=30),
            event("stats.high_water", 200, chat_count=25, connected_count=10),
            event("stats.high_water", 300, chat_count=25, connected_count=30),
        ]
    )
    stats = await db.chat.channel_stats()
    assert stats == {
        "high_water_mark": {"users": 25, "timestamp": T + 200},
        "high_water_connected": {"users": 30, "timestamp": T + 100},
        "top_chatters": [{"username": f"user {n:02}", "chat_lines": n} for n in range(12, 2, -1)],
        "total_users_seen": 13,
    }
    assert json.loads(json.dumps(stats)) == stats


async def test_an_empty_channel_has_statistics_too(db):
    assert await db.chat.channel_stats() == {
        "high_water_mark": {"users": 0, "timestamp": None},
        "high_water_connected": {"users": 0, "timestamp": None},
        "top_chatters": [],
        "total_users_seen": 0,
    }
    assert await db.chat.recent() == []
    assert await db.chat.user_counts() == []
    assert await db.chat.status() == {"status_data": {}, "last_updated": None}


async def test_the_statistics_of_a_user_have_the_shape_of_the_contract(db):
    await db.chat.record([joined("alice", 0), said("alice", at=5), left("alice", 60), joined("alice", 100)])
    assert await db.chat.user_stats("alice") == {
        "found": True,
        "username": "alice",
        "first_seen": T,
        "last_seen": T + 100,
        "total_chat_lines": 1,
        "total_time_connected": 60,
        "current_session_start": T + 100,
    }
    missing = await db.chat.user_stats("nobody")
    assert missing.keys() == {"found", "username", "message"}
    assert (missing["found"], missing["username"]) == (False, "nobody")
    with pytest.raises(InvalidInputError):
        await db.chat.user_stats("")


async def test_of_two_who_said_as_much_the_one_who_came_first_is_named_first(db):
    await db.chat.record([said("zoe"), said("adam"), said("mia"), said("mia")])
    assert [one["username"] for one in await db.chat.top_chatters()] == ["mia", "zoe", "adam"]
    assert [one["username"] for one in await db.chat.top_chatters(1)] == ["mia"]


async def test_a_count_of_users_raises_the_high_water_marks_and_is_kept(db):
    await db.chat.record(
        [event("stats.user_count", n, chat_count=n, connected_count=2 * n) for n in (3, 7, 5)]
    )
    stats = await db.chat.channel_stats()
    assert stats["high_water_mark"] == {"users": 7, "timestamp": T + 7}
    assert stats["high_water_connected"] == {"users": 14, "timestamp": T + 7}
    counts = await db.chat.user_counts()
    assert counts[0] == {"timestamp": T + 3, "chat_count": 3, "connected_count": 6}
    assert [one["chat_count"] for one in counts] == [3, 7, 5]
    assert [one["chat_count"] for one in await db.chat.user_counts(2)] == [7, 5]
    since = datetime.fromtimestamp(T + 5, UTC)
    assert [one["chat_count"] for one in await db.chat.user_counts(since=since)] == [7, 5]


async def test_who_is_connected_need_not_be_told(db):
    await db.chat.log_user_count(4)
    await db.chat.high_water(6)
    stats = await db.chat.channel_stats()
    assert (stats["high_water_mark"]["users"], stats["high_water_connected"]["users"]) == (6, 0)
    assert (await db.chat.user_counts())[0]["connected_count"] is None


async def test_a_whole_number_may_be_written_with_a_point(db):
    await db.chat.record([Event("stats.high_water", '{"chat_count": 5.0, "connected_count": 7.0}')])
    assert (await db.chat.channel_stats())["high_water_mark"]["users"] == 5


# -- recent chat -----------------------------------------------------------------------------------


async def test_the_recent_chat_ends_with_the_newest_message(db):
    await db.chat.record([said("a", f"{n}", at=n) for n in range(100)])
    recent = await db.chat.recent()
    assert [one["message"] for one in recent] == [f"{n}" for n in range(50, 100)]
    assert recent[-1] == {"timestamp": T + 99, "username": "a", "message": "99"}
    assert [one["message"] for one in await db.chat.recent(2)] == ["98", "99"]
    assert len(await db.chat.recent(10**9)) == 100
    since = datetime.fromtimestamp(T + 97, UTC)
    assert [one["message"] for one in await db.chat.recent(since=since)] == ["97", "98", "99"]
    for wrong in (0, -1, "5", None, True):
        with pytest.raises(InvalidInputError):
            await db.chat.recent(wrong)


async def test_so_many_messages_are_kept_and_all_are_counted(make_db):
    db = await make_db(queries={"test.messages": "SELECT COUNT(*) AS n FROM abathur_chat_messages"})
    await db.chat.keep(messages=10)
    for start in (0, 7, 14):
        await db.chat.record([said("a", f"{n}") for n in range(start, start + 7)])
    assert [one["message"] for one in await db.chat.recent()] == [f"{n}" for n in range(11, 21)]
    await db.chat.record([said("a", f"{n}") for n in range(100, 150)])
    assert [one["message"] for one in await db.chat.recent()] == [f"{n}" for n in range(140, 150)]
    assert (await db.read(select, "test.messages"))[0]["n"] == 10
    assert (await db.chat.user_stats("a"))["total_chat_lines"] == 71
    await db.chat.keep(messages=0)
    await db.chat.record([said("a")])
    assert await db.chat.recent() == []
    assert (await db.chat.user_stats("a"))["total_chat_lines"] == 72


async def test_so_many_counts_are_kept(db):
    await db.chat.keep(counts=3)
    for n in range(5):
        await db.chat.log_user_count(n)
    assert [one["chat_count"] for one in await db.chat.user_counts()] == [2, 3, 4]


async def test_how_much_is_kept_holds_for_every_process(db, processes, unopened):
    await db.chat.keep(messages=2)
    async with unopened() as other:
        await other.chat.record([said("a", f"{n}") for n in range(5)])
    assert len(await db.chat.recent()) == 2
    for wrong in ({"messages": -1}, {"counts": "5"}, {"outbound": True}):
        with pytest.raises(InvalidInputError):
            await db.chat.keep(**wrong)


# -- status ----------------------------------------------------------------------------------------


async def test_a_status_sets_some_fields_and_leaves_the_others(db):
    await db.chat.record([event("status.update", 1, status_data={"bot_name": "b", "afk": True})])
    await db.chat.record([event("status.update", 2, status_data={"afk": False, "media": {"title": "x"}})])
    assert await db.chat.status() == {
        "status_data": {"bot_name": "b", "afk": False, "media": {"title": "x"}},
        "last_updated": T + 2,
    }


async def test_a_status_that_was_overtaken_changes_no_newer_field(db):
    await db.chat.record([event("status.update", 9, status_data={"afk": True})])
    await db.chat.record([event("status.update", 5, status_data={"afk": False, "rank": 3})])
    assert await db.chat.status() == {"status_data": {"afk": True, "rank": 3}, "last_updated": T + 9}


async def test_a_status_does_not_grow_for_ever(db):
    for n in range(4):
        await db.chat.update_status({f"field {n}": "x" * 60_000})
    with pytest.raises(InvalidPayloadError):
        await db.chat.update_status({"field 4": "x" * 60_000})
    await db.chat.update_status({"field 3": "short"})
    assert len((await db.chat.status())["status_data"]) == 4


# -- tables ----------------------------------------------------------------------------------------


async def test_the_tables_of_an_older_bot_are_none_of_ours(make_db):
    """Its file, or another application's, may have tables of these names, with rows."""
    names = ("user_stats", "recent_chat", "outbound_messages", "chat_messages", "chat_users", "channel_stats")
    tables = tuple(
        schema.Table(name, (schema.Column("id", "INTEGER", primary_key=True), schema.Column("x", "TEXT")))
        for name in names
    )
    db = await make_db(
        schema=schema.Schema("older_bot", tables),
        queries={
            f"old.add{n}": f"INSERT INTO {name} (id, x) VALUES (1, 'mine')" for n, name in enumerate(names)
        }
        | {f"old.all{n}": f"SELECT id, x FROM {name}" for n, name in enumerate(names)},
    )
    from tests.conformance.checks import execute

    for n in range(len(names)):
        await db.run(execute, f"old.add{n}")
    await db.chat.record([joined("a", 0), said("a"), left("a", 1)])
    await db.chat.enqueue("x")
    for n in range(len(names)):
        assert await db.read(select, f"old.all{n}") == [{"id": 1, "x": "mine"}]


def test_every_table_and_index_of_the_chat_has_a_name_of_its_own():
    for thing in (*CHAT.tables, *CHAT.indexes):
        assert thing.name.startswith("abathur_chat_")
