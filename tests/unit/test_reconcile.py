"""Reconcile: tasks that an older version or a crash has left adrift move on, with their trail."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from abathur import Database
from abathur.tasks import reconcile
from tests import older


@pytest.fixture
async def db(tmp_path):
    path = tmp_path / "older.db"
    older.first(path)
    async with Database(path) as db:
        yield db
        assert (await db.audit.verify()).ok


def change(db, text: str) -> None:
    """Do by SQL what an older version did."""
    with closing(sqlite3.connect(db.name, isolation_level=None)) as other:
        other.execute(text)


async def actions(db, task_id: str) -> list[str]:
    """What this version has written into the trail of a task; older rows have names of their own."""
    trail = await db.audit.list(task_id=task_id)
    return [entry.action for entry in trail if entry.action.startswith("task.")]


async def test_pending_tasks_become_ready_or_blocked_and_running_ones_without_a_lease_expire(db):
    before = {task.id: task.status for task in await db.tasks.list(limit=100)}
    pending = [task_id for task_id, status in before.items() if status == "pending"]
    running = [task_id for task_id, status in before.items() if status == "running"]
    assert len(pending) == 3
    assert len(running) == 1
    moved = await db.tasks.reconcile()
    assert moved == len(pending) + len(running)
    after = {task.id: task for task in await db.tasks.list(limit=100)}
    assert {after[task_id].status for task_id in pending} <= {"ready", "blocked"}
    for task_id in pending:
        assert await actions(db, task_id) == [f"task.{after[task_id].status}"]
    assert after[running[0]].status == "ready"
    assert (await db.tasks.attempts(running[0]))[-1].outcome == "expired"
    ended = {task_id for task_id, status in before.items() if status not in ("pending", "running")}
    assert {task_id: after[task_id].status for task_id in ended} == {one: before[one] for one in ended}
    assert await db.tasks.reconcile() == 0


async def test_a_blocked_task_whose_prerequisites_are_all_met_is_freed(db):
    task = await db.tasks.enqueue("x")
    later = await db.tasks.enqueue("y")
    change(db, f"UPDATE tasks SET status = 'blocked' WHERE id = '{task.id}'")
    change(
        db,
        f"UPDATE tasks SET status = 'blocked', run_at = {2**52} WHERE id = '{later.id}'",  # far ahead
    )
    await db.tasks.reconcile()
    assert (await db.tasks.get(task)).status == "ready"
    assert (await db.tasks.get(later)).status == "scheduled"


async def test_a_blocked_task_that_waits_is_not_touched(db):
    first = await db.tasks.enqueue("x")
    second = await db.tasks.enqueue("y", depends_on=[first])
    await db.tasks.reconcile()
    assert (await db.tasks.get(second)).status == "blocked"
    change(db, f"UPDATE tasks SET unmet = 0 WHERE id = '{second.id}'")
    await db.tasks.reconcile()
    found = await db.tasks.get(second)
    assert (found.status, found.unmet) == ("blocked", 1), "the edges are the truth"


async def test_many_are_moved_in_several_transactions(db, monkeypatch):
    monkeypatch.setattr(reconcile, "BATCH", 1)
    assert await db.tasks.reconcile() == 4
