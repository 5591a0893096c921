"""Who is woken by which commit."""

from __future__ import annotations

import asyncio

from abathur.tasks.moves import TOPIC, Move
from abathur.tasks.watch import Watch


def commit(*moves):
    return {TOPIC: [Move(task_id, kind, found, status, None, "{}") for task_id, kind, found, status in moves]}


async def test_an_end_wakes_those_who_wait_for_that_task_only():
    watch = Watch()
    with watch.for_end("a") as one, watch.for_end("a") as two, watch.for_end("b") as other:
        watch.committed(commit(("a", "x", "ready", "running")))
        assert not one.is_set()
        watch.committed(commit(("a", "x", "running", "completed")))
        assert one.is_set()
        assert two.is_set()
        assert not other.is_set()
    assert not watch._ends


async def test_a_ready_task_rings_for_its_agent_type():
    watch = Watch()
    with (
        watch.for_ready(frozenset({"x"})) as x,
        watch.for_ready(frozenset({"y"})) as y,
        watch.for_ready(None) as every,
    ):
        watch.committed(commit(("a", "x", "new", "ready")))
        assert (x.sure, y.sure, every.sure) == (True, False, True)
        await asyncio.wait_for(x.wait(), 1)
        x.clear()
        assert x.sure, "until somebody has looked"
        watch.elsewhere()
        assert not y.sure
        await asyncio.wait_for(y.wait(), 1)
    watch.committed(commit(("a", "x", "new", "ready")))


async def test_a_cancellation_is_heard_by_name_and_elsewhere_without():
    watch = Watch()
    heard = []
    with watch.for_cancelled(heard.append):
        watch.committed(commit(("a", "x", "running", "cancelled"), ("b", "x", "running", "failed")))
        watch.elsewhere()
    watch.committed(commit(("c", "x", "running", "cancelled")))
    assert heard == ["a", None]


async def test_a_commit_that_moved_nothing_wakes_nobody():
    watch = Watch()
    with watch.for_end("a") as end, watch.for_ready(None) as bell:
        watch.committed({})
        watch.committed({"audit": [1]})
        assert not end.is_set()
        assert not bell.sure


async def test_the_moves_of_each_commit_are_told_until_nobody_listens():
    watch = Watch()
    heard = []
    with watch.for_moves(heard.append):
        watch.committed(commit(("a", "x", "new", "ready"), ("b", "x", "ready", "running")))
        watch.committed({})
        watch.elsewhere()
    watch.committed(commit(("c", "x", "new", "ready")))
    assert [[(move.task_id, move.status) for move in moves] for moves in heard] == [
        [("a", "ready"), ("b", "running")]
    ]
