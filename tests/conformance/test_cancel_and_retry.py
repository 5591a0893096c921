"""Cancel and retry: what a person, or another task, decides about a task."""

from __future__ import annotations

import pytest

from abathur.errors import IllegalMoveError, InvalidInputError, LeaseLostError, UnknownTaskError
from tests.conformance.checks import pass_time


async def put(db, wanted):
    """A task in this status."""
    if wanted == "scheduled":
        task = await db.tasks.enqueue("x")
        (claim,) = await db.tasks.claim("w")
        await db.tasks.release(claim, retry_in=100)
    elif wanted == "blocked":
        task = await db.tasks.enqueue("x", depends_on=[await db.tasks.enqueue("y", agent_type="other")])
    else:
        task = await db.tasks.enqueue("x")
        if wanted != "ready":
            (claim,) = await db.tasks.claim("w")
        if wanted == "completed":
            await db.tasks.complete(claim)
        elif wanted == "failed":
            await db.tasks.fail(claim, "broken", retry=False)
        elif wanted == "cancelled":
            await db.tasks.cancel(task, reason="first")
    found = await db.tasks.get(task)
    assert found.status == wanted
    return found


@pytest.mark.parametrize("found", ["ready", "blocked", "scheduled", "running"])
async def test_a_task_that_has_not_ended_can_be_cancelled(db, found):
    task = await put(db, found)
    cancelled = await db.tasks.cancel(task.id, reason="no longer needed")
    assert (cancelled.status, cancelled.error) == ("cancelled", "no longer needed")
    assert cancelled.completed_at is not None
    assert await db.tasks.get(task) == cancelled
    assert await db.tasks.claim("w", agent_types=["general"]) == []
    entry = (await db.audit.list(task_id=task.id))[-1]
    assert entry.action == "task.cancelled"
    assert (entry.data["from"], entry.data["reason"]) == (found, "no longer needed")


async def test_cancelling_twice_changes_nothing(db):
    task = await put(db, "cancelled")
    trail = await db.audit.list()
    assert await db.tasks.cancel(task, reason="second") == task
    assert await db.audit.list() == trail


@pytest.mark.parametrize("found", ["completed", "failed"])
async def test_a_task_that_has_ended_cannot_be_cancelled(db, found):
    task = await put(db, found)
    with pytest.raises(IllegalMoveError) as caught:
        await db.tasks.cancel(task)
    assert (caught.value.found, caught.value.wanted, caught.value.task_id) == (found, "cancelled", task.id)
    assert await db.tasks.get(task) == task


async def test_a_task_that_does_not_exist_cannot_be_cancelled_or_retried(db):
    with pytest.raises(UnknownTaskError):
        await db.tasks.cancel("nobody")
    with pytest.raises(UnknownTaskError):
        await db.tasks.retry("nobody")
    with pytest.raises(InvalidInputError):
        await db.tasks.cancel(17)


async def test_a_cancelled_tree_takes_everything_below_that_has_not_ended(db):
    root, *_ = await db.tasks.enqueue_many(
        [
            {"prompt": "root", "ref": "root", "agent_type": "root"},
            {"prompt": "a", "ref": "a", "parent": "root", "agent_type": "a"},
            {"prompt": "b", "ref": "b", "parent": "root", "agent_type": "b"},
            {"prompt": "a1", "ref": "a1", "parent": "a", "depends_on": ["b"]},
            {"prompt": "a2", "ref": "a2", "parent": "a"},
            {"prompt": "deep", "parent": "a1"},
            {"prompt": "other"},
        ]
    )
    (claim,) = await db.tasks.claim("w", agent_types=["a"])
    await db.tasks.complete(claim)
    (running,) = await db.tasks.claim("w", agent_types=["b"])
    await db.tasks.cancel(root, tree=True)
    found = {task.prompt: task.status for task in await db.tasks.list()}
    assert found == {
        "root": "cancelled",
        "a": "completed",
        "b": "cancelled",
        "a1": "cancelled",
        "a2": "cancelled",
        "deep": "cancelled",
        "other": "ready",
    }
    with pytest.raises(LeaseLostError):
        await db.tasks.complete(running)


async def test_without_tree_the_parts_go_on(db):
    root = await db.tasks.enqueue("root")
    part = await db.tasks.enqueue("part", parent=root)
    await db.tasks.cancel(root)
    assert (await db.tasks.get(part)).status == "ready"


async def test_the_tree_of_a_task_that_has_ended_can_be_cancelled(db):
    root = await put(db, "completed")
    part = await db.tasks.enqueue("part", parent=root)
    assert (await db.tasks.cancel(root, tree=True)).status == "completed"
    assert (await db.tasks.get(part)).status == "cancelled"


@pytest.mark.parametrize("found", ["failed", "cancelled"])
async def test_a_retry_gives_a_new_set_of_attempts(db, found):
    task = await put(db, found)
    again = await db.tasks.retry(task.id)
    assert (again.status, again.attempt, again.fence, again.completed_at) == ("ready", 0, 1, None)
    for attempt in range(1, task.max_attempts + 1):
        (claim,) = await db.tasks.claim("w", agent_types=["general"])
        assert (claim.task.attempt, claim.fence) == (attempt, attempt + 1)
        status = await db.tasks.fail(claim, f"error {attempt}", retry_in=0)
    assert status == "failed"
    assert (await db.tasks.get(task)).error == "error 3"


@pytest.mark.parametrize("found", ["ready", "blocked", "scheduled", "running", "completed"])
async def test_only_a_failed_or_cancelled_task_can_be_retried(db, found):
    task = await put(db, found)
    with pytest.raises(IllegalMoveError):
        await db.tasks.retry(task)
    assert await db.tasks.get(task) == task


async def test_a_retried_task_can_be_completed_and_its_earlier_error_is_kept(db):
    task = await put(db, "failed")
    await db.tasks.retry(task)
    (claim,) = await db.tasks.claim("w")
    await db.tasks.complete(claim, "good")
    found = await db.tasks.get(task)
    assert (found.status, found.result) == ("completed", "good")
    assert [one.error["message"] for one in await db.tasks.attempts(task)] == ["broken"]


async def test_a_cancelled_task_that_waited_for_its_time_still_waits_after_a_retry(db):
    task = await put(db, "scheduled")
    await db.tasks.cancel(task)
    assert (await db.tasks.retry(task)).status == "scheduled"
    await pass_time(db, 101)
    assert len(await db.tasks.claim("w")) == 1


async def test_a_retry_is_recorded_with_who_asked_for_it(make_db):
    db = await make_db(actor="ada")
    task = await put(db, "failed")
    await db.tasks.retry(task)
    entry = (await db.audit.list(task_id=task.id))[-1]
    assert (entry.actor, entry.data["retry"], entry.data["from"]) == ("ada", True, "failed")
