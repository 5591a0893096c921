"""Prune: what ended long ago goes with everything that belongs to it, and nothing else does."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from abathur import Prerequisite, Retention
from abathur.errors import InvalidInputError, UnknownTaskError
from abathur.schema import Column, Reference, Schema, Table
from tests.conformance.checks import check_invariants, execute, pass_time, select

NOW = timedelta(0)
ALL = Retention(completed=NOW, failed=NOW, cancelled=NOW)
LEFT = {
    f"left.{table}": f"SELECT COUNT(*) AS n FROM {table}"
    for table in ("tasks", "task_content", "task_attempts", "task_progress", "task_keys", "task_dependencies")
}


async def done(db, *, result=None, **options):
    """A completed task, with everything that a task can have."""
    task = await db.tasks.enqueue("x", agent_type="once", input={"a": 1}, max_attempts=5, **options)
    (claim,) = await db.tasks.claim("w", agent_types=["once"])
    await db.tasks.heartbeat(claim, progress=0.5, message="half")
    await db.tasks.fail(claim, "broken", retry_in=0)
    (claim,) = await db.tasks.claim("w", agent_types=["once"])
    await db.tasks.complete(claim, result or {"ok": True})
    return task


async def left(db) -> dict[str, int]:
    found = {name: await db.read(select, name) for name in LEFT}
    return {name.removeprefix("left."): rows[0]["n"] for name, rows in found.items()}


async def test_what_belongs_to_a_task_goes_with_it(make_db):
    db = await make_db(queries=LEFT)
    task = await done(db, key="k")
    assert min((await left(db)).values()) == 0  # no edges
    pruned = await db.tasks.prune(ALL)
    assert (pruned.tasks, pruned.by_status, pruned.needed, pruned.refused) == (1, {"completed": 1}, 0, 0)
    assert pruned.audit_rows == 5
    assert set((await left(db)).values()) == {0}
    assert await db.tasks.counts() == {}
    with pytest.raises(UnknownTaskError):
        await db.tasks.get(task.id)
    assert [entry.action for entry in await db.audit.list()] == ["audit.pruned"]
    again = await db.tasks.enqueue("x", key="k")  # the key is free again
    assert again.id != task.id
    report = await db.audit.verify()
    assert (report.ok, report.pruned, report.rows) == (True, 5, 2)


async def test_a_dry_run_says_what_would_go_and_changes_nothing(db):
    await done(db)
    before = await db.tasks.list(), await db.audit.list()
    pruned = await db.tasks.prune(ALL, dry_run=True)
    assert (pruned.tasks, pruned.by_status, pruned.dry_run) == (1, {"completed": 1}, True)
    assert (await db.tasks.list(), await db.audit.list()) == before
    assert (await db.tasks.prune(ALL)).tasks == pruned.tasks


async def test_each_status_has_an_age_of_its_own(db):
    await done(db)
    failed = await db.tasks.enqueue("f", max_attempts=1)
    (claim,) = await db.tasks.claim("w")
    await db.tasks.fail(claim, "no")
    cancelled = await db.tasks.enqueue("c")
    await db.tasks.cancel(cancelled)
    running = await db.tasks.enqueue("r")
    await db.tasks.claim("w", lease=1000)
    ready = await db.tasks.enqueue("y")
    await pass_time(db, 100)
    keep = Retention(completed=timedelta(seconds=50), failed=timedelta(seconds=500))
    assert (await db.tasks.prune(keep)).by_status == {"completed": 1}
    assert {task.id for task in await db.tasks.list()} == {failed.id, cancelled.id, running.id, ready.id}
    assert (await db.tasks.prune(Retention())).tasks == 0
    await pass_time(db, 500)
    assert (await db.tasks.prune(keep)).by_status == {"failed": 1}
    assert (await db.tasks.prune(ALL)).by_status == {"cancelled": 1}
    assert {task.id for task in await db.tasks.list()} == {running.id, ready.id}


async def test_a_task_stays_while_one_that_waits_for_it_has_not_ended(db):
    first = await done(db)
    second = await db.tasks.enqueue("after", agent_type="later", depends_on=[first])
    assert (await db.tasks.prune(ALL)).needed == 1
    (claim,) = await db.tasks.claim("w", agent_types=["later"])
    assert (await db.tasks.prune(ALL)).needed == 1
    await db.tasks.complete(claim)
    assert (await db.tasks.prune(ALL)).tasks == 2
    with pytest.raises(UnknownTaskError):
        await db.tasks.get(second.id)


async def test_a_failed_task_stays_while_another_is_blocked_by_it(db):
    first = await db.tasks.enqueue("first", max_attempts=1)
    second = await db.tasks.enqueue("second", depends_on=[Prerequisite(first.id, on_failure="block")])
    (claim,) = await db.tasks.claim("w")
    await db.tasks.fail(claim, "no")
    assert (await db.tasks.prune(ALL)).needed == 1
    await db.tasks.cancel(second)
    assert (await db.tasks.prune(ALL)).tasks == 2


@pytest.mark.parametrize("more", [0, 30])
async def test_what_a_retry_would_wait_for_stays(db, more):
    first = await db.tasks.enqueue("first", agent_type="first", max_attempts=1)
    second = await db.tasks.enqueue("second", depends_on=[Prerequisite(first.id, on_failure="cancel")])
    (claim,) = await db.tasks.claim("w", agent_types=["first"])
    await db.tasks.fail(claim, "no")
    for _ in range(more):  # then the two are not in one batch
        await done(db, parent=second)
    assert (await db.tasks.prune(Retention(failed=NOW))).needed == 1
    assert (await db.tasks.prune(Retention(failed=NOW, completed=NOW))).needed == 1
    assert (await db.tasks.retry(second)).status == "blocked"
    await db.tasks.cancel(second)
    assert (await db.tasks.prune(ALL)).tasks == 2
    assert await db.tasks.list() == []


async def test_parts_stay_with_their_parent_and_a_parent_with_its_parts(db):
    parent = await db.tasks.enqueue("parent", agent_type="parent")
    part = await done(db, parent=parent)
    assert (await db.tasks.prune(ALL)).needed == 1  # the parent may still want to read it
    (claim,) = await db.tasks.claim("w", agent_types=["parent"])
    await db.tasks.complete(claim)
    open_part = await db.tasks.enqueue("open", agent_type="open", parent=part)
    assert (await db.tasks.prune(ALL)).needed == 2
    await db.tasks.cancel(open_part)
    pruned = await db.tasks.prune(Retention(completed=NOW))
    assert (pruned.tasks, pruned.needed) == (0, 2)  # the cancelled part is not old enough
    assert (await db.tasks.prune(ALL)).tasks == 3


async def test_a_long_chain_of_parts_goes_in_one_call(db):
    above = None
    for _ in range(70):
        above = await done(db, parent=above)
    would = await db.tasks.prune(ALL, dry_run=True)
    assert (would.tasks, would.needed) == (70, 0)
    assert (await db.tasks.prune(ALL)).tasks == 70


async def test_many_tasks_go_in_small_transactions_and_progress_is_told(db):
    await db.tasks.enqueue_many({"prompt": f"{n}"} for n in range(300))
    while claims := await db.tasks.claim("w", limit=100):
        await asyncio.gather(*(db.tasks.complete(claim) for claim in claims[:80]))
        for claim in claims[80:]:
            await db.tasks.fail(claim, "no", retry=False)
    told = []
    pruned = await db.tasks.prune(Retention(completed=NOW), progress=lambda *numbers: told.append(numbers))
    assert pruned.by_status == {"completed": 240}
    assert told == [(300, 300)]
    assert await db.tasks.counts() == {"failed": 60}
    report = await db.audit.verify()
    assert (report.ok, report.pruned) == (True, 720)
    assert len(await db.audit.list(action="audit.pruned")) > 5


async def test_two_that_prune_at_once_beside_writers_lose_nothing(db, make_db, processes):
    other = await make_db()
    await db.tasks.enqueue_many({"prompt": f"{n}"} for n in range(200))
    for claim in await db.tasks.claim("w", limit=100):
        await db.tasks.complete(claim)

    async def write():
        for n in range(50):
            await other.tasks.enqueue(f"new {n}")

    first, second, _ = await asyncio.gather(db.tasks.prune(ALL), other.tasks.prune(ALL), write())
    assert first.tasks + second.tasks == 100
    assert await db.tasks.counts() == {"ready": 150}
    assert (await db.audit.verify()).ok


async def test_a_task_that_was_retried_in_the_meantime_stays(db):
    task = await db.tasks.enqueue("x")
    await db.tasks.cancel(task)
    await db.tasks.retry(task)
    assert (await db.tasks.prune(ALL)).tasks == 0


async def test_rows_of_other_tables_keep_their_tasks(make_db):
    notes = Schema(
        owner="notes",
        tables=(
            Table(
                "notes",
                (
                    Column("id", "INTEGER", primary_key=True),
                    Column("task_id", "TEXT", references=Reference("tasks", "id")),
                ),
            ),
        ),
    )
    db = await make_db(schema=notes, queries={"notes.add": "INSERT INTO notes (task_id) VALUES (:id)"})
    tasks = [await done(db) for _ in range(8)]

    def add():
        yield from execute("notes.add", id=tasks[3].id)

    await db.run(add)
    pruned = await db.tasks.prune(ALL)
    assert (pruned.tasks, pruned.refused) == (7, 1)
    assert [task.id for task in await db.tasks.list()] == [tasks[3].id]
    await check_invariants(db)


@pytest.mark.parametrize("age", [-1, timedelta(seconds=-1), "30d", 3.5])
def test_a_retention_is_a_length_of_time(age):
    with pytest.raises(InvalidInputError, match="retention of completed"):
        Retention(completed=age)


async def test_prune_wants_a_retention(db):
    with pytest.raises(InvalidInputError, match="no retention"):
        await db.tasks.prune(timedelta(days=1))


async def test_free_pages_are_given_back(db, file):
    for n in range(40):
        await db.tasks.enqueue(f"{n}", input={"x": "y" * 20_000})
    for task in await db.tasks.list():
        await db.tasks.cancel(task)
    assert (await db.tasks.prune(ALL)).tasks == 40
    before = await db.space()
    assert before.can_shrink
    assert before.free > 150
    assert before.free_bytes == before.free * before.page_size
    told = []
    freed = await db.shrink(progress=lambda *numbers: told.append(numbers))
    after = await db.space()
    assert after.free == 0
    assert freed == (before.pages - after.pages) * before.page_size
    assert told[-1] == (before.free, before.free)
    assert await db.shrink() == 0
