"""Sessions: a user's time adds up, whatever order their joining and leaving comes in."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from abathur.errors import InvalidInputError
from tests.conformance.chats import T, joined, left, said
from tests.conformance.checks import pass_time


async def known(db, username="a"):
    """First seen, last seen, time connected and the start of the session, in seconds after T."""
    found = await db.chat.user_stats(username)
    start = found["current_session_start"]
    return (
        found["first_seen"] - T,
        found["last_seen"] - T,
        found["total_time_connected"],
        None if start is None else start - T,
    )


async def test_joining_opens_a_session_and_leaving_closes_it_and_adds_its_time(db):
    await db.chat.record([joined("a", 0)])
    assert await known(db) == (0, 0, 0, 0)
    await db.chat.record([left("a", 90)])
    assert await known(db) == (0, 90, 90, None)
    await db.chat.record([joined("a", 100), left("a", 110)])
    assert await known(db) == (0, 110, 100, None)


async def test_a_second_join_without_a_leave_goes_on_with_the_session(db):
    await db.chat.record([joined("a", 0), joined("a", 50), left("a", 60)])
    assert await known(db) == (0, 60, 60, None)


async def test_a_leave_without_a_join_adds_nothing_and_the_user_was_seen(db):
    await db.chat.record([left("a", 5)])
    assert await known(db) == (5, 5, 0, None)
    await db.chat.record([joined("a", 10), left("a", 20), left("a", 30)])
    assert await known(db) == (5, 30, 10, None)


async def test_a_session_ends_when_the_last_of_the_connections_has_left(db):
    await db.chat.record(
        [joined("a", 0, connection="web"), joined("a", 10, connection="app"), left("a", 20, connection="web")]
    )
    assert await known(db) == (0, 20, 0, 0)
    await db.chat.record([joined("a", 25, connection="app"), left("a", 30, connection="app")])
    assert await known(db) == (0, 30, 30, None)


async def test_a_leave_that_names_no_connection_ends_all_of_them(db):
    await db.chat.record([joined("a", 0, connection="web"), joined("a", 5, connection="app"), left("a", 9)])
    assert await known(db) == (0, 9, 9, None)


async def test_who_joined_without_naming_the_connection_may_leave_with_its_name(db):
    await db.chat.record([joined("a", 0), left("a", 9, connection="web")])
    assert await known(db) == (0, 9, 9, None)


async def test_a_leave_of_a_connection_that_is_not_there_ends_no_session(db):
    await db.chat.record([joined("a", 0, connection="web"), left("a", 9, connection="app")])
    assert await known(db) == (0, 9, 0, 0)


async def test_the_platform_of_the_envelope_names_the_connection(db):
    from abathur.chat import Event

    def of(kind, platform, at):
        body = {"event_type": kind, "platform": platform, "data": {"username": "a"}, "timestamp": T + at}
        return Event(kind, body)

    await db.chat.record([of("user.joined", "x", 0), of("user.joined", "y", 10), of("user.left", "x", 20)])
    assert await known(db) == (0, 20, 0, 0)
    await db.chat.record([of("user.left", "y", 30)])
    assert await known(db) == (0, 30, 30, None)


async def test_no_number_of_connections_makes_a_row_grow_for_ever(db):
    await db.chat.record([joined("a", 0, connection=f"{n}") for n in range(5_000)])
    await db.chat.record([left("a", 7)])
    assert await known(db) == (0, 7, 7, None)


async def test_a_leave_that_overtook_its_join_gives_the_session_its_time(db):
    await db.chat.record([left("a", 60)])
    await db.chat.record([joined("a", 20)])
    assert await known(db) == (20, 60, 40, None)
    await db.chat.record([joined("a", 30)])
    assert await known(db) == (20, 60, 40, None), "that one was over as well, and nothing is counted twice"


async def test_a_leave_from_before_the_session_does_not_end_it(db):
    await db.chat.record([joined("a", 50), left("a", 20)])
    assert await known(db) == (20, 50, 0, 50)


async def test_a_leave_that_was_overtaken_by_the_next_join_ends_only_the_session_before_that(db):
    await db.chat.record([joined("a", 0), joined("a", 50), left("a", 20)])
    assert await known(db) == (0, 50, 20, 50)
    await db.chat.record([left("a", 60)])
    assert await known(db) == (0, 60, 30, None)


async def test_a_user_may_leave_and_join_within_one_second(db):
    await db.chat.record([joined("a", 0), left("a", 10), joined("a", 10)])
    assert await known(db) == (0, 10, 10, 10)


async def test_talking_is_being_seen_and_opens_no_session(db):
    await db.chat.record([said("a", at=3), said("a", at=8), said("a", at=5)])
    assert await known(db) == (3, 8, 0, None)
    assert (await db.chat.user_stats("a"))["total_chat_lines"] == 3


async def test_time_is_counted_in_whole_seconds_and_parts_of_seconds_are_not_lost(db):
    for n in range(10):
        await db.chat.record([joined("a", n), left("a", n + 0.75)])
    found = await db.chat.user_stats("a")
    assert found["total_time_connected"] == 7
    assert all(isinstance(found[name], int) for name in ("first_seen", "last_seen", "total_time_connected"))


async def test_without_a_time_of_its_own_an_event_happens_when_it_is_recorded(db):
    before = int(time.time()) - 1  # a server's clock is another one
    await db.chat.user_joined("a")
    await pass_time(db, 100)
    await db.chat.user_left("a")
    found = await db.chat.user_stats("a")
    assert before <= found["first_seen"] <= before + 60
    assert 100 <= found["total_time_connected"] < 160


async def test_all_sessions_can_be_ended(db):
    await db.chat.record([joined("a", 0), joined("b", 50, connection="web"), joined("c", 0), left("c", 5)])
    assert await db.chat.end_sessions(datetime.fromtimestamp(T + 20, UTC)) == 2
    assert await known(db, "a") == (0, 20, 20, None)
    assert await known(db, "b") == (50, 50, 0, None), "no session ends before it began"
    assert await known(db, "c") == (0, 5, 5, None)
    assert await db.chat.end_sessions() == 0
    await db.chat.record([joined("b", 60), left("b", 70)])
    assert await known(db, "b") == (50, 70, 10, None)


async def test_sessions_never_end_in_the_future(db):
    await db.chat.record([joined("a", 0)])
    await db.chat.end_sessions(datetime.now(UTC) + timedelta(days=9))
    assert (await db.chat.user_stats("a"))["last_seen"] < time.time() + 86_400
    with pytest.raises(InvalidInputError):
        await db.chat.end_sessions(datetime(2026, 1, 1))  # noqa: DTZ001


async def test_sessions_that_a_bot_left_open_when_it_died_end_with_the_last_event(db):
    assert await db.chat.end_left_over() == 0
    await db.chat.record([joined("a", 0), joined("b", 10), said("b", at=500)])
    assert await db.chat.end_left_over() == 2
    assert await known(db, "a") == (0, 500, 500, None)
    assert await known(db, "b") == (10, 500, 490, None)
    assert await db.chat.end_left_over() == 0
