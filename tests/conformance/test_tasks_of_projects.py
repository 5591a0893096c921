"""Tasks that belong to projects: listed, claimed and run by project."""

from __future__ import annotations

import asyncio

import pytest

from abathur import Runner
from abathur.errors import InvalidInputError
from tests.conformance.checks import select


async def made(db, *projects, **more):
    """A task for each project, in this order."""
    return [(await db.tasks.enqueue(f"for {project}", project=project, **more)).id for project in projects]


async def claimed(db, **options):
    claims = await db.tasks.claim("w", limit=100, **options)
    return [(claim.task.id, claim.task.project) for claim in claims]


async def test_a_claim_for_projects_takes_their_tasks_alone_the_best_ranked_first(db):
    a, _, b, none, again = await made(db, "a", "c", "b", None, "a")
    urgent = (await db.tasks.enqueue("urgent", project="b", priority=9, agent_type="other")).id
    assert await claimed(db, projects=["a", "b"]) == [(urgent, "b"), (a, "a"), (b, "b"), (again, "a")]
    assert await claimed(db, projects=["a", "b"]) == []
    assert await claimed(db, projects="c", agent_types=["other"]) == []
    left = await claimed(db)
    assert {project for _, project in left} == {"c", None}
    assert none in {task_id for task_id, _ in left}


async def test_caps_hold_over_all_projects_of_a_claim(db):
    await made(db, "a", "b", "a", "b", agent_type="slow")
    await made(db, "a", "b", agent_type="fast")
    got = await db.tasks.claim(
        "w", limit=10, projects=["a", "b"], agent_types=["slow", "fast"], caps={"slow": 3}
    )
    assert sorted(claim.task.agent_type for claim in got) == ["fast", "fast", "slow", "slow", "slow"]
    got = await db.tasks.claim("w", limit=10, projects=["a", "b"], agent_types=["slow"], caps={"slow": 0})
    assert got == []


async def test_claims_for_different_projects_at_once_do_not_take_each_others_tasks(db):
    await made(db, *["a", "b"] * 5)
    got = await asyncio.gather(*(claimed(db, projects=[one]) for one in ("a", "b", "c")))
    assert [sorted({project for _, project in some}) for some in got] == [["a"], ["b"], []]
    assert [len(some) for some in got] == [5, 5, 0]


@pytest.mark.parametrize("wrong", [17, [""], [None], [17]])
async def test_projects_that_are_none_are_refused(db, wrong):
    with pytest.raises(InvalidInputError):
        await db.tasks.claim("w", projects=wrong)
    with pytest.raises(InvalidInputError):
        Runner(db, project=wrong)


async def test_no_project_at_all_claims_nothing_and_is_no_runner(db):
    await made(db, "a", None)
    assert await db.tasks.claim("w", projects=[]) == []
    with pytest.raises(InvalidInputError, match="no projects to work for"):
        Runner(db, project=[])


async def test_a_runner_of_a_project_runs_its_tasks_until_none_is_left(db):
    seen = []
    runner = Runner(db, project="a", concurrency=2)

    @runner.agent("general")
    async def general(ctx):
        seen.append(ctx.task.project)
        if len(seen) == 1:
            await ctx.enqueue("a part")

    await made(db, "a", "b", None, "a")
    await runner.run(until_idle=True)
    assert seen == ["a", "a", "a"]
    assert {task.project for task in await db.tasks.list(status="ready")} == {"b", None}
    assert [task.project for task in await db.tasks.list(project="a")] == ["a"] * 3


async def test_a_runner_of_projects_is_woken_by_a_task_of_theirs(db):
    done = asyncio.Event()
    runner = Runner(db, project=["a", "b"])

    @runner.agent("general")
    async def general(ctx):
        done.set()

    running = asyncio.create_task(runner.run())
    try:
        await made(db, "c")
        await asyncio.sleep(0.05)
        assert not done.is_set()
        await made(db, "b")
        await asyncio.wait_for(done.wait(), 10)
        (worker,) = await db.tasks.workers()
        assert worker.projects == ("a", "b")
    finally:
        runner.stop()
        await running


async def test_why_says_that_no_worker_takes_tasks_of_a_project(db):
    (of_a, of_c, of_none) = await made(db, "a", "c", None)
    runner = Runner(db, project="a")
    hold = asyncio.Event()

    @runner.agent("general")
    async def general(ctx):
        await hold.wait()

    assert (
        (await db.tasks.why(of_a))
        .reasons[0]
        .text.startswith("No live worker handles agent type 'general'. No worker")
    )
    running = asyncio.create_task(runner.run())
    try:
        for _ in range(500):
            if await db.tasks.workers():
                break
            await asyncio.sleep(0.01)
        why = (await db.tasks.why(of_c)).reasons[0]
        assert why.text.startswith("No live worker handles agent type 'general' for project 'c'.")
        assert (why.code, why.data["project"]) == ("no_worker", "c")
        assert "for tasks without a project." in str(await db.tasks.why(of_none))
        assert "no_worker" not in {reason.code for reason in (await db.tasks.why(of_a)).reasons}
    finally:
        hold.set()
        runner.stop()
        await running


async def test_the_index_for_projects_holds_only_ready_tasks_that_have_one(make_db, dialect):
    """So a task without a project does not pay for it."""
    text = {
        "sqlite": "SELECT sql AS text FROM sqlite_master WHERE name = 'tasks_ready_of'",
        "postgres": "SELECT indexdef AS text FROM pg_indexes WHERE indexname = 'tasks_ready_of'"
        " AND schemaname = current_schema()",
    }
    db = await make_db(queries={"test.index": text[dialect]})
    (found,) = await db.read(select, "test.index")
    assert "project_id IS NOT NULL" in found["text"]
    assert "ready" in found["text"]
