"""A task's tree, and the critical path to it."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest

from abathur import CriticalPath, Database, Prerequisite, PrerequisiteState
from abathur.errors import DependencyCycleError, InvalidInputError, UnknownTaskError
from tests.conformance.checks import execute, pass_time


@pytest.fixture
async def family(db):
    """A root with two parts, the second of which has two parts and waits for the first."""
    root = await db.tasks.enqueue("root")
    a = await db.tasks.enqueue("a", parent=root, agent_type="a")
    b = await db.tasks.enqueue("b", parent=root, depends_on=[a], agent_type="b")
    c = await db.tasks.enqueue("c", parent=b)
    d = await db.tasks.enqueue("d", parent=b, depends_on=[a, c])
    await db.tasks.enqueue("a stranger", depends_on=[root])
    return root, a, b, c, d


async def test_a_tree_has_each_task_followed_by_its_parts(db, family):
    root, a, b, c, d = family
    found = await db.tasks.tree(root)
    assert not found.more
    assert [(one.id, one.depth, one.parent) for one in found.tasks] == [
        (root.id, 0, None),
        (a.id, 1, root.id),
        (b.id, 1, root.id),
        (c.id, 2, b.id),
        (d.id, 2, b.id),
    ]
    assert [one.id for one in (await db.tasks.tree(b)).tasks] == [b.id, c.id, d.id]


async def test_a_tree_says_how_each_task_stands(db, family):
    root, a, b, c, d = family
    (claim,) = await db.tasks.claim("w1", agent_types=["a"])
    await db.tasks.heartbeat(claim, progress=0.4, message="compiling")
    found = {one.id: one for one in (await db.tasks.tree(root)).tasks}
    assert (found[a.id].status, found[a.id].worker, found[a.id].attempt) == ("running", "w1", 1)
    assert found[a.id].progress == await db.tasks.progress(a)
    assert found[root.id].progress is None
    assert (found[b.id].status, found[b.id].agent_type, found[b.id].summary) == ("blocked", "b", "b")
    assert list(found[d.id].prerequisites) == await db.tasks.prerequisites(d)
    assert found[d.id].prerequisites == tuple(
        PrerequisiteState(task_id=one.id, status=status, summary=one.summary, on_failure="block", met=False)
        for one, status in [(a, "running"), (c, "ready")]
    )


@pytest.mark.parametrize(("limit", "names"), [(1, "root"), (2, "root a"), (3, "root a b"), (4, "root a b c")])
async def test_a_tree_that_is_cut_says_so(db, family, limit, names):
    found = await db.tasks.tree(family[0], limit=limit)
    assert found.more
    assert " ".join(one.summary for one in found.tasks) == names
    assert not (await db.tasks.tree(family[0], limit=5)).more


async def test_tasks_that_are_parts_of_each_other_have_an_end(db):
    refs = [{"prompt": name, "ref": name, "parent": parent} for name, parent in ["ab", "bc", "ca"]]
    a, b, c = await db.tasks.enqueue_many(refs)
    assert [one.id for one in (await db.tasks.tree(a)).tasks] == [a.id, c.id, b.id]
    await db.tasks.cancel(a, tree=True)
    assert await db.tasks.counts() == {"cancelled": 3}


@pytest.mark.parametrize("limit", [0, 10_001, "5", True])
async def test_a_wrong_limit_and_an_unknown_task_are_refused(db, limit):
    task = await db.tasks.enqueue("x")
    with pytest.raises(InvalidInputError):
        await db.tasks.tree(task, limit=limit)
    for read in (db.tasks.tree, db.tasks.critical_path):
        with pytest.raises(UnknownTaskError):
            await read("nobody")


# -- the critical path -----------------------------------------------------------------------------


def told(path: CriticalPath) -> list[tuple[str, float]]:
    return [(one.summary, pytest.approx(one.seconds, abs=0.5)) for one in path.tasks]


async def test_the_path_is_the_chain_that_takes_longest_and_each_task_has_its_part(db):
    a = await db.tasks.enqueue("a", estimated_duration=10)
    b = await db.tasks.enqueue("b", estimated_duration=50)
    c = await db.tasks.enqueue("c", estimated_duration=30, depends_on=[a])
    d = await db.tasks.enqueue("d", estimated_duration=30, depends_on=[a, c])
    e = await db.tasks.enqueue("e", estimated_duration=5, depends_on=[b, d])
    path = await db.tasks.critical_path(e)
    assert told(path) == [("a", 10), ("c", 30), ("d", 30), ("e", 5)]
    assert path.seconds == 75
    assert (path.never, path.more) == (False, False)
    assert {one.basis for one in path.tasks} == {"estimate"}
    (claim,) = await db.tasks.claim("w")  # a, for which most wait
    await db.tasks.complete(claim)
    assert told(await db.tasks.critical_path(e)) == [("c", 30), ("d", 30), ("e", 5)]


async def test_where_nothing_is_known_the_longest_chain_by_number_wins(db):
    a, b, c = [await db.tasks.enqueue(name) for name in "abc"]
    d = await db.tasks.enqueue("d", depends_on=[a, b, c])
    e = await db.tasks.enqueue("e", depends_on=[d, c])
    path = await db.tasks.critical_path(e)
    assert path.seconds == 3
    assert [one.summary for one in path.tasks][1:] == ["d", "e"]
    assert {(one.basis, one.estimate) for one in path.tasks} == {("unknown", 1.0)}


async def test_what_an_agent_type_took_lately_stands_in_for_a_missing_estimate(db):
    for seconds in (10, 20):
        await db.tasks.enqueue("done", agent_type="slow")
        (claim,) = await db.tasks.claim("w", lease=100)
        await pass_time(db, seconds)
        await db.tasks.complete(claim)
    a = await db.tasks.enqueue("a", agent_type="slow")
    b = await db.tasks.enqueue("b", agent_type="other", depends_on=[a])
    slow, other = (await db.tasks.critical_path(b)).tasks
    assert (slow.basis, slow.estimate) == ("recent", pytest.approx(15, abs=0.5))
    assert (other.basis, other.estimate) == ("unknown", 1.0)


async def test_what_runs_counts_with_what_is_left_and_what_is_scheduled_with_its_wait(db):
    running = await db.tasks.enqueue("running", estimated_duration=100)
    (claim,) = await db.tasks.claim("w", lease=1000)
    await pass_time(db, 60)
    now = (await db.tasks.enqueue("y")).submitted_at
    later = await db.tasks.enqueue("later", estimated_duration=5, run_at=now + timedelta(seconds=20))
    task = await db.tasks.enqueue("x", estimated_duration=1, depends_on=[running, later])
    assert told(await db.tasks.critical_path(task)) == [("running", 40), ("x", 1)]
    await pass_time(db, 30)  # longer than it was estimated
    assert told(await db.tasks.critical_path(later)) == [("later", 5)]
    await db.tasks.complete(claim)
    assert told(await db.tasks.critical_path(task)) == [("later", 5), ("x", 1)]


async def test_a_run_at_of_its_own_can_decide_instead_of_its_prerequisites(db):
    a = await db.tasks.enqueue("a", estimated_duration=10)
    run_at = a.submitted_at + timedelta(seconds=1_000)
    b = await db.tasks.enqueue("b", estimated_duration=2, depends_on=[a], run_at=run_at)
    assert told(await db.tasks.critical_path(b)) == [("b", 1_002)]


async def test_a_task_that_has_ended_has_no_path_and_one_that_waits_for_a_failed_one_never_ends(db):
    a = await db.tasks.enqueue("a", max_attempts=1)
    b = await db.tasks.enqueue("b", depends_on=[a])
    ignoring = await db.tasks.enqueue("c", depends_on=[Prerequisite(a.id, "ignore")])
    (claim,) = await db.tasks.claim("w")
    await db.tasks.fail(claim, "no")
    assert await db.tasks.critical_path(a) == CriticalPath(tasks=(), seconds=0, never=False, more=False)
    path = await db.tasks.critical_path(b)
    assert ([one.status for one in path.tasks], path.never) == (["failed", "blocked"], True)
    assert told(await db.tasks.critical_path(ignoring)) == [("c", 1)]


async def test_a_circle_that_an_older_version_left_is_named():
    edge = (
        "INSERT INTO task_dependencies (id, dependent_task_id, prerequisite_task_id, created_at)"
        " VALUES (:dependent || :prerequisite, :dependent, :prerequisite, '2020-01-01 00:00:00')"
    )
    async with Database(":memory:", queries={"test.edge": edge}) as db:
        a, b, c = [await db.tasks.enqueue(name) for name in "abc"]
        for dependent, prerequisite in [(a, b), (b, a), (c, b)]:
            await db.run(partial(execute, "test.edge", dependent=dependent.id, prerequisite=prerequisite.id))
        with pytest.raises(DependencyCycleError) as caught:
            await db.tasks.critical_path(c)
        assert caught.value.cycle == [b.id, a.id, b.id]
