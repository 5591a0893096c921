"""Stopping a Runner: before it runs, while it runs, and running it again."""

from __future__ import annotations

import asyncio

import pytest

from abathur import Database, Runner
from abathur.errors import InvalidInputError


@pytest.fixture
async def db():
    async with Database(":memory:") as db:
        yield db


@pytest.fixture
def runner(db):
    runner = Runner(db, grace=0.1)

    @runner.agent("quick")
    async def quick(ctx):
        return "done"

    return runner


async def test_a_stop_before_run_makes_it_return_at_once_and_then_it_can_be_run_again(db, runner):
    task = await db.tasks.enqueue("x", agent_type="quick")
    runner.stop()
    runner.stop()  # twice is once
    await asyncio.wait_for(runner.run(), 2)
    assert (await db.tasks.get(task)).status == "ready"
    await asyncio.wait_for(runner.run(until_idle=True), 5)
    assert (await db.tasks.get(task)).status == "completed"


async def test_a_stop_in_the_same_turn_of_the_loop_in_which_run_is_scheduled_is_not_lost(runner):
    running = asyncio.ensure_future(runner.run())
    runner.stop()
    await asyncio.wait_for(running, 2)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 10, 30])
async def test_a_stop_while_run_is_still_opening_is_not_lost(runner, turns):
    running = asyncio.ensure_future(runner.run())
    for _ in range(turns):
        await asyncio.sleep(0)
    runner.stop()
    await asyncio.wait_for(running, 2)


async def test_a_runner_that_was_stopped_while_it_ran_can_be_run_again(db, runner):
    for _ in range(2):
        running = asyncio.ensure_future(runner.run())
        task = await db.tasks.enqueue("x", agent_type="quick")
        await db.tasks.wait(task, timeout=5)
        runner.stop()
        await asyncio.wait_for(running, 2)


async def test_a_run_that_was_cancelled_does_not_leave_the_next_one_stopped(db, runner):
    running = asyncio.ensure_future(runner.run())
    await asyncio.sleep(0.05)
    runner.stop()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    task = await db.tasks.enqueue("x", agent_type="quick")
    await asyncio.wait_for(runner.run(until_idle=True), 5)
    assert (await db.tasks.get(task)).status == "completed"


async def test_a_runner_without_handlers_is_refused_even_if_it_was_stopped(db):
    runner = Runner(db)
    runner.stop()
    with pytest.raises(InvalidInputError, match="no handlers"):
        await runner.run()
