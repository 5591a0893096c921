"""`db.tasks.prerequisites`: what a task waits for."""

from __future__ import annotations

import pytest

from abathur import Database, Prerequisite, PrerequisiteState
from abathur.errors import UnknownTaskError


@pytest.fixture(params=["memory", "file"])
async def db(request, tmp_path):
    async with Database(":memory:" if request.param == "memory" else tmp_path / "agents.db") as db:
        yield db


async def test_each_prerequisite_is_told_with_what_its_failure_would_do_and_whether_it_is_met(db):
    done, ignored, waiting = [
        await db.tasks.enqueue(prompt, agent_type=prompt) for prompt in ("done", "ignored", "waiting")
    ]
    task = await db.tasks.enqueue(
        "last", depends_on=[waiting, Prerequisite(ignored.id, "ignore"), Prerequisite(done.id, "fail")]
    )
    before = await db.tasks.prerequisites(task)
    assert [one.met for one in before] == [False] * 3
    (claim,) = await db.tasks.claim("w", agent_types=["done"])
    await db.tasks.complete(claim)
    await db.tasks.cancel(ignored)
    assert await db.tasks.prerequisites(task.id) == [
        PrerequisiteState(task_id=done.id, status="completed", summary="done", on_failure="fail", met=True),
        PrerequisiteState(
            task_id=ignored.id, status="cancelled", summary="ignored", on_failure="ignore", met=True
        ),
        PrerequisiteState(
            task_id=waiting.id, status="ready", summary="waiting", on_failure="block", met=False
        ),
    ]
    assert await db.tasks.prerequisites(waiting) == []


async def test_a_task_that_does_not_exist_has_no_prerequisites_to_tell(db):
    with pytest.raises(UnknownTaskError):
        await db.tasks.prerequisites("no-such-task")
