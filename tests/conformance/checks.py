"""What must hold of every database after whatever was done to it, and how to let time pass."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec

from abathur import Database, Statement
from abathur.script import Script
from abathur.states import MOVES, NEW, RUNNING, TERMINAL

QUERIES = {
    "check.tasks": "SELECT id, agent_type, status, fence, unmet, lease_expires_at, completed_at FROM tasks",
    "check.trail": (
        "SELECT id, task_id, action_type, action_data FROM audit WHERE action_type LIKE 'task.%' ORDER BY id"
    ),
    "check.counted": "SELECT agent_type, status, COUNT(*) AS n FROM tasks GROUP BY agent_type, status",
    "check.kept": "SELECT agent_type, status, n FROM task_counts WHERE n <> 0",
    "check.unmet": (
        "SELECT dependent_task_id AS id, COUNT(*) AS n FROM task_dependencies"
        " WHERE resolved_at IS NULL GROUP BY dependent_task_id"
    ),
    "check.orphans": (
        "SELECT task_id AS id FROM task_content WHERE task_id NOT IN (SELECT id FROM tasks)"
        " UNION ALL SELECT task_id FROM task_keys WHERE task_id NOT IN (SELECT id FROM tasks)"
        " UNION ALL SELECT dependent_task_id FROM task_dependencies"
        " WHERE dependent_task_id NOT IN (SELECT id FROM tasks)"
        " UNION ALL SELECT prerequisite_task_id FROM task_dependencies"
        " WHERE prerequisite_task_id NOT IN (SELECT id FROM tasks)"
    ),
}
"""The statements of the checks; a database that is to be checked is opened with them."""


def select(name: str, **params: Any) -> Script[list[dict[str, Any]]]:
    """A script: the rows of one statement, as dicts."""
    rows = yield Statement(name, **params)
    return [dict(row) for row in rows]


def execute(name: str, **params: Any) -> Script[None]:
    """A script: one statement that changes something."""
    yield Statement(name, **params)


def _everything() -> Script[dict[str, list[dict[str, Any]]]]:
    found = {}
    for name in QUERIES:
        found[name] = yield from select(name)
    return found


async def check_invariants(db: Database, *, trail: bool = True) -> int:
    """Fail unless counts, audit trail and seals agree with the tasks. Returns the number of transitions.

    `trail=False` leaves out the seals, for a test that has tampered with them.
    """
    found = await db.read(_everything)
    kept = {(row["agent_type"], row["status"]): row["n"] for row in found["check.kept"]}
    counted = {(row["agent_type"], row["status"]): row["n"] for row in found["check.counted"]}
    assert kept == counted, "the counts that are kept differ from the tasks that there are"
    assert not found["check.orphans"], "rows of tasks that do not exist"
    moves: dict[str, list[dict[str, Any]]] = {}
    for row in found["check.trail"]:
        moves.setdefault(row["task_id"], []).append(row)
    tasks = {row["id"]: row for row in found["check.tasks"]}
    if trail:
        assert moves.keys() == tasks.keys(), "tasks without a trail, or a trail without a task"
        for task_id, made in moves.items():
            _check_task(tasks[task_id], made)
        report = await db.audit.verify()
        assert report.ok, report
    open_edges = {row["id"]: row["n"] for row in found["check.unmet"]}
    for task in tasks.values():
        if task["status"] not in TERMINAL:
            assert task["unmet"] == open_edges.get(task["id"], 0), f"unmet of {task}"
            assert (task["status"] == "blocked") == bool(task["unmet"]), task
    return len(found["check.trail"])


def _check_task(task: dict[str, Any], made: list[dict[str, Any]]) -> None:
    """One audit row per transition, each where the one before it led to, all of them legal."""
    at = NEW
    fences = []
    for row in made:
        to = row["action_type"].removeprefix("task.")
        data = json.loads(row["action_data"])
        origin = data["from"]
        assert origin == at, f"{task['id']} was {at}, and row {row['id']} says {origin} -> {to}"
        assert to in MOVES[at], f"{task['id']}: {at} -> {to} is no legal move"
        at = to
        if to == RUNNING:
            fences.append(data["fence"])
    assert at == task["status"], f"the trail of {task['id']} ends in {at}, and it is {task['status']}"
    done = Counter(row["action_type"] for row in made)
    assert done["task.completed"] <= 1
    assert fences == list(range(1, task["fence"] + 1)), f"fences {fences} of {task}"
    assert (task["lease_expires_at"] is not None) == (task["status"] == RUNNING), task
    assert (task["completed_at"] is not None) == (task["status"] in TERMINAL), task


def changed(value: Any, **fields: Any) -> Any:
    """A copy of a task or claim in which some fields are different."""
    return msgspec.structs.replace(value, **fields)


def _now(now: int) -> Script[int]:
    return now
    yield


async def pass_time(db: Database, seconds: float) -> None:
    """Let this database's clock go on by so many seconds."""
    moment = await db.run(_now)
    db.engine.not_before(moment + timedelta(seconds=seconds) // timedelta(microseconds=1))
