"""Indexing jobs: duplicates, three at a time, cancelling, and what a crash costs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from abathur import Runner, indexer
from abathur.errors import InvalidInputError
from abathur.projects.index import api, jobs, reading
from abathur.projects.index.values import IndexingJob
from tests.conformance.projects import World
from tests.conformance.test_index import found, indexed, put, working

PLAN = "abathur.index.plan"


async def statuses(world: World, started: list[IndexingJob]) -> list[str]:
    return [(await world.db.projects.indexing(job)).status for job in started]


async def plans(world: World) -> list[str]:
    """Take every plan that may begin; returns the ids of their jobs."""
    claims = await world.db.tasks.claim("test", agent_types=[PLAN], limit=100)
    return [str(claim.task.parent) for claim in claims]


async def end(world: World, job: IndexingJob) -> None:
    """End a job whose plan `plans` has taken, as the agents do."""
    await world.db.run(jobs.close, job.id)
    await world.db.tasks.cancel(job.id, tree=True)


def tree(place: Path, files: int) -> None:
    """Generated files, three chunks each."""
    for number in range(files):
        lines = "".join(f"def f{number}_{line}(a, b):\n    return a + b * {line}\n\n" for line in range(60))
        put(place, f"d{number % 20}/f{number}.py", lines)


# -- requests --------------------------------------------------------------------------------------


async def test_a_request_answers_at_once_and_a_repeated_one_with_the_same_job(world):
    place = world.repository()
    await world.here(place)
    began = time.monotonic()
    first = await world.db.projects.start_indexing(place)
    assert time.monotonic() - began < 5
    assert (first.status, first.found, first.message) == ("queued", None, "waiting for a runner")
    same = await asyncio.gather(*(world.db.projects.start_indexing(place) for _ in range(5)))
    assert {job.id for job in same} == {first.id}
    part = await world.db.projects.start_indexing(place / "main.py")
    forced = await world.db.projects.start_indexing(place, force=True)
    assert len({first.id, part.id, forced.id}) == 3
    # One that does more is as good; then it is done, and the next request is a new one.
    assert (await world.db.projects.start_indexing(place)).id == first.id
    async with working(world.db):
        for job in (first, part, forced):
            await world.db.tasks.wait(job.id, timeout=60)
    assert await statuses(world, [first, part, forced]) == ["completed"] * 3
    assert (await world.db.projects.start_indexing(place)).id not in {first.id, part.id, forced.id}


async def test_a_request_of_several_processes_is_one_job(world, processes):
    place = world.repository()
    await world.here(place)
    others = [await world.again() for _ in range(4)]
    started = await asyncio.gather(*(db.projects.start_indexing(place) for db in [world.db, *others]))
    assert len({job.id for job in started}) == 1
    assert len(await world.db.tasks.list(agent_type=jobs.JOB)) == 1


async def test_three_jobs_run_at_a_time_and_the_next_begins_when_one_ends(world):
    started = [await world.db.projects.start_indexing(world.repository()) for _ in range(6)]
    assert await plans(world) == [job.id for job in started[:3]]
    assert await statuses(world, started) == ["running"] * 3 + ["queued"] * 3
    assert (await world.db.projects.indexing(started[3])).message == "waiting for another job"
    await end(world, started[1])
    assert await plans(world) == [started[4].id]  # the one behind it
    await end(world, started[4])  # behind which there is none
    assert await plans(world) == [started[3].id]
    assert await plans(world) == []
    await world.db.tasks.cancel(started[0].id, tree=True)  # whoever ends it
    await world.db.projects.cancel_indexing(started[2])
    assert await plans(world) == [started[5].id]
    assert await plans(world) == []


async def test_jobs_that_are_asked_for_and_cancelled_at_once_do_not_wait_for_each_other(world, processes):
    """All of them take the lock of the jobs first, and rows of tasks only then."""
    places = [world.repository() for _ in range(4)]
    others = [await world.again() for _ in range(3)]
    for _ in range(3):
        started = [await world.db.projects.start_indexing(place) for place in places]
        async with asyncio.timeout(60):
            await asyncio.gather(
                *(db.projects.cancel_indexing(job) for db in others for job in started),
                *(db.projects.start_indexing(place, force=True) for db in others for place in places),
            )
        for job in await world.db.projects.indexings(limit=100):
            await world.db.projects.cancel_indexing(job)
    asked = api.cancel("a job", None, "test", 0)
    assert next(asked).name == "batches.lock_edges"


async def test_a_queued_job_that_is_cancelled_keeps_nobody_waiting(world):
    started = [await world.db.projects.start_indexing(world.repository()) for _ in range(7)]
    await plans(world)
    await world.db.projects.cancel_indexing(started[3])
    assert await plans(world) == []
    assert (await statuses(world, started))[3] == "cancelled"
    for job in (started[0], started[1], started[2]):
        await end(world, job)
    assert sorted(await plans(world)) == sorted(job.id for job in started[4:])


async def test_jobs_about_the_same_files_go_one_after_the_other(world):
    place, other = world.repository(), world.repository()
    put(place, "src/a.py", "word\n")
    put(place, "srcs/a.py", "word\n")
    src = await world.db.projects.start_indexing(place / "src")
    srcs = await world.db.projects.start_indexing(place / "srcs")
    whole = await world.db.projects.start_indexing(place)
    elsewhere = await world.db.projects.start_indexing(other)
    assert await plans(world) == [src.id, srcs.id, elsewhere.id]
    await end(world, srcs)
    assert await plans(world) == []  # `src` is about files of the whole as well
    await end(world, src)
    assert await plans(world) == [whole.id]


async def test_a_job_that_is_let_go_leaves_those_behind_it_that_are_about_files_in_work(world):
    places = [world.repository() for _ in range(4)]
    started = [await world.db.projects.start_indexing(place) for place in places]
    again = await world.db.projects.start_indexing(places[0], force=True)
    assert await plans(world) == [job.id for job in started[:3]]
    await end(world, started[1])
    assert await plans(world) == [started[3].id]
    await end(world, started[3])
    assert await plans(world) == []  # the first one is still in work
    await end(world, started[0])
    assert await plans(world) == [again.id]


async def test_all_of_six_jobs_are_done_and_never_more_than_three_at_once(world, monkeypatch):
    running: set[str] = set()
    most = []
    real = indexer._read_some

    def counted(root, *arguments):
        running.add(root)
        most.append(len(running))
        time.sleep(0.01)
        return real(root, *arguments)

    async def finish(ctx):
        running.discard(ctx.input["root"])
        return await real_finish(ctx)

    real_finish = indexer.finish
    monkeypatch.setattr(indexer, "_read_some", counted)
    monkeypatch.setattr(indexer, "finish", finish)
    started = [await world.db.projects.start_indexing(world.repository()) for _ in range(6)]
    async with working(world.db):
        for job in started:
            await world.db.tasks.wait(job.id, timeout=60)
    assert await statuses(world, started) == ["completed"] * 6
    assert max(most) <= 3


async def test_a_runner_with_one_slot_does_a_job_alone(world):
    place = world.repository()
    tree(place, 150)
    started = [await world.db.projects.start_indexing(path) for path in (place, world.repository())]
    runner = Runner(world.db, concurrency=1, lease=6)
    indexer.agents(runner)
    await runner.run(until_idle=True)
    assert await statuses(world, started) == ["completed"] * 2


async def test_what_is_no_job_is_refused(world):
    task = await world.db.tasks.enqueue("x")
    for wrong in ("nothing", task.id, "", "nul\0", 7):
        with pytest.raises(InvalidInputError):
            await world.db.projects.indexing(wrong)
        with pytest.raises(InvalidInputError):
            await world.db.projects.cancel_indexing(wrong)
    assert (await world.db.tasks.get(task)).status == "ready"


async def test_the_last_jobs_are_listed_the_newest_first(world):
    places = [world.repository(), world.repository()]
    started = [await world.db.projects.start_indexing(place) for place in places]
    listed = await world.db.projects.indexings()
    assert [job.id for job in listed] == [job.id for job in reversed(started)]
    assert await world.db.projects.indexings(started[0].project_id) == [listed[1]]
    assert await world.db.projects.indexings(limit=1) == [listed[0]]


# -- progress and cancelling -----------------------------------------------------------------------


async def test_a_job_says_how_far_it_is_after_each_hundred_files(world):
    place = world.repository()
    tree(place, 350)
    job = await world.db.projects.start_indexing(place)
    seen = []
    async with working(world.db):
        while not (now := await world.db.projects.indexing(job)).ended:
            seen.append(now)
            await asyncio.sleep(0.005)
    assert {one.message for one in seen} >= {"looking for files"} or seen[0].status == "queued"
    batches = await world.db.tasks.list(agent_type=jobs.BATCH)
    assert [len(batch.input["paths"]) for batch in batches] == [100, 100, 100, 52]
    assert len({one.done for one in seen}) >= 3
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    took = []
    for _ in range(20):
        began = time.perf_counter()
        await world.db.projects.indexing(job)
        took.append(time.perf_counter() - began)
    assert sorted(took)[10] < 0.05


async def test_a_job_is_cancelled_within_seconds_and_keeps_what_it_has_done(world, monkeypatch):
    place = world.repository()
    tree(place, 300)
    real = reading.read

    def slow(*arguments, **options):
        time.sleep(0.01)
        return real(*arguments, **options)

    monkeypatch.setattr(indexer, "read", slow)
    monkeypatch.setattr(indexer, "SLICE", 20_000)
    job = await world.db.projects.start_indexing(place)
    async with working(world.db):
        while not await world.db.tasks.list(agent_type=jobs.BATCH, status="running"):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        began = time.monotonic()
        cancelled = await world.db.projects.cancel_indexing(job, reason="enough")
        assert (cancelled.status, cancelled.ended) == ("cancelled", True)
        assert cancelled.message.startswith("enough; ")
        while len(await world.db.tasks.list(agent_type=jobs.BATCH, status="cancelled")) < 4:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        before = len(await found(world, place, "return"))
        await asyncio.sleep(0.5)
        assert len(await found(world, place, "return")) == before
        assert 0 < before < 300
        assert time.monotonic() - began < 5
    again = await world.db.projects.cancel_indexing(job)
    assert again == cancelled
    monkeypatch.undo()
    done = await indexed(world, place)
    assert done.indexed == 300 - before


async def test_batches_of_a_job_that_was_cancelled_alone_do_nothing(world):
    place = world.repository()
    tree(place, 5)
    job = await world.db.projects.start_indexing(place)
    await world.db.tasks.cancel(job.id)
    async with working(world.db):
        while [one for one in await world.db.tasks.list() if not one.ended]:
            await asyncio.sleep(0.01)
    assert await found(world, place, "return") == []


async def test_a_job_with_a_batch_that_fails_says_so_and_is_started_again(world, monkeypatch):
    place = world.repository()
    tree(place, 150)
    real = indexer._read_some

    def broken(root, paths, *arguments):
        if len(paths) < 60:
            raise indexer.DoNotRetry("the disk is on fire")
        return real(root, paths, *arguments)

    monkeypatch.setattr(indexer, "_read_some", broken)
    job = await world.db.projects.start_indexing(place)
    async with working(world.db):
        await world.db.tasks.wait(job.id, timeout=60)
    failed = await world.db.projects.indexing(job)
    assert (failed.status, failed.done) == ("failed", 100)
    assert "1 of 2 batches were not indexed" in failed.message
    assert "the disk is on fire" in failed.message
    monkeypatch.undo()
    assert (await indexed(world, place)).indexed == 52


async def test_a_job_that_cannot_be_planned_fails_with_its_reason_and_keeps_nobody_waiting(world):
    place = world.repository()
    job = await world.db.projects.start_indexing(place)
    behind = await world.db.projects.start_indexing(place, force=True)
    there = place.rename(world.place / "moved")
    await world.here(there)
    async with working(world.db):
        await world.db.tasks.wait(job.id, timeout=60)
        await world.db.tasks.wait(behind.id, timeout=60)
    failed = await world.db.projects.indexing(job)
    assert failed.status == "failed"
    assert "is no directory of the project" in failed.message
    assert (await indexed(world, there)).indexed == 2


async def test_a_job_that_is_retried_after_its_plan_has_failed_takes_no_requests(world):
    """It waits for a plan that nobody does any more, unless that is retried as well."""
    place = world.repository()
    job = await world.db.projects.start_indexing(place)
    (claim,) = await world.db.tasks.claim("test", agent_types=[PLAN])
    await world.db.tasks.fail(claim, "the disk is on fire", retry=False)
    assert (await world.db.tasks.retry(job.id)).status == "blocked"
    stuck = await world.db.projects.indexing(job)
    assert (stuck.status, stuck.message) == ("failed", "the disk is on fire")
    again = await indexed(world, place)
    assert (again.id != job.id, again.indexed) == (True, 2)
    await world.db.tasks.retry(claim.task.id)
    async with working(world.db):
        await world.db.tasks.wait(job.id, timeout=60)
    assert (await world.db.projects.indexing(job)).status == "completed"


# -- crashes ---------------------------------------------------------------------------------------


def command(url: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "abathur", "--database", url, *arguments]


async def test_a_job_whose_process_is_killed_goes_on_where_it_was(world, processes, figure):
    place = world.repository()
    tree(place, 600)
    project = await world.here(place)
    asked = await world.db.projects.start_indexing(place)
    process = subprocess.Popen(command(processes, "index", str(place)), stdout=subprocess.DEVNULL)
    try:
        while (before := await world.db.projects.indexing(asked)).done < 100:
            assert process.poll() is None
            await asyncio.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    began = time.monotonic()
    done = subprocess.run(
        command(processes, "index", str(place), "--json"),
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["job_id"], answer["status"], answer["done"]) == (asked.id, "completed", 602)
    batches = await world.db.tasks.list(agent_type=jobs.BATCH)
    assert took < 15  # with the start of a process; the lease that ends is of six seconds
    repeated = [batch for batch in batches if batch.attempt > 1]
    assert len(repeated) <= 2  # as many as were at work
    hits = await world.db.projects.search("return", project.project_id, limit=1_000)
    assert len({hit.path for hit in hits}) > 300
    again = subprocess.run(
        command(processes, "index", str(place), "--json"),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(again.stdout)["indexed"] == 0
    figure(
        f"killed after {before.done} of 602 files, {len(repeated)} batches repeated, {took:.1f} s to go on"
    )


async def test_a_plan_that_is_done_twice_makes_its_batches_once(world):
    place = world.repository()
    tree(place, 150)
    job = await world.db.projects.start_indexing(place)
    (claim,) = await world.db.tasks.claim("dies", agent_types=[PLAN])
    ctx = type("Ctx", (), {"db": world.db, "task": claim.task, "input": claim.task.input})()
    first = await indexer.plan(ctx)
    put(place, "late.py", "word\n")
    assert await indexer.plan(ctx) != first  # it saw more, and what the first one has made stays
    assert len(await world.db.tasks.list(agent_type=jobs.BATCH)) == 2
    await world.db.tasks.complete(claim, first)
    async with working(world.db):
        await world.db.tasks.wait(job.id, timeout=60)
    assert (await world.db.projects.indexing(job)).indexed == 152
