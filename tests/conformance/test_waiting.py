"""Waiting for a task's end: at once when it has ended, woken when it ends, wherever that happens."""

from __future__ import annotations

import asyncio
import time

import pytest

from abathur.errors import DatabaseClosedError, UnknownTaskError, WaitTimeoutError


async def end(db, task, how):
    if how == "cancelled":
        await db.tasks.cancel(task)
        return
    (claim,) = await db.tasks.claim("w")
    if how == "completed":
        await db.tasks.complete(claim, {"n": 1})
    else:
        await db.tasks.fail(claim, "broken", retry=False)


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled"])
async def test_a_task_that_has_ended_is_answered_at_once(db, how):
    task = await db.tasks.enqueue("x")
    await end(db, task, how)
    found = await db.tasks.wait(task.id, timeout=0)
    assert found == await db.tasks.get(task)
    assert found.status == how


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled"])
async def test_a_waiter_is_woken_when_the_task_ends(db, how):
    task = await db.tasks.enqueue("x")
    waiters = [asyncio.create_task(db.tasks.wait(task, timeout=20)) for _ in range(5)]
    await asyncio.sleep(0.03)
    assert not any(waiter.done() for waiter in waiters)
    began = time.monotonic()
    await end(db, task, how)
    found = await asyncio.gather(*waiters)
    assert time.monotonic() - began < 2
    assert {one.status for one in found} == {how}


async def test_a_waiter_is_not_woken_by_a_failure_that_will_be_retried(db):
    task = await db.tasks.enqueue("x")
    waiter = asyncio.create_task(db.tasks.wait(task, timeout=20))
    (claim,) = await db.tasks.claim("w")
    await db.tasks.fail(claim, "first", retry_in=0)
    await asyncio.sleep(0.03)
    assert not waiter.done()
    await end(db, task, "completed")
    assert (await waiter).result == {"n": 1}


async def test_a_wait_that_takes_too_long_says_what_the_task_is(db):
    task = await db.tasks.enqueue("x")
    began = time.monotonic()
    with pytest.raises(WaitTimeoutError, match=r"still ready after 0\.05 s") as caught:
        await db.tasks.wait(task, timeout=0.05)
    assert 0.04 < time.monotonic() - began < 2
    assert (caught.value.task_id, caught.value.status) == (task.id, "ready")
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(WaitTimeoutError):
        await db.tasks.wait(task, timeout=0)


async def test_waiting_for_a_task_that_does_not_exist_is_refused(db):
    with pytest.raises(UnknownTaskError):
        await db.tasks.wait("nobody", timeout=1)


async def test_a_cancelled_wait_leaves_nothing_behind(db):
    task = await db.tasks.enqueue("x")
    for pause in (0, 0, 0.001, 0.003, 0.01, 0.03):
        waiter = asyncio.create_task(db.tasks.wait(task))
        await asyncio.sleep(pause)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
    assert not db.watch._ends


async def test_a_waiter_is_woken_by_a_commit_of_another_connection(db, make_db, processes):
    other = await make_db()
    task = await db.tasks.enqueue("x")
    waiter = asyncio.create_task(db.tasks.wait(task, timeout=20))
    await asyncio.sleep(0.05)
    assert not waiter.done()
    await end(other, task, "completed")
    began = time.monotonic()
    assert (await waiter).status == "completed"
    assert time.monotonic() - began < 1


async def test_a_waiter_hears_of_it_when_the_database_is_closed(unopened):
    """A wait on a closed database would wait for ever."""
    db = unopened()
    await db.initialize()
    task = await db.tasks.enqueue("x")
    waiter = asyncio.create_task(db.tasks.wait(task))
    await asyncio.sleep(0.03)
    await db.close()
    try:
        with pytest.raises(DatabaseClosedError):
            await asyncio.wait_for(waiter, 3)
    finally:
        waiter.cancel()
