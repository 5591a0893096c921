"""Whoever reads the trail on misses nothing, one at a time, and nothing is pruned before it was read."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from abathur import Retention
from abathur.audit import readers


async def test_a_reader_begins_where_the_trail_ends_and_reads_every_row_after_it(db):
    await db.tasks.enqueue("before")
    held = await db.run(readers.hold, "r", "one", 60.0)
    assert await db.read(readers.page, held.last_id, 10) == []
    task = await db.tasks.enqueue("after", agent_type="a", project="p")
    (claim,) = await db.tasks.claim("w", agent_types=["a"])
    await db.tasks.complete(claim)
    told = await db.read(readers.page, held.last_id, 10)
    assert [one.action for one in told] == ["task.ready", "task.running", "task.completed"]
    assert {one.task_id for one in told} == {task.id}
    assert [one.id for one in told] == list(range(held.last_id + 1, held.last_id + 4))
    assert (told[0].agent_type, told[0].project, told[0].data["from"]) == ("a", "p", "new")
    assert await db.read(readers.page, held.last_id, 2) == told[:2]


async def test_one_holder_at_a_time_moves_a_reader_on(db):
    first = await db.run(readers.hold, "r", "one", 60.0)
    assert await db.run(readers.hold, "r", "other", 60.0) is None
    assert await db.run(readers.advance, first, 5, 60.0)
    again = await db.run(readers.hold, "r", "one", 60.0)
    assert (again.last_id, again.fence) == (5, first.fence + 1)
    assert not await db.run(readers.advance, first, 6, 60.0)
    await db.run(readers.let_go, again)
    other = await db.run(readers.hold, "r", "other", 0.0)
    assert other.last_id == 5
    assert await db.run(readers.hold, "r", "third", 60.0) is not None  # its time is over
    assert not await db.run(readers.advance, other, 7, 60.0)


async def test_of_many_who_want_to_read_on_at_once_one_does(db):
    held = await asyncio.gather(*(db.run(readers.hold, "r", str(n), 60.0) for n in range(8)))
    assert len([one for one in held if one is not None]) == 1


async def test_a_task_stays_until_every_reader_has_read_it_or_was_away_for_long(db):
    held = await db.run(readers.hold, "r", "one", 60.0)
    await db.tasks.enqueue("x")
    (claim,) = await db.tasks.claim("w")
    await db.tasks.complete(claim)
    now = Retention(completed=timedelta(0))
    assert (await db.tasks.prune(now, dry_run=True)).tasks == 0
    assert (await db.tasks.prune(now)).tasks == 0
    assert await db.read(readers.behind) == {"r": 3}
    assert await db.run(readers.advance, held, held.last_id + 3, 60.0)
    assert await db.read(readers.behind) == {"r": 0}
    assert (await db.tasks.prune(now)).tasks == 1


async def test_a_reader_that_was_given_up_holds_nothing_up_for_ever(db):
    await db.run(readers.hold, "r", "one", 60.0)
    await db.run(_seen_long_ago)
    await db.tasks.enqueue("x")
    (claim,) = await db.tasks.claim("w")
    await db.tasks.complete(claim)
    assert (await db.tasks.prune(Retention(completed=timedelta(0)))).tasks == 1


def _seen_long_ago():
    from abathur.script import Built

    yield Built("UPDATE audit_readers SET seen_at = ?", [1])
