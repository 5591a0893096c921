"""The runner: handlers run, are stopped, are cancelled, and their claims never stay behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import anyio
import pytest

from abathur import Database, DoNotRetry, Runner
from abathur.errors import InvalidInputError
from tests.conformance.checks import pass_time


@pytest.fixture
def runner(db):
    return Runner(db, concurrency=4, lease=2, grace=0.2)


async def test_a_handler_gets_its_task_and_what_it_returns_is_the_result(db, runner):
    @runner.agent("a")
    async def handle(ctx):
        await ctx.progress(0.5, "half way")
        return {"saw": [ctx.task.prompt, ctx.input, ctx.attempt]}

    task = await db.tasks.enqueue("x", agent_type="a", input={"n": 1})
    await runner.run(until_idle=True)
    assert (await db.tasks.get(task)).result == {"saw": ["x", {"n": 1}, 1]}
    assert (await db.tasks.progress(task)).message == "half way"


async def test_a_plain_function_runs_in_a_thread_and_as_many_at_a_time_as_the_concurrency_says(db):
    runner = Runner(db, concurrency=50)
    at_once = threading.Barrier(50, timeout=10)

    @runner.agent("plain")
    def handle(ctx):
        at_once.wait()
        return threading.current_thread() is not threading.main_thread()

    tasks = await db.tasks.enqueue_many([{"prompt": "x", "agent_type": "plain"}] * 50)
    await runner.run(until_idle=True)
    assert {(await db.tasks.get(task)).result for task in tasks} == {True}


async def test_no_more_handlers_run_at_a_time_than_the_concurrency_says(db, runner):
    running, most = 0, 0

    @runner.agent("a")
    async def handle(ctx):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    await db.tasks.enqueue_many([{"prompt": "x", "agent_type": "a"}] * 20)
    await runner.run(until_idle=True)
    assert most == 4
    assert await db.tasks.counts() == {"completed": 20}


async def test_an_exception_is_kept_and_the_task_runs_again_until_its_attempts_are_used_up(db, runner):
    @runner.agent("a", max_attempts=2)
    async def handle(ctx):
        raise ValueError(f"attempt {ctx.attempt}")

    task = await db.tasks.enqueue("x", agent_type="a", max_attempts=5)
    await runner.run(until_idle=True)
    assert (await db.tasks.get(task)).status == "failed"
    assert [one.error["message"] for one in await db.tasks.attempts(task)] == ["attempt 1", "attempt 2"]


async def test_do_not_retry_a_result_that_is_no_json_and_an_error_without_a_text_fail_at_once_or_are_kept(
    db, runner
):
    class MuteError(Exception):
        def __str__(self):
            raise RuntimeError

    @runner.agent("never")
    async def never(ctx):
        raise DoNotRetry("it is no use")

    @runner.agent("set")
    async def gives_a_set(ctx):
        return {1, 2}

    @runner.agent("mute", max_attempts=1)
    async def mute(ctx):
        raise MuteError

    tasks = [await db.tasks.enqueue("x", agent_type=one) for one in ("never", "set", "mute")]
    await runner.run(until_idle=True)
    found = [await db.tasks.get(task) for task in tasks]
    assert [(task.status, task.attempt) for task in found] == [("failed", 1)] * 3
    assert "it is no use" in found[0].error
    assert "not JSON" in found[1].error
    assert "MuteError" in found[2].error


async def test_a_handler_that_takes_too_long_is_cancelled_and_its_attempt_timed_out(db, runner):
    ended = []

    @runner.agent("slow", timeout=0.1, max_attempts=1)
    async def slow(ctx):
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(True)

    @runner.agent("stubborn", timeout=0.1, max_attempts=1)
    async def stubborn(ctx):
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            raise ValueError("made an error of it") from None

    tasks = [await db.tasks.enqueue("x", agent_type=one) for one in ("slow", "stubborn")]
    await asyncio.wait_for(runner.run(until_idle=True), 10)
    assert ended == [True]
    for task in tasks:
        (attempt,) = await db.tasks.attempts(task)
        assert attempt.outcome == "timed_out"


async def test_a_handler_is_cancelled_at_once_when_its_task_is_cancelled(db):
    runner = Runner(db, grace=60, lease=60)
    begun = asyncio.Event()

    @runner.agent("a")
    async def handle(ctx):
        begun.set()
        await asyncio.sleep(30)

    async with asyncio.TaskGroup() as group:
        running = group.create_task(runner.run())
        task = await db.tasks.enqueue("x", agent_type="a")
        await asyncio.wait_for(begun.wait(), 5)
        began = time.monotonic()
        await db.tasks.cancel(task, reason="no")
        runner.stop()
        await running
    assert time.monotonic() - began < 10  # neither the grace nor a heartbeat was needed
    assert (await db.tasks.get(task)).status == "cancelled"


async def test_a_lease_is_renewed_for_as_long_as_the_handler_runs(db):
    runner = Runner(db, lease=0.6)

    @runner.agent("a")
    async def handle(ctx):
        await asyncio.sleep(1.5)

    task = await db.tasks.enqueue("x", agent_type="a")
    await runner.run(until_idle=True)
    found = await db.tasks.get(task)
    assert (found.status, found.attempt) == ("completed", 1)


async def test_a_stopped_runner_releases_what_is_not_finished_without_using_up_an_attempt(db, runner):
    begun = asyncio.Event()

    @runner.agent("a")
    async def handle(ctx):
        begun.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            raise ValueError("made an error of it") from None

    task = await db.tasks.enqueue("x", agent_type="a", max_attempts=1)
    running = asyncio.ensure_future(runner.run())
    await asyncio.wait_for(begun.wait(), 5)
    runner.stop()
    await asyncio.wait_for(running, 5)
    found = await db.tasks.get(task)
    assert (found.status, found.attempt) == ("ready", 0)


@pytest.mark.parametrize("how", ["native", "anyio"])
async def test_a_runner_that_is_cancelled_from_outside_leaves_no_claim_behind(db, how):
    for round_number in range(10):
        runner = Runner(db, concurrency=4, lease=60)

        @runner.agent("a")
        async def handle(ctx):
            await asyncio.sleep(0.001)

        await db.tasks.enqueue_many([{"prompt": "x", "agent_type": "a"}] * 40)
        delay = 0.005 + 0.004 * round_number
        if how == "native":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(runner.run(), delay)
        else:
            with anyio.move_on_after(delay):
                await runner.run()
        counts = await db.tasks.counts()
        assert not counts.get("running"), counts


async def test_a_cancellation_that_comes_from_inside_of_a_handler_fails_it_and_not_the_runner(db, runner):
    @runner.agent("a", max_attempts=1)
    async def handle(ctx):
        other = asyncio.ensure_future(asyncio.sleep(30))
        asyncio.get_running_loop().call_soon(other.cancel)
        await other

    @runner.agent("b")
    async def fine(ctx):
        return True

    bad = await db.tasks.enqueue("x", agent_type="a")
    good = await db.tasks.enqueue("x", agent_type="b", run_at=None, depends_on=[])
    await asyncio.wait_for(runner.run(until_idle=True), 10)
    assert (await db.tasks.get(bad)).status == "failed"
    assert (await db.tasks.get(good)).status == "completed"


async def test_a_scheduled_task_is_run_when_its_time_comes_and_until_idle_waits_for_it(db, runner):
    @runner.agent("a")
    async def handle(ctx):
        return "done"

    task = await db.tasks.enqueue("x", agent_type="a")
    (claim,) = await db.tasks.claim("w")
    await db.tasks.release(claim, retry_in=1.2)
    await asyncio.wait_for(runner.run(until_idle=True), 10)
    assert (await db.tasks.get(task)).result == "done"


async def test_a_task_of_a_dead_worker_is_run_by_the_runner_after_its_lease(db, runner):
    @runner.agent("a")
    async def handle(ctx):
        return ctx.attempt

    task = await db.tasks.enqueue("x", agent_type="a")
    await db.tasks.claim("dead", lease=5)
    await pass_time(db, 6)
    await asyncio.wait_for(runner.run(until_idle=True), 10)
    assert (await db.tasks.get(task)).result == 2
    trail = await db.audit.list(task_id=task.id)
    assert [(entry.action, entry.actor) for entry in trail][2] == ("task.ready", "lease")
    assert trail[2].data["worker"] == "dead"


async def test_a_handler_makes_parts_of_its_task(db, runner):
    @runner.agent("whole")
    async def whole(ctx):
        parts = await ctx.enqueue_many([{"prompt": f"{n}", "agent_type": "part"} for n in range(3)])
        last = await ctx.enqueue("last", agent_type="part", depends_on=parts, key=f"{ctx.task.id}/last")
        return last.id

    @runner.agent("part")
    async def part(ctx):
        return ctx.task.parent

    task = await db.tasks.enqueue("x", agent_type="whole")
    await runner.run(until_idle=True)
    assert {child.result for child in await db.tasks.list(parent=task)} == {task.id}
    assert await db.tasks.counts() == {"completed": 5}


async def test_a_runner_is_woken_by_another_process(processes, url, db, runner, monkeypatch):
    monkeypatch.setattr("abathur.runner.POLL", 60)  # so that it is the commit that wakes it
    woken = asyncio.get_running_loop().create_future()

    @runner.agent("a")
    async def handle(ctx):
        if not woken.done():
            woken.set_result(time.time())

    async with asyncio.TaskGroup() as group:
        group.create_task(runner.run())
        await asyncio.sleep(0.3)
        code = (
            "import asyncio, time\nfrom abathur import Database\n"
            f"async def main():\n    async with Database({url!r}) as db:\n"
            "        await db.tasks.enqueue('x', agent_type='a')\n        print(time.time())\n"
            "asyncio.run(main())"
        )
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
        made = float((await process.communicate())[0])
        at = await asyncio.wait_for(woken, 5)
        runner.stop()
    assert at - made < 5  # benchmarks/pickup.py says how soon: 11 ms


async def test_a_handler_is_cancelled_soon_when_another_process_cancels_its_task(processes, url, db, runner):
    begun, ended = asyncio.Event(), asyncio.Event()

    @runner.agent("a", timeout=20)
    async def handle(ctx):
        begun.set()
        try:
            await asyncio.sleep(20)
        finally:
            ended.set()

    task = await db.tasks.enqueue("x", agent_type="a")
    async with asyncio.TaskGroup() as group, Database(url) as other:
        group.create_task(runner.run())
        await asyncio.wait_for(begun.wait(), 5)
        await other.tasks.cancel(task)
        await asyncio.wait_for(ended.wait(), 2)
        runner.stop()
    assert (await db.tasks.get(task)).status == "cancelled"


async def test_wrong_registrations_and_a_second_run_are_refused(db, runner):
    with pytest.raises(InvalidInputError, match="no handlers"):
        await runner.run()
    with pytest.raises(InvalidInputError, match="without an agent type"):

        @runner.agent
        async def forgotten(ctx): ...

    for wrong in ({"timeout": 0}, {"timeout": "x"}, {"max_attempts": "3"}, {"max_attempts": 0}):
        with pytest.raises(InvalidInputError):
            runner.agent("a", **wrong)
    runner.agent("a")(lambda ctx: None)
    with pytest.raises(InvalidInputError, match="has a handler already"):
        runner.agent("a")(lambda ctx: None)
    running = asyncio.ensure_future(runner.run())
    await asyncio.sleep(0.05)
    with pytest.raises(InvalidInputError, match="running already"):
        await runner.run()
    runner.stop()
    await running
    for wrong in (0, -1, True, 1.5, "8"):
        with pytest.raises(InvalidInputError):
            Runner(db, concurrency=wrong)


async def test_a_handler_that_takes_its_time_to_clean_up_after_a_time_out_does_not_keep_the_runner_busy(
    db, runner, monkeypatch
):
    turns = 0
    real = anyio.move_on_after

    def counted(delay, **options):
        nonlocal turns
        turns += 1
        return real(delay, **options)

    @runner.agent("a", timeout=0.05, max_attempts=1)
    async def handle(ctx):
        try:
            await asyncio.sleep(30)
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(0.5)

    task = await db.tasks.enqueue("x", agent_type="a")
    monkeypatch.setattr(anyio, "move_on_after", counted)
    await asyncio.wait_for(runner.run(until_idle=True), 10)
    (attempt,) = await db.tasks.attempts(task)
    assert attempt.outcome == "timed_out"
    assert turns < 50
