"""Enqueue many: all tasks of a call or none, which may wait for each other by their refs."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from abathur import Prerequisite
from abathur.errors import (
    DependencyCycleError,
    IdempotencyConflictError,
    InvalidInputError,
    InvalidPayloadError,
    UnknownTaskError,
)
from tests.conformance.checks import select

EDGES = {
    "test.edges": (
        "SELECT dependent_task_id AS dependent, prerequisite_task_id AS prerequisite FROM task_dependencies"
    )
}


async def test_no_tasks_make_nothing(db):
    assert await db.tasks.enqueue_many([]) == []


async def test_tasks_are_answered_in_the_order_in_which_they_were_given(db):
    made = await db.tasks.enqueue_many({"prompt": f"{n}", "priority": n % 11} for n in range(50))
    assert [task.prompt for task in made] == [f"{n}" for n in range(50)]
    assert await db.tasks.list() == made


async def test_refs_name_tasks_of_the_same_call_in_any_order(make_db):
    db = await make_db(queries=EDGES)
    a, b, c = await db.tasks.enqueue_many(
        [
            {"prompt": "a", "ref": "a", "depends_on": ["c"]},
            {"prompt": "b", "ref": "b", "depends_on": [Prerequisite("a", on_failure="fail"), "c"]},
            {"prompt": "c", "ref": "c"},
        ]
    )
    assert [task.status for task in (a, b, c)] == ["blocked", "blocked", "ready"]
    assert [task.unmet for task in (a, b, c)] == [1, 2, 0]
    edges = {(row["dependent"], row["prerequisite"]) for row in await db.read(select, "test.edges")}
    assert edges == {(a.id, c.id), (b.id, a.id), (b.id, c.id)}
    assert [await db.tasks.get(task) for task in (a, b, c)] == [a, b, c]


async def test_a_ref_is_forgotten_after_its_call(db):
    await db.tasks.enqueue_many([{"prompt": "a", "ref": "a"}])
    with pytest.raises(UnknownTaskError):
        await db.tasks.enqueue_many([{"prompt": "b", "depends_on": ["a"]}])
    await db.tasks.enqueue_many([{"prompt": "a", "ref": "a"}])
    assert len(await db.tasks.list()) == 2


async def test_a_chain_of_ten_thousand_runs_from_its_first_to_its_last(db):
    began = time.monotonic()
    chain = await db.tasks.enqueue_many(
        {"prompt": f"{n}", "ref": f"{n}", "depends_on": [f"{n - 1}"] if n else []} for n in range(10_000)
    )
    assert await db.tasks.counts() == {"ready": 1, "blocked": 9_999}
    for task in chain[:5]:
        (claim,) = await db.tasks.claim("w", limit=2)
        assert claim.task.id == task.id
        await db.tasks.complete(claim)
    assert (await db.tasks.get(chain[5])).status == "ready"
    assert time.monotonic() - began < 20


async def test_the_end_of_the_first_ends_a_chain_of_a_thousand_that_says_so(db):
    chain = await db.tasks.enqueue_many(
        {
            "prompt": f"{n}",
            "ref": f"{n}",
            "depends_on": [Prerequisite(f"{n - 1}", on_failure=("fail", "cancel")[n % 2])] if n else [],
        }
        for n in range(1_000)
    )
    await db.tasks.cancel(chain[0])
    assert await db.tasks.counts() == {"cancelled": 501, "failed": 499}


async def test_a_fan_out_and_in_frees_its_end_after_its_last_part(db):
    start, *parts, end = await db.tasks.enqueue_many(
        [
            {"prompt": "start", "ref": "start"},
            *({"prompt": f"{n}", "ref": f"{n}", "depends_on": ["start"]} for n in range(40)),
            {"prompt": "end", "depends_on": [f"{n}" for n in range(40)]},
        ]
    )
    assert (start.status, end.unmet) == ("ready", 40)
    (claim,) = await db.tasks.claim("w", limit=100)
    await db.tasks.complete(claim)
    claims = await db.tasks.claim("w", limit=100)
    assert {claim.task.id for claim in claims} == {task.id for task in parts}
    await asyncio.gather(*(db.tasks.complete(claim) for claim in claims[1:]))
    assert (await db.tasks.get(end)).unmet == 1
    assert await db.tasks.claim("w") == []
    await db.tasks.complete(claims[0])
    (last,) = await db.tasks.claim("w")
    assert last.task.id == end.id


@pytest.mark.parametrize("length", [1, 2, 3, 10])
async def test_a_cycle_is_named_and_nothing_is_made(db, length):
    tasks = [{"prompt": "x", "ref": f"r{n}", "depends_on": [f"r{(n + 1) % length}"]} for n in range(length)]
    tasks.append({"prompt": "behind", "ref": "behind", "depends_on": ["r0"]})
    tasks.append({"prompt": "free", "ref": "free"})
    with pytest.raises(DependencyCycleError) as caught:
        await db.tasks.enqueue_many(tasks)
    cycle = caught.value.cycle
    assert cycle[0] == cycle[-1]
    assert len(cycle) == length + 1
    places = [int(ref.removeprefix("r")) for ref in cycle]
    steps = {(after - before) % length for before, after in itertools.pairwise(places)}
    assert steps in ({1 % length}, {(length - 1) % length}), cycle
    assert " -> ".join(cycle) in str(caught.value)
    assert await db.tasks.list() == []


BAD = (
    ({"prompt": ""}, InvalidInputError),
    ({"prompt": "x", "input": {1}}, InvalidPayloadError),
    ({"prompt": "x", "depends_on": ["nobody"]}, UnknownTaskError),
    ({"prompt": "x", "parent": "nobody"}, UnknownTaskError),
    ({"prompt": "x", "ref": "r0"}, InvalidInputError),
    ({"prompt": "x", "key": "taken"}, IdempotencyConflictError),
    ({"agent_type": "x"}, InvalidInputError),
    ({"prompt": "x", "promt": "x"}, InvalidInputError),
    ("x", InvalidInputError),
    (None, InvalidInputError),
)


async def test_one_bad_task_means_that_none_is_made(db, subtests):
    await db.tasks.enqueue("first", key="taken")
    for bad, error in BAD:
        with subtests.test(str(bad)):
            with pytest.raises(error):
                await db.tasks.enqueue_many([*({"prompt": "x", "ref": f"r{n}"} for n in range(5)), bad])
            assert len(await db.tasks.list()) == 1


async def test_a_parent_is_named_by_its_ref_or_id(db):
    root = await db.tasks.enqueue("root")
    parent, child, other = await db.tasks.enqueue_many(
        [
            {"prompt": "parent", "ref": "p", "parent": root},
            {"prompt": "child", "parent": "p"},
            {"prompt": "other", "parent": root.id},
        ]
    )
    assert (parent.parent, child.parent, other.parent) == (root.id, parent.id, root.id)
    assert [task.id for task in await db.tasks.list(parent="p")] == []
    assert [task.id for task in await db.tasks.list(parent=root)] == [parent.id, other.id]


async def test_a_key_repeated_in_one_call_is_one_task(db):
    one, two, three = await db.tasks.enqueue_many(
        [{"prompt": "x", "key": "k"}, {"prompt": "x", "key": "k"}, {"prompt": "y", "key": "l"}]
    )
    assert one == two != three
    assert len(await db.tasks.list()) == 2
    with pytest.raises(IdempotencyConflictError):
        await db.tasks.enqueue_many([{"prompt": "x", "key": "m"}, {"prompt": "y", "key": "m"}])
    assert len(await db.tasks.list()) == 2


async def test_a_whole_graph_can_be_submitted_again_by_its_keys(make_db):
    db = await make_db(queries=EDGES)
    graph = [
        {"prompt": "a", "ref": "a", "key": "a"},
        {"prompt": "b", "ref": "b", "key": "b", "depends_on": ["a"]},
        {"prompt": "c", "key": "c", "depends_on": ["a", "b"], "parent": "a"},
    ]
    first = await db.tasks.enqueue_many(graph)
    (claim,) = await db.tasks.claim("w")
    await db.tasks.complete(claim)
    again = await db.tasks.enqueue_many([*graph, {"prompt": "d", "depends_on": ["a", "b"]}])
    assert [task.id for task in again[:3]] == [task.id for task in first]
    assert (again[3].status, again[3].unmet) == ("blocked", 1)
    assert len(await db.read(select, "test.edges")) == 5


async def test_new_tasks_may_wait_for_tasks_of_repeated_keys(db):
    (old,) = await db.tasks.enqueue_many([{"prompt": "old", "ref": "o", "key": "k"}])
    again, new = await db.tasks.enqueue_many(
        [{"prompt": "old", "ref": "o", "key": "k"}, {"prompt": "new", "depends_on": ["o"]}]
    )
    assert again.id == old.id
    (claim,) = await db.tasks.claim("w", limit=5)
    assert claim.task.id == old.id
    await db.tasks.complete(claim)
    assert (await db.tasks.get(new)).status == "ready"


async def test_one_bad_call_among_a_hundred_at_once_is_alone_in_getting_an_error(db):
    def call(n):
        bad = [{"prompt": "x", "depends_on": ["nobody"]}] if n == 57 else []
        return db.tasks.enqueue_many([{"prompt": f"{n}"}, {"prompt": f"{n}"}, *bad])

    answers = await asyncio.gather(*map(call, range(100)), return_exceptions=True)
    assert [n for n, answer in enumerate(answers) if isinstance(answer, BaseException)] == [57]
    assert isinstance(answers[57], UnknownTaskError)
    assert len(await db.tasks.list(limit=1000)) == 198
