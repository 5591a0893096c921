"""Caps: how many tasks of an agent type a claim takes, and a runner runs, at a time."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abathur import Runner
from abathur.errors import InvalidInputError
from abathur.script import Statement
from abathur.tasks import claim as claims


async def types_of_claim(db, **arguments):
    return [one.task.agent_type for one in await db.tasks.claim("w", **{"limit": 100, **arguments})]


async def test_a_claim_takes_no_more_of_a_type_than_its_cap_and_fills_up_with_others(db):
    await db.tasks.enqueue_many([{"prompt": "x", "agent_type": kind} for kind in "aaaaabbbbb"])
    found = await types_of_claim(db, agent_types=["a", "b"], limit=6, caps={"a": 2})
    assert found == ["a"] * 2 + ["b"] * 4
    assert await types_of_claim(db, agent_types=["a", "b"], caps={"a": 0, "b": 0}) == []
    assert await types_of_claim(db, agent_types=["a", "b"], caps={"b": 0}) == ["a"] * 3
    assert await types_of_claim(db, agent_types=["b"], caps={}) == ["b"]


async def test_caps_hold_for_any_agent_type_too(db):
    await db.tasks.enqueue_many([{"prompt": "x", "agent_type": kind} for kind in "abcabcabc"])
    found = await types_of_claim(db, caps={"a": 1, "c": 2, "nobody": 5})
    assert sorted(found) == ["a", "b", "b", "b", "c", "c"]


async def test_the_best_ranked_of_a_capped_type_are_taken(db):
    made = [await db.tasks.enqueue("x", agent_type="a", priority=n) for n in (3, 9, 5)]
    found = await db.tasks.claim("w", agent_types=["a"], limit=10, caps={"a": 2})
    assert [one.task.id for one in found] == [made[1].id, made[2].id]


async def test_concurrent_claims_with_caps_each_get_their_own_share(db):
    """They are merged into one transaction, and none gets what another's cap allows."""
    await db.tasks.enqueue_many([{"prompt": "x", "agent_type": kind} for kind in "a" * 20 + "b" * 20])
    options = {"agent_types": ["a", "b"], "limit": 5}
    found = await asyncio.gather(
        *(db.tasks.claim(f"capped {n}", **options, caps={"a": 2}) for n in range(3)),
        *(db.tasks.claim(f"free {n}", **options) for n in range(2)),
    )
    ids = [one.task.id for some in found for one in some]
    assert len(ids) == len(set(ids)) == 25
    for some in found[:3]:
        assert len(some) == 5
        assert sum(one.task.agent_type == "a" for one in some) <= 2
        assert len({one.worker for one in some}) == 1


WRONG = ({"a": -1}, {"a": 1001}, {"a": True}, {"a": 1.5}, {"a": "2"}, {"b": 1}, {"": 1}, {None: 1}, ["a"], 3)


async def test_wrong_caps_are_refused_and_nothing_is_claimed(db, subtests):
    task = await db.tasks.enqueue("x", agent_type="a")
    for wrong in WRONG:
        with subtests.test(str(wrong)):
            with pytest.raises(InvalidInputError):
                await db.tasks.claim("w", agent_types=["a"], caps=wrong)
            assert (await db.tasks.get(task)).fence == 0


ready = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 6))


@given(ready, ready, st.integers(1, 12), st.sets(st.sampled_from("abcd"), min_size=1))
def test_what_is_next_is_the_best_of_each_type_up_to_its_cap(queue, caps, limit, agent_types):
    """Against a model: sort everything, then take one after the other while its type has room."""
    draw = random.Random(limit)
    tasks = [(draw.random(), f"{kind}{n}") for kind, count in queue.items() for n in range(count)]

    def rows(statement: Statement):
        of_type = sorted(one for one in tasks if one[1][0] == statement.params["agent_type"])
        return [{"rank": rank, "id": task} for rank, task in of_type[: statement.params["limit"]]]

    script = claims._best(tuple(sorted(agent_types)), limit, caps)
    answer = None
    while True:
        try:
            answer = rows(script.send(answer))
        except StopIteration as end:
            found = end.value
            break
    expected: list[str] = []
    for _, task in sorted(one for one in tasks if one[1][0] in agent_types):
        if len(expected) < limit and sum(one[0] == task[0] for one in expected) < caps.get(task[0], limit):
            expected.append(task)
    assert found == expected


# -- runners -----------------------------------------------------------------------------------


async def test_no_more_tasks_of_a_type_run_at_a_time_than_its_agent_says(db):
    runner = Runner(db, concurrency=6)
    now, most = dict.fromkeys("ab", 0), dict.fromkeys("ab", 0)

    async def handle(ctx):
        kind = ctx.task.agent_type
        now[kind] += 1
        most[kind] = max(most[kind], now[kind])
        await asyncio.sleep(0.02)
        now[kind] -= 1

    runner.agent("a", concurrency=2)(handle)
    runner.agent("b")(handle)
    await db.tasks.enqueue_many([{"prompt": "x", "agent_type": kind} for kind in "a" * 12 + "b" * 16])
    await asyncio.wait_for(runner.run(until_idle=True), 20)
    assert await db.tasks.counts() == {"completed": 28}
    assert most == {"a": 2, "b": 4}


async def test_a_type_without_room_does_not_keep_the_others_waiting_or_the_runner_busy(db, monkeypatch):
    runner = Runner(db, concurrency=4)
    looks = 0
    real = db.tasks.outlook

    async def outlook(*asked):
        nonlocal looks
        looks += 1
        return await real(*asked)

    monkeypatch.setattr(db.tasks, "outlook", outlook)
    go = asyncio.Event()

    @runner.agent("slow", concurrency=1)
    async def slow(ctx):
        await go.wait()

    @runner.agent("quick", concurrency=2)
    async def quick(ctx):
        return "done"

    tasks = await db.tasks.enqueue_many([{"prompt": "x", "agent_type": "slow"}] * 5)
    running = asyncio.ensure_future(runner.run(until_idle=True))
    await asyncio.sleep(0.3)
    assert looks < 10
    other = await db.tasks.enqueue("x", agent_type="quick")
    assert (await db.tasks.wait(other, timeout=5)).result == "done"
    counts = await db.tasks.counts(by_agent_type=True)  # what cannot begin is not claimed either
    assert (counts[("slow", "running")], counts[("slow", "ready")]) == (1, len(tasks) - 1)
    go.set()
    await asyncio.wait_for(running, 10)
    assert await db.tasks.counts() == {"completed": 6}


@pytest.mark.parametrize("wrong", [0, -1, 1001, True, 1.5, "2"])
async def test_a_wrong_concurrency_of_an_agent_is_refused(db, wrong):
    with pytest.raises(InvalidInputError, match="concurrency"):
        Runner(db).agent("a", concurrency=wrong)
