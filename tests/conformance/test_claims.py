"""Claims: who works on what, in which order, for how long, under which fence."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from abathur.errors import InvalidInputError, LeaseLostError
from tests.conformance.checks import execute, pass_time

DAY, HOUR = 86_400_000, 3_600_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def now(db):
    """The database's own time, as the task made last shows it."""
    return (await db.tasks.enqueue("what time is it", agent_type="clock")).submitted_at


async def test_a_claim_gives_the_task_its_fence_and_a_lease(db):
    made = await db.tasks.enqueue("x", input={"a": 1})
    (claim,) = await db.tasks.claim(worker="host-1", lease=45)
    assert (claim.fence, claim.worker, claim.lease) == (1, "host-1", 45)
    task = claim.task
    assert (task.id, task.status, task.input) == (made.id, "running", {"a": 1})
    assert (task.attempt, task.fence, task.worker) == (1, 1, "host-1")
    assert task.lease_expires_at - task.started_at == timedelta(seconds=45)
    assert await db.tasks.get(made) == task


async def test_nothing_is_claimed_where_nothing_is_ready(db):
    assert await db.tasks.claim("w") == []
    first = await db.tasks.enqueue("x")
    await db.tasks.enqueue("y", depends_on=[first])
    assert len(await db.tasks.claim("w", limit=10)) == 1
    assert await db.tasks.claim("w", limit=10) == []


async def test_a_claim_takes_no_more_than_its_limit(db):
    made = await db.tasks.enqueue_many({"prompt": f"{n}"} for n in range(10))
    assert [claim.task.id for claim in await db.tasks.claim("w", limit=4)] == [task.id for task in made[:4]]
    assert len(await db.tasks.claim("w", limit=100)) == 6


WRONG = (
    {"limit": 0},
    {"limit": 1001},
    {"limit": 1.0},
    {"limit": True},
    {"lease": 0},
    {"lease": -1},
    {"lease": float("nan")},
    {"lease": float("inf")},
    {"lease": "30"},
    {"worker": ""},
    {"worker": None},
    {"worker": "w\0"},
    {"agent_types": [""]},
    {"agent_types": [None]},
)


async def test_a_wrong_argument_of_a_claim_is_refused_and_nothing_is_claimed(db, subtests):
    task = await db.tasks.enqueue("x")
    for wrong in WRONG:
        with subtests.test(str(wrong)):
            with pytest.raises(InvalidInputError):
                await db.tasks.claim(**{"worker": "w", **wrong})
            assert (await db.tasks.get(task)).fence == 0


async def test_only_the_agent_types_that_are_asked_for_are_claimed(db):
    made = {kind: await db.tasks.enqueue("x", agent_type=kind) for kind in "abc"}
    assert await db.tasks.claim("w", agent_types=["d"], limit=10) == []
    assert await db.tasks.claim("w", agent_types=[], limit=10) == []
    claims = await db.tasks.claim("w", agent_types=["c", "a", "a"], limit=10)
    assert [claim.task.id for claim in claims] == [made["a"].id, made["c"].id]
    (claim,) = await db.tasks.claim("w", agent_types="b", limit=10)
    assert claim.task.id == made["b"].id


async def test_none_means_every_agent_type_in_one_order(db):
    made = [await db.tasks.enqueue("x", agent_type=f"type {n % 4}", priority=n % 3) for n in range(24)]
    claims = await db.tasks.claim("w", agent_types=None, limit=100)
    expected = sorted(made, key=lambda task: (-task.priority, task.id))
    assert [claim.task.id for claim in claims] == [task.id for task in expected]


@pytest.mark.parametrize("seed", range(3))
async def test_the_order_of_claiming_is_exactly_the_formula(db, seed):
    """Submitted at, less a day per priority step, less an hour per dependent, 24 at most."""
    draw = random.Random(seed)
    tasks: dict[str, tuple] = {}
    dependents: dict[str, int] = {}
    for _ in range(40):
        await pass_time(db, draw.choice([0, 1, 900, 7200, 40_000]))
        known = draw.sample(sorted(tasks), min(len(tasks), draw.randrange(4)))
        made = await db.tasks.enqueue_many(
            [
                {
                    "prompt": "x",
                    "ref": f"{n}",
                    "priority": draw.randrange(11),
                    "agent_type": draw.choice("abc"),
                    "depends_on": [*known, "0"] if n else [],
                }
                for n in range(draw.choice([1, 1, 2, 30]))
            ]
        )
        for task in made:
            tasks[task.id] = (task.submitted_at, task.priority, task.agent_type, task.status)
        for prerequisite in [made[0].id, *known]:
            dependents[prerequisite] = dependents.get(prerequisite, 0) + len(made) - 1

    def rank(task_id):
        submitted, priority, *_ = tasks[task_id]
        made = (submitted - EPOCH) // timedelta(milliseconds=1)
        return made - DAY * priority - HOUR * min(dependents.get(task_id, 0), 24)

    for task in await db.tasks.list(limit=10_000):
        assert task.rank == rank(task.id)
    ready = {task_id for task_id, (*_, status) in tasks.items() if status == "ready"}
    for types in (["a"], ["b", "c"], None):
        expected = sorted(
            (task_id for task_id in ready if types is None or tasks[task_id][2] in types),
            key=lambda task_id: (rank(task_id), task_id),
        )
        limit = len(expected) // 2 if types else 1000
        claims = await db.tasks.claim("w", agent_types=types, limit=limit)
        found = [claim.task.id for claim in claims]
        assert found == expected[: len(found)]
        assert len(found) == min(limit, len(expected))
        ready -= set(found)
    assert not ready


async def test_a_scheduled_task_is_claimed_when_its_time_has_come_and_not_before(db):
    at = await now(db) + timedelta(seconds=60)
    task = await db.tasks.enqueue("x", run_at=at)
    await pass_time(db, 50)
    assert await db.tasks.claim("w", agent_types=["general"]) == []
    await pass_time(db, 11)
    (claim,) = await db.tasks.claim("w", agent_types=["general"])
    assert claim.task.id == task.id


async def test_many_scheduled_tasks_are_promoted_over_a_few_claims(db):
    at = await now(db) + timedelta(seconds=60)
    await db.tasks.enqueue_many({"prompt": "x", "run_at": at} for _ in range(250))
    await pass_time(db, 61)
    found = 0
    for _ in range(3):
        found += len(await db.tasks.claim("w", agent_types=["general"], limit=1000))
    assert found == 250


async def test_a_task_near_its_deadline_goes_first_whatever_its_priority(db):
    start = await now(db)
    urgent = await db.tasks.enqueue(
        "x", priority=0, deadline=start + timedelta(hours=3), estimated_duration=1800
    )
    important = [await db.tasks.enqueue("y", priority=10) for _ in range(3)]
    (claim,) = await db.tasks.claim("w", agent_types=["general"])
    assert claim.task.id == important[0].id, "an hour and its duration before the deadline, not earlier"
    await pass_time(db, 5400 + 1)
    (claim,) = await db.tasks.claim("w", agent_types=["general"])
    assert claim.task.id == urgent.id


async def test_a_task_is_lifted_once(db):
    task = await db.tasks.enqueue("x", deadline=await now(db) + timedelta(minutes=30))
    for _ in range(3):
        (claim,) = await db.tasks.claim("w", agent_types=["general"])
        await db.tasks.release(claim)
    assert (await db.tasks.get(task)).rank == task.rank - 11 * DAY


async def test_an_expired_lease_is_rescued_by_the_next_claim(db):
    task = await db.tasks.enqueue("x")
    (old,) = await db.tasks.claim("dies", lease=30)
    await pass_time(db, 29)
    assert await db.tasks.claim("w") == []
    await pass_time(db, 2)
    (new,) = await db.tasks.claim("w")
    assert (new.task.id, new.fence, new.task.attempt, new.worker) == (task.id, 2, 2, "w")
    with pytest.raises(LeaseLostError):
        await db.tasks.complete(old, "late")
    await db.tasks.complete(new, "good")
    assert (await db.tasks.get(task)).result == "good"
    (attempt,) = await db.tasks.attempts(task)
    assert (attempt.outcome, attempt.worker, attempt.fence, attempt.attempt) == ("expired", "dies", 1, 1)
    assert attempt.error["type"] == "LeaseExpired"


async def test_leases_that_expire_use_up_the_attempts(db):
    task = await db.tasks.enqueue("x", max_attempts=3)
    for fence in (1, 2, 3):
        (claim,) = await db.tasks.claim("dies", lease=1)
        assert claim.fence == fence
        await pass_time(db, 2)
    assert await db.tasks.claim("w") == []
    found = await db.tasks.get(task)
    assert (found.status, found.attempt, found.fence) == ("failed", 3, 3)
    assert "lease" in found.error
    assert [attempt.outcome for attempt in await db.tasks.attempts(task)] == ["expired"] * 3


async def test_the_fence_rises_at_every_claim_and_never_falls(db):
    task = await db.tasks.enqueue("x", max_attempts=2)
    fences = []
    for step in ("release", "expire", "fail", "retry", "cancel", "retry", "complete"):
        if step == "retry":
            await db.tasks.retry(task)
            continue
        (claim,) = await db.tasks.claim("w", lease=1)
        fences.append(claim.fence)
        assert (await db.tasks.get(task)).fence == claim.fence
        if step == "release":
            await db.tasks.release(claim)
        elif step == "expire":
            await pass_time(db, 2)
        elif step == "fail":
            await db.tasks.fail(claim, "broken", retry=False)
        elif step == "cancel":
            await db.tasks.cancel(task)
        else:
            await db.tasks.complete(claim)
        assert (await db.tasks.get(task)).fence == claim.fence
    assert fences == [1, 2, 3, 4, 5]


async def test_fifty_workers_at_once_get_each_task_once(db):
    made = await db.tasks.enqueue_many({"prompt": f"{n}", "agent_type": "ab"[n % 2]} for n in range(200))
    types = (None, ["a"], ["b"], ["a", "b"], ["b", "a"])
    answers = await asyncio.gather(
        *(db.tasks.claim(f"w{n}", agent_types=types[n % 5], limit=7) for n in range(50))
    )
    claims = [claim for answer in answers for claim in answer]
    assert len({claim.task.id for claim in claims}) == len(claims) == len(made)
    assert all(len(answer) <= 7 for answer in answers)
    assert all(claim.worker == f"w{n}" for n, answer in enumerate(answers) for claim in answer)
    await asyncio.gather(*map(db.tasks.complete, claims))
    assert await db.tasks.counts() == {"completed": 200}


async def test_two_databases_on_one_file_get_each_task_once(db, make_db, processes):
    other = await make_db()
    await db.tasks.enqueue_many({"prompt": f"{n}"} for n in range(100))

    async def work(one, worker):
        found = []
        while claims := await one.tasks.claim(worker, limit=3):
            found += claims
            for claim in claims:
                await one.tasks.complete(claim)
        return found

    both = await asyncio.gather(work(db, "one"), work(other, "two"))
    ids = [claim.task.id for found in both for claim in found]
    assert len(ids) == len(set(ids)) == 100
    assert await other.tasks.counts() == {"completed": 100}


async def test_an_input_that_was_damaged_stops_neither_the_queue_nor_the_list(make_db):
    """Another program, or a bad disk, may have left text that is no JSON."""
    db = await make_db(
        queries={"test.damage": "UPDATE task_content SET input = '{\"n\":!}' WHERE task_id = :id"}
    )
    bad = await db.tasks.enqueue("x", input={"n": 1})
    good = [await db.tasks.enqueue("x", input={"n": n}) for n in range(3)]
    await db.run(execute_with_id, "test.damage", bad.id)
    claims = await db.tasks.claim("w", limit=10)
    assert {task.id for task in good} <= {claim.task.id for claim in claims}
    assert {task.id for task in good} <= {task.id for task in await db.tasks.list()}


def execute_with_id(name, task_id):
    return (yield from execute(name, id=task_id))


async def test_the_outlook_says_when_a_claim_would_find_something(db):
    assert await db.tasks.outlook(["general"]) == (False, None)
    await db.tasks.enqueue("x", run_at=await now(db) + timedelta(seconds=100))
    found, soon = await db.tasks.outlook(["general"])
    assert (found, 90 < soon <= 100) == (False, True)
    await pass_time(db, 101)
    assert await db.tasks.outlook(["general"]) == (True, 0.0)
    (claim,) = await db.tasks.claim("w", agent_types=["general"], lease=5)
    found, soon = await db.tasks.outlook(["general"])
    assert (found, 0 < soon <= 5) == (False, True)
    assert await db.tasks.still_held([claim]) == {(claim.task.id, claim.fence)}
    await db.tasks.complete(claim)
    assert await db.tasks.still_held([claim]) == set()
    await db.tasks.enqueue("y")
    assert await db.tasks.outlook(["general"]) == (True, 0.0)
