"""Looking at tasks: by id, by prefix, by filters, page by page, and counted."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest

from abathur.errors import InvalidInputError, UnknownTaskError


@pytest.fixture
async def filled(db):
    """Twelve tasks of three statuses, two agent types, two projects and a parent."""
    root = await db.tasks.enqueue("root", project="apollo")
    for n in range(11):
        await db.tasks.enqueue(
            f"{n}",
            agent_type="ab"[n % 2],
            project=("apollo", "gemini", None)[n % 3],
            parent=root if n % 4 == 0 else None,
        )
    for claim in (await db.tasks.claim("w", agent_types=["a"], limit=3))[:2]:
        await db.tasks.complete(claim)
    return await db.tasks.list()


async def test_a_task_is_found_by_its_id_or_by_itself(db):
    task = await db.tasks.enqueue("x")
    assert await db.tasks.get(task) == await db.tasks.get(task.id) == task


@pytest.mark.parametrize("wrong", ["", " ", "a\0b", "\ud800", 17, None, b"x"])
async def test_what_cannot_be_an_id_is_refused(db, wrong):
    with pytest.raises(InvalidInputError):
        await db.tasks.get(wrong)


@pytest.mark.parametrize("strange", ["nobody", "'; DROP TABLE tasks; --", '["x"]', "%", "*", "x" * 1000])
async def test_an_id_that_is_not_there_is_unknown_whatever_it_holds(db, strange):
    await db.tasks.enqueue("x")
    with pytest.raises(UnknownTaskError):
        await db.tasks.get(strange)
    assert await db.tasks.resolve(strange) == []


async def test_tasks_are_listed_in_the_order_in_which_they_were_made(db, filled):
    assert [task.prompt for task in filled] == ["root", *map(str, range(11))]
    backwards = await db.tasks.list(newest_first=True)
    assert backwards == filled[::-1]


async def test_filters_agree_with_what_the_tasks_say(db, filled):
    for name, values in {
        "status": ["ready", "running", "completed", "failed"],
        "agent_type": ["a", "b", "general", "none"],
        "project": ["apollo", "gemini", "none"],
        "parent": [filled[0].id, "nobody"],
    }.items():
        for value in values:
            expected = [task for task in filled if getattr(task, name) == value]
            assert await db.tasks.list(**{name: value}) == expected
            assert await db.tasks.list(**{name: value}, newest_first=True) == expected[::-1]
    expected = [task for task in filled if task.status == "ready" and task.project == "apollo"]
    assert await db.tasks.list(status="ready", project="apollo") == expected


async def test_pages_follow_each_other_without_gap_or_repetition(db, filled, subtests):
    filters = ({}, {"agent_type": "a"}, {"project": "apollo", "status": "ready"})
    for by, newest_first, limit in itertools.product(filters, (False, True), (1, 3, 5, 100)):
        with subtests.test(f"{by} {newest_first=} {limit=}"):
            whole = await db.tasks.list(**by, newest_first=newest_first)
            found = []
            after = None
            while page := await db.tasks.list(**by, newest_first=newest_first, limit=limit, after=after):
                assert len(page) <= limit
                found += page
                after = page[-1].id
            assert found == whole


async def test_a_page_is_not_disturbed_by_tasks_that_are_made_meanwhile(db, filled):
    first = await db.tasks.list(limit=6, newest_first=True)
    await db.tasks.enqueue("later")
    second = await db.tasks.list(limit=6, newest_first=True, after=first[-1].id)
    assert [*first, *second] == filled[::-1]


@pytest.mark.parametrize(
    "wrong", [{"status": "done"}, {"limit": 0}, {"limit": 10_001}, {"limit": "5"}, {"limit": True}], ids=str
)
async def test_a_wrong_argument_of_list_is_refused(db, wrong):
    with pytest.raises(InvalidInputError):
        await db.tasks.list(**wrong)


@pytest.mark.parametrize("name", ["agent_type", "project", "after", "parent"])
async def test_a_filter_that_no_utf8_can_hold_is_refused_as_an_argument(db, name):
    with pytest.raises(InvalidInputError):
        await db.tasks.list(**{name: "\ud800"})


async def test_counts_agree_with_the_tasks(db, filled):
    assert await db.tasks.counts() == Counter(task.status for task in filled)
    by_type = Counter((task.agent_type, task.status) for task in filled)
    assert await db.tasks.counts(by_agent_type=True) == by_type


async def test_an_empty_database_counts_nothing(db):
    assert await db.tasks.counts() == {}
    assert await db.tasks.counts(by_agent_type=True) == {}
    assert await db.tasks.list() == []


async def test_a_prefix_resolves_to_the_ids_that_begin_with_it(db):
    made = [await db.tasks.enqueue(f"{n}") for n in range(5)]
    for task in made:
        assert await db.tasks.resolve(task.id) == [task.id]
    shared = made[0].id[:5]
    assert await db.tasks.resolve(shared) == [made[0].id, made[1].id]
    assert await db.tasks.resolve("zz") == []
    with pytest.raises(InvalidInputError):
        await db.tasks.resolve("")


async def test_a_repr_shows_no_prompt_and_no_payload(db):
    task = await db.tasks.enqueue("hunter2", input={"password": "hunter2"}, summary="hunter2")
    (claim,) = await db.tasks.claim("w")
    assert "hunter2" not in f"{task!r} {claim!r} {task} {claim}"


async def test_a_recount_beside_other_calls_counts_each_task_once(db):
    await asyncio.gather(
        *(db.tasks.enqueue(f"{n}") for n in range(10)),
        db.tasks.recount(),
        *(db.tasks.enqueue("y") for _ in range(5)),
    )
    assert await db.tasks.counts() == {"ready": 15}
