"""A fake clock that the scripts go by, and drain: what is ready runs to the end, without waiting."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from abathur import Database, Runner
from abathur.errors import InvalidInputError
from abathur.testing import FakeClock, claim_task, drain, make_graph, make_task

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock():
    return FakeClock(NOON)


@pytest.fixture
async def db(make_db, clock):
    return await make_db(clock=clock)


def runner_for(db: Database, *agent_types: str, **options) -> tuple[Runner, list[str]]:
    """A runner, and the prompts of what it has run."""
    runner, ran = Runner(db, **options), []
    for name in agent_types:

        @runner.agent(name)
        async def run(ctx):
            ran.append(ctx.task.prompt)
            return ctx.attempt

    return runner, ran


# -- the clock ---------------------------------------------------------------------------------


async def test_what_the_database_records_is_the_time_of_the_fake_clock(db, clock):
    task = await db.tasks.enqueue("x")
    assert task.submitted_at == NOON
    assert [entry.at for entry in await db.audit.list(task_id=task.id)] == [NOON]
    clock.advance(90, hours=1)
    (claim,) = await db.tasks.claim("w")
    assert claim.task.started_at == NOON + timedelta(hours=1, seconds=90)
    assert await db.engine.clock() == clock.now()


async def test_a_scheduled_task_comes_due_when_the_clock_is_advanced(db, clock):
    task = await db.tasks.enqueue("later", run_at=NOON + timedelta(days=3))
    assert await db.tasks.claim("w") == []
    clock.advance(timedelta(days=3, seconds=-1))
    assert await db.tasks.claim("w") == []
    clock.advance(1)
    (claim,) = await db.tasks.claim("w")
    assert claim.task.id == task.id


async def test_a_lease_ends_and_a_backoff_passes_when_the_clock_is_advanced(db, clock):
    await db.tasks.enqueue("x")
    (first,) = await db.tasks.claim("one", lease=60)
    clock.advance(61)
    (second,) = await db.tasks.claim("two")
    assert (second.fence, second.task.id) == (first.fence + 1, first.task.id)
    assert await db.tasks.fail(second, "no", retry_in=600) == "scheduled"
    clock.move_to(NOON + timedelta(minutes=20))
    assert len(await db.tasks.claim("three")) == 1


async def test_advancing_the_clock_wakes_a_runner_that_waits(db, clock):
    runner, ran = runner_for(db, "general")
    task = await db.tasks.enqueue("tomorrow", run_at=NOON + timedelta(days=1))
    running = asyncio.create_task(runner.run(until_idle=True))
    while not await db.tasks.workers():
        await asyncio.sleep(0.01)
    assert not ran
    clock.advance(days=1)
    assert (await db.tasks.wait(task, timeout=60)).status == "completed"
    await running


async def test_two_databases_share_a_clock(processes, make_db, clock):
    one, two = await make_db(clock=clock), await make_db(clock=clock)
    await one.tasks.enqueue("x", run_at=NOON + timedelta(hours=1))
    clock.advance(hours=1)
    assert len(await two.tasks.claim("w")) == 1


def test_a_clock_stands_still_until_it_is_unfrozen():
    clock = FakeClock(NOON)
    assert clock.frozen
    assert clock.now() == clock.now() == int(NOON.timestamp()) * 1_000_000
    clock.unfreeze()
    shown = clock.now()
    while clock.now() == shown:
        pass
    assert "goes on" in repr(clock)
    clock.freeze()
    assert clock.now() == clock.now() > shown
    assert NOON < clock.time < NOON + timedelta(hours=1)


def test_a_clock_that_was_given_no_start_shows_the_hosts_time():
    before = time.time()
    assert before - 1 <= FakeClock().time.timestamp() <= time.time() + 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda clock: clock.advance(-1), "never goes back"),
        (lambda clock: clock.advance("soon"), "no time to move on by"),
        (lambda clock: clock.move_to(NOON - timedelta(seconds=1)), "before 2030-01-01"),
        (lambda clock: clock.move_to(NOON.replace(tzinfo=None)), "no time zone"),
        (lambda clock: clock.advance(days=365 * 8000), "after 9000"),
    ],
)
def test_a_clock_refuses_what_no_database_could_follow(call, words):
    clock = FakeClock(NOON)
    with pytest.raises(InvalidInputError, match=words):
        call(clock)
    assert clock.time == NOON


async def test_a_database_that_is_closed_hears_no_more_of_its_clock(url):
    clock = FakeClock()
    async with Database(url, environment="test", clock=clock) as db:
        assert db.clock is clock
        assert len(clock._heard) == 1
    clock.advance(1)
    assert clock._heard == []


# -- drain -------------------------------------------------------------------------------------


async def test_drain_runs_a_graph_in_its_order_to_the_end(db):
    runner, ran = runner_for(db, "general")
    await make_graph(db, "fetch -> parse, index -> report")
    done = await drain(db, runner)
    assert (ran[0], set(ran[1:3]), ran[3]) == ("fetch", {"parse", "index"}, "report")
    assert (done.attempts, done.completed, done.failed, done.left, done.stopped) == (4, 4, 0, (), "")
    assert str(done) == "4 attempts: 4 completed, 0 failed, 0 cancelled."


async def test_drain_moves_the_clock_over_schedules_and_backoffs(db, clock):
    runner = Runner(db)

    @runner.agent("flaky", max_attempts=3)
    async def flaky(ctx):
        if ctx.attempt < 3:
            raise ConnectionError("not yet")
        return ctx.attempt

    began = time.monotonic()
    task = await make_task(db, agent_type="flaky", run_at=NOON + timedelta(days=30))
    done = await drain(db, runner)
    assert time.monotonic() - began < 20
    assert (await db.tasks.get(task)).result == 3
    assert (done.attempts, done.completed) == (3, 1)
    assert done.advanced > 30 * 86_400
    assert clock.time > NOON + timedelta(days=30)
    assert "The clock was moved by" in str(done)


async def test_drain_takes_over_from_a_worker_that_does_not_come_back(db):
    runner, ran = runner_for(db, "general")
    await claim_task(db, await make_task(db, "orphan"), worker="dead", lease=3600)
    done = await drain(db, runner)
    assert ran == ["orphan"]
    assert (done.completed, done.left) == (1, ())


async def test_drain_says_what_is_left_and_why(db):
    runner = Runner(db)

    @runner.agent("builder")
    async def fails(ctx):
        raise ValueError("broken")

    graph = await make_graph(db, "build -> ship", agent_type="builder", max_attempts=1)
    other = await make_task(db, "Somebody else's", agent_type="designer")
    done = await drain(db, runner)
    assert (done.attempts, done.failed) == (1, 1)
    left = {one.task.id: one.why for one in done.left}
    assert set(left) == {graph["ship"].id, other.id}
    assert left[other.id] == "None of the runners handles 'designer'."
    assert graph["build"].id in left[graph["ship"].id]
    assert "2 tasks have not ended:" in str(done)


async def test_drain_of_several_runners_goes_on_until_none_has_work(db):
    first, ran_first = runner_for(db, "a")
    second = Runner(db)

    @second.agent("b")
    async def back_to_a(ctx):
        await ctx.enqueue("again", agent_type="a")

    third, ran_third = runner_for(db, "c")
    await make_task(db, "begin", agent_type="a")
    await make_task(db, agent_type="b", run_at=NOON + timedelta(hours=1))
    done = await drain(db, first, second, third)
    assert ran_first == ["begin", "again"]
    assert (ran_third, done.completed, done.left) == ([], 3, ())


async def test_drain_ends_at_its_limit_when_tasks_make_others_for_ever(db):
    runner = Runner(db, concurrency=1)

    @runner.agent("loop")
    async def loop(ctx):
        await ctx.enqueue("again", agent_type="loop")

    await make_task(db, agent_type="loop")
    done = await drain(db, runner, limit=10)
    assert done.stopped == "limit"
    assert 10 <= done.attempts <= 11
    assert "perhaps tasks make others for ever" in str(done)
    assert (await drain(db, runner, limit=5)).attempts >= 5  # the runner can be used again


async def test_drain_ends_at_its_time_out_and_gives_back_what_hangs(db):
    runner = Runner(db)

    @runner.agent("hangs")
    async def hangs(ctx):
        await asyncio.Event().wait()

    task = await make_task(db, agent_type="hangs")
    done = await drain(db, runner, timeout=0.3)
    assert done.stopped == "timeout"
    assert [one.task.id for one in done.left] == [task.id]
    found = await db.tasks.get(task)
    assert (found.status, found.attempt) == ("ready", 0)


async def test_drain_waits_for_what_is_due_soon_by_a_real_clock_and_leaves_the_rest(make_db):
    db = await make_db()
    runner, ran = runner_for(db, "general")
    await make_task(db, "soon", run_at=datetime.now(UTC) + timedelta(seconds=0.3))
    later = await make_task(db, "later", run_at=datetime.now(UTC) + timedelta(hours=1))
    done = await drain(db, runner)
    assert ran == ["soon"]
    assert (done.stopped, done.advanced) == ("clock", 0)
    assert [one.task.id for one in done.left] == [later.id]
    assert "It is due at" in done.left[0].why


async def test_drain_refuses_what_it_cannot_run(db, make_db):
    with pytest.raises(InvalidInputError, match="no runner"):
        await drain(db)
    with pytest.raises(InvalidInputError, match="no handlers"):
        await drain(db, Runner(db))
    with pytest.raises(InvalidInputError, match="limit"):
        await drain(db, runner_for(db, "a")[0], limit=0)
    other = Database(":memory:", environment="test")
    with pytest.raises(InvalidInputError, match="works on"):
        await drain(db, runner_for(other, "a")[0])
