"""Outbound messages: the oldest first; what fails is tried again, later each time, and given up at last."""

from __future__ import annotations

import asyncio

import pytest

from abathur.chat import Event
from abathur.errors import InvalidInputError
from tests.conformance.checks import pass_time


async def ids(db, **options):
    return [one["id"] for one in await db.chat.unsent(**options)]


async def test_messages_are_sent_in_the_order_in_which_they_were_enqueued(db):
    made = [await db.chat.enqueue(f"message {n}") for n in range(5)]
    assert made == sorted(made)
    assert made[0] > 0
    unsent = await db.chat.unsent()
    assert [one["message"] for one in unsent] == [f"message {n}" for n in range(5)]
    assert unsent[0].keys() == {"id", "timestamp", "message", "retry_count", "last_error"}
    assert (unsent[0]["retry_count"], unsent[0]["last_error"]) == (0, None)
    assert await ids(db, limit=2) == made[:2]


async def test_a_message_that_was_sent_is_not_sent_again(db):
    first, second = await db.chat.enqueue("one"), await db.chat.enqueue("two")
    assert await db.chat.mark_sent(first) is True
    assert await ids(db) == [second]
    assert await db.chat.mark_sent(first) is False
    recorded = await db.chat.record([Event("messages.outbound.mark_sent", {"message_id": second})] * 2)
    assert (recorded.stored, recorded.refused) == (2, ())
    assert await ids(db) == []


async def test_a_message_that_failed_waits_from_its_last_try_twice_as_long_each_time(db):
    message_id = await db.chat.enqueue("hello", max_retries=4)
    for retries, minutes in enumerate((2, 4, 8), start=1):
        answer = await db.chat.mark_failed(message_id, f"failure {retries}")
        assert (answer["status"], answer["retry_count"]) == ("unsent", retries)
        await pass_time(db, minutes * 60 - 5)
        assert await ids(db) == []
        await pass_time(db, 10)
        (waiting,) = await db.chat.unsent()
        assert (waiting["retry_count"], waiting["last_error"]) == (retries, f"failure {retries}")
    answer = await db.chat.mark_failed(message_id, "failure 4")
    assert answer == {"message_id": message_id, "status": "failed", "retry_count": 4, "retry_at": None}
    await pass_time(db, 10**7)
    assert await ids(db) == []


async def test_a_pause_is_never_longer_than_a_day(db):
    from abathur.chat import outbound

    message_id = await db.chat.enqueue("hello", max_retries=100)
    for _ in range(98):
        await db.chat.mark_failed(message_id, "again")
    await db.chat.mark_failed(message_id, "again")
    await pass_time(db, 86_401)
    assert await ids(db) == [message_id]
    assert outbound.backoff(10**6) == outbound.LONGEST_BACKOFF


async def test_a_message_that_waits_lets_later_ones_pass(db):
    first, second = await db.chat.enqueue("one"), await db.chat.enqueue("two")
    await db.chat.mark_failed(first, "flood")
    assert await ids(db) == [second]
    await pass_time(db, 121)
    assert await ids(db) == [first, second]


async def test_a_permanent_failure_is_recorded_and_never_tried_again(db):
    message_id = await db.chat.enqueue("hello")
    answer = await db.chat.mark_failed(message_id, "muted", permanent=True)
    assert (answer["status"], answer["retry_at"]) == ("failed", None)
    await pass_time(db, 10**7)
    assert await ids(db) == []
    again = await db.chat.mark_failed(message_id, "still muted")
    assert (again["status"], again["retry_count"]) == ("failed", 1)


async def test_a_message_that_was_sent_after_all_is_sent(db):
    message_id = await db.chat.enqueue("hello")
    await db.chat.mark_failed(message_id, "timeout", permanent=True)
    assert await db.chat.mark_sent(message_id) is True
    assert (await db.chat.mark_failed(message_id, "no"))["status"] == "sent"
    assert await db.chat.mark_sent(message_id) is False


async def test_those_that_have_failed_often_can_be_left_out(db):
    message_id = await db.chat.enqueue("hello", max_retries=10)
    for _ in range(3):
        await db.chat.mark_failed(message_id, "x")
    await pass_time(db, 3_600)
    assert await ids(db, max_retries=3) == []
    assert await ids(db, max_retries=4) == [message_id]


async def test_a_message_that_is_not_there_is_named(db):
    for call in (db.chat.mark_sent(4711), db.chat.mark_failed(4711, "x")):
        with pytest.raises(InvalidInputError, match="no outbound message 4711"):
            await call


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": "5"}, {"limit": True}, {"max_retries": -1}])
async def test_a_limit_that_is_none_is_refused(db, wrong):
    with pytest.raises(InvalidInputError):
        await db.chat.unsent(**wrong)


async def test_what_cannot_be_sent_is_refused(db):
    for message in ("", " ", "x\0", "x" * 20_001, None, 7, "\ud800"):
        with pytest.raises(InvalidInputError):
            await db.chat.enqueue(message)
    for retries in (0, 101, "3", True):
        with pytest.raises(InvalidInputError):
            await db.chat.enqueue("x", max_retries=retries)
    message_id = await db.chat.enqueue("x")
    for wrong in ({"error": ""}, {"error": 7}, {"error": "x", "permanent": "yes"}):
        with pytest.raises(InvalidInputError):
            await db.chat.mark_failed(message_id, **wrong)
    assert await ids(db) == [message_id]


async def test_many_at_once_get_numbers_of_their_own(db):
    made = await asyncio.gather(*(db.chat.enqueue(f"{n}") for n in range(50)))
    assert sorted(made) == list(range(min(made), min(made) + 50))
    assert sum(await asyncio.gather(*(db.chat.mark_sent(made[0]) for _ in range(10)))) == 1
    assert len(await ids(db)) == 49


async def test_old_messages_that_were_sent_are_forgotten_and_unsent_ones_never(db):
    await db.chat.keep(outbound=3)
    first = await db.chat.enqueue("unsent")
    for n in range(10):
        await db.chat.mark_sent(await db.chat.enqueue(f"{n}"))
    last = await db.chat.enqueue("last")
    assert await ids(db) == [first, last]
    with pytest.raises(InvalidInputError, match="no outbound message"):
        await db.chat.mark_sent(first + 1)
    assert await db.chat.mark_sent(last - 1) is False
