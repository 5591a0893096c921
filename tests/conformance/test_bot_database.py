"""BotDatabase: opens and migrates, ends sessions when it closes, and has the methods that bots know."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest

import abathur
from abathur import BotDatabase, Database, chat
from abathur.chat import Event
from abathur.errors import (
    DatabaseClosedError,
    EnvironmentMismatchError,
    InvalidInputError,
    MissingDirectoryError,
    NotInitializedError,
)
from tests.conformance.chats import T, joined, said
from tests.conformance.conftest import COMMON


@pytest.fixture
async def bot(url, initialized):
    made = BotDatabase(url, **COMMON)
    await made.connect()
    yield made
    await made.close()


def test_it_is_found_under_both_names():
    assert abathur.BotDatabase is chat.BotDatabase is BotDatabase
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = chat.no_such_name


async def test_connecting_migrates_and_closing_closes(url):
    bot = BotDatabase(url, **COMMON)
    assert (bot.is_connected, repr(bot)) == (False, "BotDatabase(not open)")
    with pytest.raises(NotInitializedError):
        await bot.user_joined("a")
    await bot.connect()
    await bot.connect()
    assert bot.is_connected
    assert (await bot.database.initialize()).steps == ()
    await bot.user_joined("a")
    await bot.close()
    await bot.close()
    assert not bot.is_connected
    with pytest.raises(DatabaseClosedError):
        await bot.user_joined("a")


async def test_closing_ends_the_sessions_that_are_open(processes, bot):
    await bot.chat.record([joined("a", 0)])
    await bot.close()
    async with Database(processes, **COMMON) as db:
        found = await db.chat.user_stats("a")
    assert found["current_session_start"] is None
    assert abs(found["total_time_connected"] - (time.time() - T)) < 600


async def test_it_can_be_opened_again(processes, bot):
    await bot.user_joined("a")
    await bot.close()
    async with bot:
        assert (await bot.user_stats("a"))["current_session_start"] is None
        await bot.user_joined("a")
        assert (await bot.user_stats("a"))["current_session_start"] is not None
    assert not bot.is_connected


async def test_sessions_of_a_run_that_died_end_with_its_last_event(processes, bot):
    async with Database(processes, **COMMON) as db:  # a bot that is not closed
        await db.chat.record([joined("a", 0), said("b", at=300)])
    again = BotDatabase(processes, **COMMON)
    await again.connect()
    found = await again.user_stats("a")
    assert (found["total_time_connected"], found["current_session_start"]) == (300, None)
    await again.close()


async def test_what_cannot_be_opened_leaves_nothing_open(tmp_path):
    bot = BotDatabase(tmp_path / "missing" / "bot.db")
    for _ in range(2):
        with pytest.raises(MissingDirectoryError):
            await bot.connect()
        assert not bot.is_connected
    await bot.close()
    with pytest.raises(InvalidInputError):
        await BotDatabase(tmp_path / "bot.db", durability="some").connect()


async def test_options_are_those_of_a_database(file, bot):
    other = BotDatabase(file, environment="production")
    with pytest.raises(EnvironmentMismatchError):
        await other.connect()


async def test_a_database_that_cannot_be_written_any_more_is_closed_all_the_same(bot, monkeypatch):
    async def broken():
        raise ZeroDivisionError

    db = bot.database
    monkeypatch.setattr(db.chat, "end_sessions", broken)
    with pytest.raises(ZeroDivisionError):
        await bot.close()
    assert not bot.is_connected
    assert "closed" in repr(db)


async def test_two_that_connect_at_once_open_one_database(url):
    bot = BotDatabase(url, **COMMON)
    await asyncio.gather(*(bot.connect() for _ in range(5)))
    await asyncio.gather(*(bot.close() for _ in range(5)))
    assert not bot.is_connected


async def test_a_bot_may_use_a_url(tmp_path):
    path = tmp_path / "bot.db"
    async with BotDatabase(f"sqlite+aiosqlite:///{path}", environment="test") as bot:
        await bot.user_joined("a")
    assert path.is_file()


async def test_an_older_bots_own_tables_stay_as_they_are(tmp_path):
    import sqlite3

    path = Path(tmp_path / "bot.db")
    with sqlite3.connect(path) as old:
        old.execute("CREATE TABLE user_stats (username TEXT PRIMARY KEY, total_chat_lines INTEGER)")
        old.execute("CREATE TABLE outbound_messages (id INTEGER PRIMARY KEY, message TEXT, sent INTEGER)")
        old.execute("INSERT INTO user_stats VALUES ('alice', 7)")
    old.close()
    async with BotDatabase(path, environment="test") as bot:
        assert await bot.get_user_stats("alice") is None
        await bot.user_chat_message("alice", "hello")
    shutil.copy(path, tmp_path / "copy.db")
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        assert copy.execute("SELECT username, total_chat_lines FROM user_stats").fetchall() == [("alice", 7)]
    copy.close()


async def test_it_has_the_methods_that_bots_know(bot):
    await bot.user_joined("alice")
    await bot.user_chat_message("alice", "hello")
    await bot.user_chat_message("alice", "hello again")
    await bot.user_chat_message("bob", "hi")
    await bot.user_left("alice")
    stats = await bot.get_user_stats("alice")
    assert stats.keys() == {
        "username", "first_seen", "last_seen", "total_chat_lines", "total_time_connected",
        "current_session_start",
    }  # fmt: skip
    assert (stats["total_chat_lines"], stats["current_session_start"]) == (2, None)
    assert await bot.get_user_stats("nobody") is None
    assert (await bot.user_stats("nobody"))["found"] is False
    assert await bot.get_top_chatters() == [("alice", 2), ("bob", 1)]
    assert await bot.get_total_users_seen() == 2

    assert await bot.get_high_water_mark() == (0, None)
    await bot.update_high_water_mark(7, 9)
    await bot.log_user_count(5, 6)
    assert (await bot.get_high_water_mark())[0] == 7
    assert (await bot.get_high_water_mark_connected())[0] == 9
    (count,) = await bot.get_user_count_history(1)
    assert (count["chat_users"], count["connected_users"]) == (5, 6)
    assert (await bot.channel_stats())["total_users_seen"] == 2

    recent = await bot.get_recent_chat()
    assert [(one["username"], one["message"]) for one in recent] == [
        ("alice", "hello"), ("alice", "hello again"), ("bob", "hi"),
    ]  # fmt: skip
    assert await bot.get_recent_chat_since(5) == recent

    assert await bot.get_current_status() is None
    await bot.update_current_status(bot_name="rosey", bot_afk=False)
    await bot.update_current_status(bot_afk=True)
    status = await bot.get_current_status()
    assert status.pop("last_updated") > T
    assert status == {"bot_name": "rosey", "bot_afk": True}

    first = await bot.enqueue_outbound_message("good morning")
    second = await bot.enqueue_outbound_message("good night")
    assert [one["id"] for one in await bot.get_unsent_outbound_messages()] == [first, second]
    await bot.mark_outbound_sent(first)
    await bot.mark_outbound_failed(second, "muted", is_permanent=True)
    assert await bot.get_unsent_outbound_messages(limit=20, max_retries=3) == []

    await bot.log_pm_command("mod", "!kick", args="alice")
    (entry,) = await bot.database.audit.list(action="chat.pm_command")
    assert abs(entry.data["timestamp"] - time.time()) < 600
    assert (await bot.chat.record([Event("user.joined", {"username": "carol"})])).stored == 1
