"""Enqueue: one task, durable when the call returns."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from abathur import Prerequisite
from abathur.errors import (
    IdempotencyConflictError,
    InvalidInputError,
    UnknownTaskError,
)
from tests.conformance.checks import changed
from tests.conformance.conftest import ENGINES, OF_THE_SUITE


async def test_an_engine_declares_the_capabilities_that_the_suite_assumes(db, engine):
    assert db.engine.capabilities == ENGINES[engine] - OF_THE_SUITE


async def test_a_new_task_has_the_documented_defaults(db):
    before = datetime.now(UTC)
    task = await db.tasks.enqueue("Review the change")
    assert task.prompt == "Review the change"
    assert (task.agent_type, task.priority, task.status) == ("general", 5, "ready")
    assert (task.attempt, task.max_attempts, task.fence, task.unmet) == (0, 3, 0, 0)
    assert (task.input, task.result, task.error) == ({}, None, None)
    assert (task.timeout, task.source, task.summary) == (3600, "human", "Review the change")
    assert task.worker is task.lease_expires_at is task.run_at is task.deadline is None
    assert task.parent is task.project is task.session is task.estimated_duration is None
    assert task.started_at is task.completed_at is None
    assert before - timedelta(seconds=1) <= task.submitted_at <= datetime.now(UTC) + timedelta(seconds=1)
    assert task.created_by
    assert UUID(task.id).version == 7


async def test_every_parameter_is_kept(db):
    parent = await db.tasks.enqueue("parent")
    run_at = datetime.now(UTC) + timedelta(hours=1)
    given = {
        "agent_type": "reviewer",
        "priority": 9,
        "input": {"files": ["a.py", "b.py"]},
        "run_at": run_at,
        "max_attempts": 7,
        "timeout": 12.5,
        "project": "apollo",
        "summary": "Look at it",
        "deadline": run_at + timedelta(days=2),
        "estimated_duration": 90.5,
        "created_by": "ada",
        "session": "s-1",
        "source": "agent",
    }
    task = await db.tasks.enqueue("Review", parent=parent, **given)
    assert {name: getattr(task, name) for name in given} == given
    assert task.parent == parent.id
    assert task.status == "scheduled"
    found = await db.tasks.get(task.id)
    assert found == task


async def test_what_enqueue_returns_is_what_get_finds(db):
    first = await db.tasks.enqueue("one", input=[1, {"a": None}])
    second = await db.tasks.enqueue("two", depends_on=[first], deadline=datetime.now(UTC), timeout=5)
    assert await db.tasks.get(second) == second
    found = await db.tasks.get(first.id)
    # The second one moved it forward.
    assert found == changed(first, rank=first.rank - 3_600_000)


@pytest.mark.parametrize(
    ("prompt", "summary"),
    [
        ("one line", "one line"),
        ("\n\n  first that says something  \nsecond", "first that says something"),
        ("x" * 200, "x" * 139 + "…"),
        ("word " * 60, ("word " * 27).strip() + "…"),
        ("naïve 日本語 🚀\nmore", "naïve 日本語 🚀"),
        ("\x1c\u2028 separators \r\n only", "separators"),
    ],
)
async def test_a_summary_is_the_first_line_that_says_something(db, prompt, summary):
    task = await db.tasks.enqueue(prompt)
    assert task.summary == summary
    assert len(task.summary) <= 140
    assert task.prompt == prompt


async def test_text_of_any_script_comes_back_unchanged(db):
    text = "ç 日本語 🚀 \u202e rtl \u0001 ' \" ; -- \\ \t\r\n \U0010ffff e\u0301"
    task = await db.tasks.enqueue(
        text, agent_type="λψ", summary=text, project=text, session=text, input={text: text}, created_by=text
    )
    found = await db.tasks.get(task.id)
    assert found.prompt == found.summary == found.project == found.session == found.created_by == text
    assert found.input == {text: text}
    assert [task.id for task in await db.tasks.list(agent_type="λψ")] == [task.id]


async def test_a_future_run_at_schedules_and_a_past_one_does_not(db):
    now = datetime.now(UTC)
    assert (await db.tasks.enqueue("later", run_at=now + timedelta(minutes=5))).status == "scheduled"
    assert (await db.tasks.enqueue("now", run_at=now - timedelta(minutes=5))).status == "ready"
    zone = timezone(timedelta(hours=-11))
    other = await db.tasks.enqueue("elsewhere", run_at=(now + timedelta(minutes=5)).astimezone(zone))
    assert other.status == "scheduled"
    assert (await db.tasks.get(other)).run_at == now + timedelta(minutes=5)


@pytest.mark.parametrize("name", ["run_at", "deadline"])
@pytest.mark.parametrize("value", [datetime(2030, 1, 1), "2030-01-01T00:00:00+00:00", 1_900_000_000])  # noqa: DTZ001
async def test_a_moment_without_a_time_zone_is_refused(db, name, value):
    with pytest.raises(InvalidInputError, match="aware datetime"):
        await db.tasks.enqueue("x", **{name: value})


WRONG = (
    {"prompt": ""},
    {"prompt": " \n\t "},
    {"prompt": None},
    {"prompt": b"bytes"},
    {"prompt": "a\0b"},
    {"prompt": "\ud800"},
    {"prompt": "x" * (256 * 1024 + 1)},
    {"agent_type": ""},
    {"agent_type": "x" * 201},
    {"agent_type": 5},
    {"priority": 11},
    {"priority": -1},
    {"priority": 5.0},
    {"priority": True},
    {"priority": "5"},
    {"max_attempts": 0},
    {"max_attempts": 1001},
    {"timeout": 0},
    {"timeout": -1},
    {"timeout": float("nan")},
    {"timeout": float("inf")},
    {"timeout": "60"},
    {"estimated_duration": 0},
    {"summary": ""},
    {"summary": "x" * 501},
    {"key": ""},
    {"key": "a\0"},
    {"key": 7},
    {"project": ""},
    {"session": "\udfff"},
    {"source": ""},
    {"parent": 17},
    {"depends_on": [17]},
    {"depends_on": [Prerequisite("x", on_failure="explode")]},
)


async def test_a_wrong_argument_is_refused_and_nothing_is_made(db, subtests):
    for wrong in WRONG:
        with subtests.test(f"{wrong!r:.60}"):
            with pytest.raises(InvalidInputError) as caught:
                await db.tasks.enqueue(**{"prompt": "prompt", **wrong})
            assert caught.value.problem
            assert caught.value.expected
            assert caught.value.remedy
            assert await db.tasks.list() == []


async def test_a_prerequisite_or_parent_that_does_not_exist_is_named(db):
    with pytest.raises(UnknownTaskError, match="prerequisite with the id 'nobody'"):
        await db.tasks.enqueue("x", depends_on=["nobody"])
    with pytest.raises(UnknownTaskError, match="parent task with the id 'nobody'"):
        await db.tasks.enqueue("x", parent="nobody")
    with pytest.raises(LookupError):
        await db.tasks.get("nobody")
    assert await db.tasks.list() == []


async def test_higher_priorities_come_first_and_equal_ones_in_the_order_of_making(db):
    made = [await db.tasks.enqueue(f"{priority}", priority=priority) for priority in (0, 5, 10, 5, 10, 0)]
    claims = await db.tasks.claim("w", limit=10)
    assert [claim.task.id for claim in claims] == [made[place].id for place in (2, 4, 1, 3, 0, 5)]


async def test_a_repeated_key_answers_with_the_existing_task(db):
    given = {"prompt": "charge", "key": "order-1", "input": {"b": 1, "a": 2}, "agent_type": "payer"}
    first = await db.tasks.enqueue(**given)
    again = await db.tasks.enqueue(**{**given, "input": {"a": 2, "b": 1}})
    assert again == first
    (claim,) = await db.tasks.claim("w")
    await db.tasks.complete(claim, "done")
    after = await db.tasks.enqueue(**given)
    assert (after.id, after.status, after.result) == (first.id, "completed", "done")
    assert len(await db.tasks.list()) == 1


async def test_a_repeated_key_may_come_with_other_times(db):
    now = datetime.now(UTC)
    first = await db.tasks.enqueue("x", key="k", run_at=now + timedelta(seconds=60), deadline=now)
    again = await db.tasks.enqueue("x", key="k", run_at=now + timedelta(seconds=61), deadline=now)
    assert again.id == first.id


@pytest.mark.parametrize(
    "other",
    [{"prompt": "y"}, {"agent_type": "b"}, {"input": {"a": 2}}, {"priority": 6}, {"max_attempts": 4}],
    ids=lambda other: next(iter(other)),
)
async def test_a_repeated_key_with_other_content_is_a_conflict(db, other):
    given = {"prompt": "x", "key": "k", "input": {"a": 1}}
    first = await db.tasks.enqueue(**given)
    with pytest.raises(IdempotencyConflictError) as caught:
        await db.tasks.enqueue(**{**given, **other})
    assert (caught.value.key, caught.value.task_id) == ("k", first.id)
    assert len(await db.tasks.list()) == 1


async def test_one_key_from_fifty_coroutines_at_once_makes_one_task(db):
    made = await asyncio.gather(*(db.tasks.enqueue("x", key="k", input={"n": 1}) for _ in range(50)))
    assert len({task.id for task in made}) == 1
    assert len(await db.tasks.list()) == 1


async def test_concurrent_calls_with_one_key_and_two_contents_have_one_winner(db):
    answers = await asyncio.gather(
        *(db.tasks.enqueue("x", key="k", input=n % 2) for n in range(50)), return_exceptions=True
    )
    winners = {answer.id for answer in answers if not isinstance(answer, BaseException)}
    losers = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(winners) == 1
    assert len(losers) == 25
    assert {type(error) for error in losers} == {IdempotencyConflictError}


async def test_a_key_belongs_to_the_task_and_not_to_who_submits_it(db, make_db, processes):
    """Another process has another default actor; a repeated key is a repeated key all the same."""
    other = await make_db(actor="another host:4711")
    first = await db.tasks.enqueue("x", key="k")
    assert (await other.tasks.enqueue("x", key="k")).id == first.id


async def test_concurrent_enqueues_are_all_made_and_in_order(db):
    made = await asyncio.gather(*(db.tasks.enqueue(f"{n}") for n in range(300)))
    assert [task.prompt for task in await db.tasks.list(limit=1000)] == [task.prompt for task in made]


async def test_a_task_outlives_the_database_object(db, unopened, processes):
    task = await db.tasks.enqueue("x", input={"n": 1}, key="k")
    async with unopened() as other:
        assert await other.tasks.get(task.id) == task
