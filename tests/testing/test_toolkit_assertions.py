"""Assertions about tasks, and the messages by which one sees what came near."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from abathur.errors import IllegalMoveError, InvalidInputError, UnknownTaskError
from abathur.testing import (
    FakeClock,
    TaskFactory,
    assert_cancelled,
    assert_completed,
    assert_enqueued,
    assert_failed,
    assert_status,
    claim_task,
    make_graph,
    make_task,
    make_tasks,
    refute_enqueued,
)


@pytest.fixture
async def db(make_db):
    return await make_db(clock=FakeClock())


async def message_of(asserting) -> str:
    with pytest.raises(AssertionError) as caught:
        await asserting
    return str(caught.value)


# -- enqueued ----------------------------------------------------------------------------------


async def test_a_task_is_found_by_a_part_of_its_input(db):
    made = await make_task(
        db, agent_type="reviewer", input={"path": "a.py", "lines": [1, 2], "more": {"deep": True, "x": None}}
    )
    found = await assert_enqueued(db, agent_type="reviewer", input={"more": {"deep": True}})
    assert found == made
    assert await assert_enqueued(db, input={"lines": [1, 2]}, project=None, priority=5) == made
    assert await assert_enqueued(db, input={"lines": (1, ...)}, prompt=re.compile("task$")) == made
    assert await assert_enqueued(db, input={"path": str}, priority=lambda found: found > 3) == made
    assert await assert_enqueued(db, input={"path": "a.py", "more": {"x": None}}) == made


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": "b.py"},
        {"lines": [1]},
        {"lines": [1, 3]},
        {"more": {"deep": 1}},
        {"more": {"deeper": ...}},
        {"more": {"absent": None}},
        {"path": int},
        ["path"],
        "path",
    ],
)
async def test_a_task_with_another_input_is_not_found(db, wrong):
    await make_task(db, input={"path": "a.py", "lines": [1, 2], "more": {"deep": True}})
    await refute_enqueued(db, input=wrong)
    assert "input" in await message_of(assert_enqueued(db, input=wrong))


async def test_the_message_lists_the_nearest_tasks_first_and_says_what_differs(db):
    await make_task(db, "Write the docs", agent_type="writer", input={"path": "b.py"})
    near = await make_task(db, "Review b", agent_type="reviewer", input={"path": "b.py", "level": 1})
    await make_tasks(db, 3, agent_type="builder", input={})
    said = await message_of(assert_enqueued(db, agent_type="reviewer", input={"path": "a.py", "level": 1}))
    lines = said.splitlines()
    assert lines[0] == (
        "No task was enqueued with agent_type='reviewer', input={'path': 'a.py', 'level': 1}. "
        "5 others were, the nearest first:"
    )
    assert lines[1] == f"  {near.id} ready reviewer 'Review b'"
    assert lines[2] == "      input['path']: expected 'a.py', found 'b.py'"
    assert "      input['level']: expected 1, found nothing" in lines
    assert lines[-1] == "  and 2 more"


async def test_the_message_of_an_empty_database_says_so(db):
    assert await message_of(assert_enqueued(db, agent_type="x")) == (
        "No task was enqueued with agent_type='x'. There is no task at all."
    )


async def test_a_count_is_exact_and_returns_all(db):
    made = await make_tasks(db, 3, agent_type="reviewer", input=lambda n: {"n": n})
    assert await assert_enqueued(db, count=3, agent_type="reviewer") == made
    assert await assert_enqueued(db, count=0, agent_type="builder") == []
    said = await message_of(assert_enqueued(db, count=1, input={"n": lambda n: n > 0}))
    assert said.startswith("2 tasks were enqueued with input={'n': <function")
    assert "Others came near:" in said
    assert "not 1." in said


async def test_a_refuted_task_that_is_there_is_shown(db):
    await refute_enqueued(db)
    task = await make_task(db, "Mail it", agent_type="mailer")
    assert await message_of(refute_enqueued(db, agent_type="mailer")) == (
        f"A task was enqueued with agent_type='mailer':\n  {task.id} ready mailer 'Mail it'"
    )
    await refute_enqueued(db, agent_type="mailer", status="running")


async def test_a_task_is_found_by_what_it_waits_for_and_is_a_part_of(db):
    graph = await make_graph(db, "fetch, load -> parse")
    child = await make_task(db, parent=graph["fetch"])
    assert await assert_enqueued(db, depends_on=[graph["fetch"], graph["load"].id]) == graph["parse"]
    assert await assert_enqueued(db, depends_on=graph["load"]) == graph["parse"]
    assert await assert_enqueued(db, parent=graph["fetch"]) == child
    assert "depends_on: expected" in await message_of(assert_enqueued(db, depends_on=[graph["parse"]]))


async def test_a_field_that_no_task_has_is_refused(db):
    with pytest.raises(InvalidInputError, match="no field 'agent'"):
        await assert_enqueued(db, agent="reviewer")
    with pytest.raises(InvalidInputError, match="no field 'results'"):
        await assert_completed(db, await make_task(db), results=1)


# -- ends --------------------------------------------------------------------------------------


async def test_ends_are_asserted_with_their_results_and_errors(db):
    done = await make_task(db, status="completed", result={"verdict": "good", "score": 3})
    failed = await make_task(db, status="failed", error=ValueError("no such file: a.py"))
    gone = await make_task(db, status="cancelled")
    assert await assert_completed(db, done, result={"verdict": "good"}) == done
    assert await assert_completed(db, result={"score": int}) == done
    assert await assert_failed(db, failed.id, error="no such file") == failed
    assert await assert_failed(db, error=re.compile(r"a\.py$")) == failed
    assert await assert_cancelled(db, gone) == gone
    assert await assert_status(db, "completed", done) == done
    said = await message_of(assert_completed(db, failed))
    assert said == (
        f"The task is not as expected: {failed.id} failed general 'A task'\n"
        "    status: expected 'completed', found 'failed'\n"
        "  Its last error: no such file: a.py"
    )
    assert "result['verdict']: expected 'bad', found 'good'" in await message_of(
        assert_completed(db, done, result={"verdict": "bad"})
    )
    assert "error: expected text with /timed/" in await message_of(assert_failed(db, error="timed"))
    with pytest.raises(UnknownTaskError):
        await assert_completed(db, "nope")
    with pytest.raises(InvalidInputError, match="status='done' is unknown"):
        await assert_status(db, "done", done)


async def test_the_message_about_a_task_that_has_not_ended_says_why(db):
    graph = await make_graph(db, "first -> second", tasks={"first": {"agent_type": "builder"}})
    said = await message_of(assert_completed(db, graph["second"]))
    assert "status: expected 'completed', found 'blocked'" in said
    assert "Why it has not ended:" in said
    assert graph["first"].id in said


# -- factories ---------------------------------------------------------------------------------


async def test_a_factory_makes_tasks_in_every_status_by_legal_moves(db):
    make = TaskFactory(db, agent_type="builder", priority=7)
    for status in ("ready", "scheduled", "blocked", "running", "completed", "failed", "cancelled"):
        task = await make(status=status, worker="w")
        assert (task.status, task.agent_type, task.priority) == (status, "builder", 7)
        assert (task.worker == "w") == (status in ("running", "completed", "failed"))
    assert (await make("Say it")).prompt == "Say it"
    assert (await db.audit.verify()).ok


async def test_a_scheduled_task_of_a_factory_is_due_in_an_hour_of_the_fake_clock(db):
    task = await make_task(db, status="scheduled")
    assert task.run_at == task.submitted_at + timedelta(hours=1)


async def test_a_status_that_the_parameters_do_not_allow_is_refused(db):
    with pytest.raises(InvalidInputError, match="status='done' is unknown"):
        await make_task(db, status="done")
    later = datetime(2999, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidInputError, match="is scheduled, not ready"):
        await make_task(db, status="ready", run_at=later)
    with pytest.raises(IllegalMoveError):
        await make_task(db, status="completed", run_at=later)


async def test_a_batch_computes_its_parameters_and_is_one_transaction(db):
    made = await make_tasks(db, 3, input=lambda n: {"n": n}, agent_type="x")
    assert [task.prompt for task in made] == ["Task 1", "Task 2", "Task 3"]
    assert [task.input for task in made] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert [one.status for one in await make_tasks(db, 2, status="failed")] == ["failed", "failed"]
    assert await make_tasks(db, 0) == []
    with pytest.raises(InvalidInputError, match="count=-1"):
        await make_tasks(db, -1)


@pytest.mark.parametrize(
    "shape",
    [
        "fetch -> parse, index -> report",
        "fetch -> parse -> report; fetch -> index -> report",
        "\n fetch -> parse, index\n parse, index -> report\n",
        {"parse": ["fetch"], "index": "fetch", "report": ("parse", "index")},
    ],
)
async def test_a_graph_is_written_as_chains_or_as_a_mapping(db, shape):
    graph = await make_graph(db, shape, agent_type="x", tasks={"report": {"priority": 9}})
    assert set(graph) == {"fetch", "parse", "index", "report"}
    assert [graph[name].status for name in ("fetch", "parse", "index", "report")] == [
        "ready", "blocked", "blocked", "blocked",
    ]  # fmt: skip
    before = {edge.task_id for edge in await db.tasks.prerequisites(graph["report"])}
    assert before == {graph["parse"].id, graph["index"].id}
    assert (graph["report"].priority, graph["fetch"].priority, graph["fetch"].prompt) == (9, 5, "fetch")


@pytest.mark.parametrize("shape", ["", "a ->", "a -> -> b", "a > b -> c", 3, {}, {"": []}])
async def test_what_is_no_graph_is_refused_in_words(db, shape):
    with pytest.raises(InvalidInputError, match="is no graph of tasks"):
        await make_graph(db, shape)
    await refute_enqueued(db)


async def test_parameters_for_a_task_that_the_graph_does_not_name_are_refused(db):
    with pytest.raises(InvalidInputError, match="names 'c'"):
        await make_graph(db, "a -> b", tasks={"c": {"priority": 9}})


async def test_a_claim_takes_this_very_task(db):
    await make_tasks(db, 3, priority=10)
    task = await make_task(db, priority=0)
    held = await claim_task(db, task, worker="me", lease=5)
    assert (held.task.id, held.worker, held.lease, held.task.status) == (task.id, "me", 5, "running")
    await db.tasks.complete(held)
    with pytest.raises(IllegalMoveError):
        await claim_task(db, task)
    with pytest.raises(UnknownTaskError):
        await claim_task(db, "nope")
