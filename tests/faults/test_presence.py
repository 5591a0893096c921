"""A runner's announcements: what a killed one leaves behind, and what an idle one costs."""

from __future__ import annotations

import asyncio
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

from abathur import presence
from tests.conformance.checks import pass_time
from tests.conformance.test_presence import live, runner_of, working

RUN = """
import asyncio, sys
from abathur import Database, Runner

async def main():
    async with Database(sys.argv[1], environment="test") as db:
        runner = Runner(db, worker=sys.argv[2], concurrency=2)

        @runner.agent("a")
        async def handle(ctx):
            await asyncio.sleep(60)

        await runner.run()

asyncio.run(main())
"""


async def test_a_runner_that_is_killed_leaves_a_row_that_ages_out_and_a_restart_replaces_it(db, path, figure):
    def start():
        return subprocess.Popen([sys.executable, "-c", RUN, path, "w1"])

    first = start()
    try:
        (found,) = await live(db, 1)
        assert found.pid == first.pid
        task = await db.tasks.enqueue("x", agent_type="a")
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    (found,) = await db.tasks.workers()  # nobody knows yet
    assert found.pid == first.pid
    second = start()
    try:
        async with asyncio.timeout(10):
            while [one.pid for one in await db.tasks.workers()] != [second.pid]:
                await asyncio.sleep(0.02)
    finally:
        second.send_signal(signal.SIGKILL)
        second.wait(10)
    await pass_time(db, 50)
    assert await db.tasks.workers() == []
    found = {reason.code: reason for reason in (await db.tasks.why(task)).reasons}
    assert [worker.pid for worker in found["no_worker"].data["gone"]] == [second.pid]
    figure("killed twice, replaced by its restart at once, and no longer live after 45 s")


async def test_an_idle_runner_commits_nothing_between_two_announcements_and_one_costs_little(
    db, path, figure
):
    with closing(sqlite3.connect(path)) as other:
        async with working(runner_of(db, "a")):
            await live(db, 1)
            await asyncio.sleep(1.3)  # the log is tidied up a second after the last commit
            before = other.execute("PRAGMA data_version").fetchone()
            await asyncio.sleep(1.2)
            assert other.execute("PRAGMA data_version").fetchone() == before
    used = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    who = presence.Announcement(id="x", name="x", agents={"a": None}, concurrency=1, host="h", pid=1)
    for _ in range(50):
        await db.run(presence.workers.announce, who, False)
    took = (time.perf_counter() - began) / 50
    now = resource.getrusage(resource.RUSAGE_SELF)
    cpu = (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / 50
    figure(f"one announcement per 15 s: {took * 1e3:.1f} ms, {cpu / presence.EVERY:.4%} of a core")
    assert cpu / presence.EVERY < 0.001
