"""Dependencies: what the end of a task means for those that wait for it."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from abathur import Prerequisite
from abathur.errors import (
    DependencyCycleError,
    IllegalMoveError,
    InvalidInputError,
    LeaseLostError,
    UnknownTaskError,
)
from tests.conformance.checks import pass_time

POLICIES = {"block": "blocked", "fail": "failed", "cancel": "cancelled", "ignore": "ready"}
"""What each policy makes of a dependent whose only prerequisite failed or was cancelled."""


async def take(db, task):
    """A claim on this very task."""
    claims = await db.tasks.claim("w", limit=1000)
    for claim in claims:
        if claim.task.id != task.id:
            await db.tasks.release(claim)
    return next(claim for claim in claims if claim.task.id == task.id)


async def complete(db, task, result=None):
    await db.tasks.complete(await take(db, task), result)


async def end(db, task, how):
    if how == "cancelled":
        await db.tasks.cancel(task)
    elif how == "failed":
        await db.tasks.fail(await take(db, task), "broken", retry=False)
    else:
        await complete(db, task)


async def status(db, *tasks):
    return [(await db.tasks.get(task)).status for task in tasks]


async def test_a_task_is_blocked_until_its_last_prerequisite_is_completed(db):
    one, two = await db.tasks.enqueue("one"), await db.tasks.enqueue("two")
    task = await db.tasks.enqueue("x", depends_on=[one, two.id])
    assert (task.status, task.unmet) == ("blocked", 2)
    await complete(db, one)
    assert (await db.tasks.get(task)).unmet == 1
    assert await status(db, task) == ["blocked"]
    await complete(db, two)
    assert await status(db, task) == ["ready"]


async def test_two_prerequisites_that_complete_at_once_are_both_counted(db):
    for _ in range(10):
        parts = await db.tasks.enqueue_many({"prompt": "part"} for _ in range(2))
        task = await db.tasks.enqueue("x", agent_type="last", depends_on=parts)
        claims = await db.tasks.claim("w", agent_types=["general"], limit=2)
        await asyncio.gather(*map(db.tasks.complete, claims))
        assert await status(db, task) == ["ready"]


async def test_a_completed_prerequisite_does_not_block(db):
    one = await db.tasks.enqueue("one")
    await complete(db, one)
    assert (await db.tasks.enqueue("x", depends_on=one)).status == "ready"


async def test_a_task_named_twice_is_one_prerequisite(db):
    one = await db.tasks.enqueue("one")
    task = await db.tasks.enqueue("x", depends_on=[one, one.id, Prerequisite(one.id)])
    assert task.unmet == 1
    await complete(db, one)
    assert await status(db, task) == ["ready"]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_the_edge_says_what_a_prerequisite_that_ends_badly_does(db, how, policy):
    one = await db.tasks.enqueue("one")
    task = await db.tasks.enqueue("x", depends_on=[Prerequisite(one.id, on_failure=policy)])
    await end(db, one, how)
    found = await db.tasks.get(task)
    assert found.status == POLICIES[policy]
    if policy in ("fail", "cancel"):
        assert one.id in found.error


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_the_edge_says_so_also_when_the_prerequisite_has_ended_already(db, how, policy):
    one = await db.tasks.enqueue("one")
    await end(db, one, how)
    task = await db.tasks.enqueue("x", depends_on=[Prerequisite(one.id, on_failure=policy)])
    assert task.status == POLICIES[policy]
    assert await db.tasks.get(task) == task


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_a_bad_end_goes_down_through_every_generation(db, how):
    one = await db.tasks.enqueue("one")
    two = await db.tasks.enqueue("two", depends_on=[Prerequisite(one.id, on_failure="cancel")])
    three = await db.tasks.enqueue("three", depends_on=[Prerequisite(two.id, on_failure="fail")])
    four = await db.tasks.enqueue("four", depends_on=[Prerequisite(three.id, on_failure="ignore")])
    five = await db.tasks.enqueue("five", depends_on=[three])
    await end(db, one, how)
    assert await status(db, two, three, four, five) == ["cancelled", "failed", "ready", "blocked"]


async def test_a_bad_end_at_enqueue_goes_down_through_every_generation(db):
    one = await db.tasks.enqueue("one")
    await db.tasks.cancel(one)
    two, three, four = await db.tasks.enqueue_many(
        [
            {"prompt": "2", "ref": "2", "depends_on": [Prerequisite(one.id, on_failure="fail")]},
            {"prompt": "3", "ref": "3", "depends_on": [Prerequisite("2", on_failure="cancel")]},
            {"prompt": "4", "ref": "4", "depends_on": [Prerequisite("3", on_failure="ignore")]},
        ]
    )
    assert [task.status for task in (two, three, four)] == ["failed", "cancelled", "ready"]
    assert await status(db, two, three, four) == ["failed", "cancelled", "ready"]


async def test_a_prerequisite_that_runs_out_of_attempts_counts_as_failed(db):
    one = await db.tasks.enqueue("one", max_attempts=1)
    task = await db.tasks.enqueue("x", depends_on=[Prerequisite(one.id, on_failure="fail")])
    await db.tasks.claim("dies", lease=1)
    await pass_time(db, 2)
    assert await db.tasks.claim("w") == []
    assert await status(db, one, task) == ["failed", "failed"]


async def test_a_good_and_a_bad_end_in_one_transaction_leave_the_bad_one(db):
    good, bad = await db.tasks.enqueue("good"), await db.tasks.enqueue("bad")
    task = await db.tasks.enqueue("x", depends_on=[good, Prerequisite(bad.id, on_failure="fail")])
    claims = {claim.task.id: claim for claim in await db.tasks.claim("w", limit=2)}
    await asyncio.gather(
        db.tasks.complete(claims[good.id]), db.tasks.fail(claims[bad.id], "broken", retry=False)
    )
    assert await status(db, task) == ["failed"]


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_a_retried_prerequisite_that_completes_frees_its_dependent(db, how):
    one = await db.tasks.enqueue("one")
    task = await db.tasks.enqueue("x", depends_on=[one])
    await end(db, one, how)
    assert await status(db, task) == ["blocked"]
    await db.tasks.retry(one)
    await complete(db, one)
    assert await status(db, task) == ["ready"]


@pytest.mark.parametrize("policy", ["fail", "cancel"])
async def test_a_dependent_that_ended_with_its_prerequisite_can_be_retried_with_it(db, policy):
    one = await db.tasks.enqueue("one")
    task = await db.tasks.enqueue("x", depends_on=[Prerequisite(one.id, on_failure=policy)])
    await end(db, one, "failed")
    assert (await db.tasks.retry(task)).status == "blocked"
    await db.tasks.retry(one)
    await complete(db, one)
    assert await status(db, task) == ["ready"]


async def test_a_dependent_retried_after_its_prerequisite_completed_is_ready(db):
    one = await db.tasks.enqueue("one")
    task = await db.tasks.enqueue("x", depends_on=[Prerequisite(one.id, on_failure="fail")])
    await end(db, one, "failed")
    await db.tasks.retry(one)
    await complete(db, one)
    assert await status(db, task) == ["failed"]
    assert (await db.tasks.retry(task)).status == "ready"


# -- adding dependencies -----------------------------------------------------------------------


async def test_a_ready_task_that_gets_a_prerequisite_is_blocked_by_it(db):
    task, one = await db.tasks.enqueue("x"), await db.tasks.enqueue("one")
    await db.tasks.add_dependencies(task, [one])
    found = await db.tasks.get(task)
    assert (found.status, found.unmet) == ("blocked", 1)
    await complete(db, one)
    assert await status(db, task) == ["ready"]


async def test_a_met_or_known_prerequisite_that_is_added_changes_nothing(db):
    met, one = await db.tasks.enqueue("met"), await db.tasks.enqueue("one")
    await complete(db, met)
    task = await db.tasks.enqueue("x")
    await db.tasks.add_dependencies(task, [met])
    assert await db.tasks.get(task) == task
    await db.tasks.add_dependencies(task, [one])
    await db.tasks.add_dependencies(task, [one, met])
    assert (await db.tasks.get(task)).unmet == 1


async def test_a_prerequisite_added_twice_in_one_call_is_one(db):
    task, one = await db.tasks.enqueue("x"), await db.tasks.enqueue("one")
    await db.tasks.add_dependencies(task, [one, one.id])
    assert (await db.tasks.get(task)).unmet == 1


async def test_a_single_prerequisite_may_be_added_without_a_list(db):
    task, one = await db.tasks.enqueue("x"), await db.tasks.enqueue("one")
    await db.tasks.add_dependencies(task, one.id)
    assert (await db.tasks.get(task)).unmet == 1


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_prerequisite_that_has_ended_badly_can_be_added(db, policy):
    task, one = await db.tasks.enqueue("x"), await db.tasks.enqueue("one")
    await db.tasks.cancel(one)
    await db.tasks.add_dependencies(task, [one], on_failure=policy)
    assert await status(db, task) == [POLICIES[policy]]


async def test_an_unknown_policy_is_refused(db):
    task, one = await db.tasks.enqueue("x"), await db.tasks.enqueue("one")
    with pytest.raises(InvalidInputError, match="on_failure"):
        await db.tasks.add_dependencies(task, [one], on_failure="explode")
    assert await status(db, task) == ["ready"]


async def test_an_added_dependency_that_closes_a_cycle_is_refused_and_the_cycle_named(db):
    a, b, c, d = await db.tasks.enqueue_many(
        [
            {"prompt": "a", "ref": "a"},
            {"prompt": "b", "ref": "b", "depends_on": ["a"]},
            {"prompt": "c", "ref": "c", "depends_on": ["b", "a"]},
            {"prompt": "d", "depends_on": ["c"]},
        ]
    )
    for prerequisites in ([d], [b, d], [d, b]):
        with pytest.raises(DependencyCycleError) as caught:
            await db.tasks.add_dependencies(a, prerequisites)
        cycle = caught.value.cycle
        assert cycle[0] == cycle[-1]
        assert {a.id, c.id, d.id} - ({d.id} if len(prerequisites) > 1 else set()) - {c.id} <= set(cycle)
        assert set(cycle) <= {a.id, b.id, c.id, d.id}
        assert len(set(cycle)) == len(cycle) - 1
    with pytest.raises(DependencyCycleError) as caught:
        await db.tasks.add_dependencies(a, [a])
    assert caught.value.cycle == [a.id, a.id]
    assert await status(db, a, b, c, d) == ["ready", "blocked", "blocked", "blocked"]


async def test_the_cycle_of_an_added_dependency_and_of_a_call_are_named_in_the_same_direction(db):
    """Each one of the list waits for the next."""
    with pytest.raises(DependencyCycleError) as at_once:
        await db.tasks.enqueue_many(
            [{"prompt": "x", "ref": ref, "depends_on": [other]} for ref, other in ("ab", "bc", "ca")]
        )
    a, b, c = await db.tasks.enqueue_many(
        [
            {"prompt": "a", "ref": "a", "depends_on": ["b"]},
            {"prompt": "b", "ref": "b", "depends_on": ["c"]},
            {"prompt": "c", "ref": "c"},
        ]
    )
    with pytest.raises(DependencyCycleError) as added:
        await db.tasks.add_dependencies(c, [a])
    names = {a.id: "a", b.id: "b", c.id: "c"}
    waits = {("a", "b"), ("b", "c"), ("c", "a")}
    for cycle in (at_once.value.cycle, [names[task_id] for task_id in added.value.cycle]):
        assert set(itertools.pairwise(cycle)) == waits, cycle


async def test_unknown_tasks_are_named(db):
    task = await db.tasks.enqueue("x")
    with pytest.raises(UnknownTaskError, match="nobody"):
        await db.tasks.add_dependencies(task, ["nobody"])
    with pytest.raises(UnknownTaskError, match="nobody"):
        await db.tasks.add_dependencies("nobody", [task])


async def test_a_running_task_gets_a_prerequisite_only_by_its_own_claim(db):
    task, one = await db.tasks.enqueue("x", priority=10), await db.tasks.enqueue("one")
    (claim,) = await db.tasks.claim("w")
    with pytest.raises(LeaseLostError):
        await db.tasks.add_dependencies(task, [one])
    await db.tasks.add_dependencies(claim, [one])
    found = await db.tasks.get(task)
    assert (found.status, found.attempt, found.fence) == ("blocked", 0, 1)
    with pytest.raises(LeaseLostError):
        await db.tasks.complete(claim)
    await complete(db, one)
    (again,) = await db.tasks.claim("w")
    assert (again.task.id, again.fence, again.task.attempt) == (task.id, 2, 1)
    await db.tasks.complete(again)


@pytest.mark.parametrize("then", ["ready", "running", "blocked", "cancelled", "completed"])
async def test_a_claim_that_is_lost_adds_no_prerequisite(db, then):
    task, one = await db.tasks.enqueue("x", priority=10), await db.tasks.enqueue("one")
    (old,) = await db.tasks.claim("zombie", lease=1)
    await pass_time(db, 2)
    (new,) = await db.tasks.claim("w")
    assert new.task.id == task.id
    if then == "ready":
        await db.tasks.release(new)
    elif then == "blocked":
        await db.tasks.add_dependencies(new, [await db.tasks.enqueue("another")])
    elif then == "cancelled":
        await db.tasks.cancel(task)
    elif then == "completed":
        await db.tasks.complete(new)
    before = await db.tasks.get(task)
    assert before.status == then
    with pytest.raises(LeaseLostError):
        await db.tasks.add_dependencies(old, [one])
    assert await db.tasks.get(task) == before


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled"])
async def test_a_task_that_has_ended_gets_no_prerequisite(db, how):
    """Only an explicit retry moves a failed or cancelled task on."""
    task, one = await db.tasks.enqueue("x", priority=10), await db.tasks.enqueue("one")
    await end(db, task, how)
    before = await db.tasks.get(task)
    with pytest.raises(IllegalMoveError):
        await db.tasks.add_dependencies(task, [one])
    assert await db.tasks.get(task) == before


async def test_a_scheduled_task_keeps_its_time_while_it_is_blocked(db):
    from datetime import UTC, datetime, timedelta

    later = datetime.now(UTC) + timedelta(hours=1)
    task, one = await db.tasks.enqueue("x", run_at=later), await db.tasks.enqueue("one")
    await db.tasks.add_dependencies(task, [one])
    assert await status(db, task) == ["blocked"]
    await complete(db, one)
    found = await db.tasks.get(task)
    assert (found.status, found.run_at) == ("scheduled", later)


async def test_a_blocked_task_with_a_future_time_is_scheduled_when_it_is_freed(db):
    from datetime import UTC, datetime, timedelta

    later = datetime.now(UTC) + timedelta(hours=1)
    one = await db.tasks.enqueue("one")
    task = await db.tasks.enqueue("x", depends_on=[one], run_at=later)
    assert task.status == "blocked"
    await complete(db, one)
    assert await status(db, task) == ["scheduled"]
    await pass_time(db, 3601)
    (claim,) = await db.tasks.claim("w")
    assert claim.task.id == task.id
