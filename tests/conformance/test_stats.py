"""How the whole queue stands, and who works on it."""

from __future__ import annotations

import pytest

from abathur import QueueStats, Throughput
from abathur.tasks import stats, workers
from tests.conformance.checks import pass_time


async def announce(db, run, name, agents, *, concurrency=4, host="host", pid=17, first=True):
    who = workers.Announcement(id=run, name=name, agents=agents, concurrency=concurrency, host=host, pid=pid)
    await db.run(workers.announce, who, first)


async def names(db) -> list[str]:
    return [worker.name for worker in await db.tasks.workers()]


async def test_an_empty_database_has_empty_stats(db):
    found = await db.tasks.stats()
    assert (found.counts, found.queues, found.workers, found.expired) == ({}, (), (), 0)
    assert found.last_minute == Throughput(completed=0, failed=0, seconds=60)
    assert found.last_hour == Throughput(completed=0, failed=0, seconds=3_600)


async def test_stats_agree_with_the_tasks_and_the_workers(db):
    await announce(db, "r1", "w1", {"a": None, "idle": 1})
    await announce(db, "r2", "w2", {"a": 2})
    tasks = [await db.tasks.enqueue(f"{n}", agent_type="ab"[n % 2]) for n in range(6)]
    await db.tasks.enqueue("blocked", agent_type="b", depends_on=tasks[:1])
    await db.tasks.claim("w1", agent_types=["a"], lease=10)
    await pass_time(db, 20)
    found = await db.tasks.stats()
    assert found.counts == await db.tasks.counts()
    assert found.expired == 1
    assert found.workers == tuple(await db.tasks.workers())
    a, b, idle = found.queues
    assert (a.agent_type, a.counts, a.workers, a.slots) == ("a", {"ready": 2, "running": 1}, 2, 6)
    assert (b.agent_type, b.counts, b.workers, b.slots) == ("b", {"ready": 3, "blocked": 1}, 0, 0)
    assert a.ready_for == pytest.approx(20, abs=2)
    assert b.ready_for == pytest.approx(20, abs=2)
    assert idle == QueueStats(agent_type="idle", counts={}, ready_for=None, workers=1, slots=1)


async def test_the_next_task_of_a_queue_is_ready_since_it_became_so_not_since_it_was_made(db):
    first = await db.tasks.enqueue("first", agent_type="a")
    await db.tasks.enqueue("then", agent_type="b", depends_on=[first])
    await pass_time(db, 100)
    (claim,) = await db.tasks.claim("w")
    await db.tasks.complete(claim)
    await pass_time(db, 5)
    (_, then) = (await db.tasks.stats()).queues
    assert then.ready_for == pytest.approx(5, abs=2)


async def test_what_ended_in_the_last_minute_and_hour_is_counted(db):
    async def end(n, how):
        await db.tasks.enqueue_many([{"prompt": "x", "max_attempts": 1}] * n)
        for claim in await db.tasks.claim("w", limit=n):
            await (db.tasks.complete(claim) if how == "well" else db.tasks.fail(claim, "no"))

    await end(5, "well")
    await pass_time(db, 4_000)
    await end(3, "well")
    await end(1, "badly")
    await pass_time(db, 100)
    await end(2, "well")
    found = await db.tasks.stats()
    assert found.last_minute == Throughput(completed=2, failed=0, seconds=60)
    assert found.last_hour == Throughput(completed=5, failed=1, seconds=3_600)


async def test_of_a_busy_trail_only_the_end_is_read_and_the_answer_says_how_much_that_is(db, monkeypatch):
    monkeypatch.setattr(stats, "RECENT", 30)
    await db.tasks.enqueue_many([{"prompt": "x"}] * 40)
    await pass_time(db, 20)
    for claim in await db.tasks.claim("w", limit=40):
        await db.tasks.complete(claim)
    await pass_time(db, 10)
    found = await db.tasks.stats()
    assert found.last_minute.completed == found.last_hour.completed == 30
    assert found.last_minute.seconds == found.last_hour.seconds == pytest.approx(10, abs=2)


# -- workers ---------------------------------------------------------------------------------------


async def test_a_worker_is_as_it_announced_itself_and_has_what_it_holds(db):
    await announce(db, "r1", "w1", {"b": 2, "a": None})
    await db.tasks.enqueue_many([{"prompt": "x", "agent_type": one} for one in "aaabc"])
    await db.tasks.claim("w1", limit=10)
    (found,) = await db.tasks.workers()
    assert (found.name, found.agent_types, found.limits, found.concurrency) == ("w1", ("a", "b"), {"b": 2}, 4)
    assert (found.host, found.pid, found.running) == ("host", 17, 4)
    assert found.started_at == found.seen_at
    await pass_time(db, 15)
    await announce(db, "r1", "w1", {"b": 2, "a": None}, first=False)
    (again,) = await db.tasks.workers()
    assert again.started_at == found.started_at < again.seen_at


async def test_a_worker_that_was_not_seen_for_45_s_is_not_live_and_its_row_goes_after_5_min(db):
    await announce(db, "r1", "w1", {"a": None})
    await pass_time(db, 44)
    assert await names(db) == ["w1"]
    await pass_time(db, 2)
    assert await names(db) == []
    assert [one.name for one in (await db.read(workers.read))[0].gone] == ["w1"]
    await pass_time(db, 300)
    await announce(db, "r2", "w2", {"a": None})
    assert (await db.read(workers.read))[0].gone == ()


async def test_runners_that_share_a_name_are_all_there_and_a_restarted_one_replaces_the_dead(db):
    await announce(db, "r1", "w", {"a": None})
    await announce(db, "r2", "w", {"b": None})  # another runner of the same process
    assert await names(db) == ["w", "w"]
    await announce(db, "r3", "w", {"a": None}, pid=18)  # the process died and was started again
    (found,) = await db.tasks.workers()
    assert found.pid == 18
    await announce(db, "r1", "w", {"a": None}, first=False)  # or it has not died: two share a name
    assert await names(db) == ["w", "w"]


async def test_a_worker_that_withdraws_is_gone_at_once(db):
    await announce(db, "r1", "w1", {"a": None})
    await db.run(workers.withdraw, "r1")
    assert await names(db) == []
    assert (await db.read(workers.read))[0].gone == ()


async def test_announcements_are_not_in_the_trail(db):
    await announce(db, "r1", "w1", {"a": None})
    await db.run(workers.withdraw, "r1")
    assert await db.audit.list() == []
