"""R8: no space is left; then there is some again, and work goes on without a restart."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import warnings
from contextlib import suppress

import pytest

from abathur import Database
from abathur.errors import DiskFullError
from tests.conformance.checks import QUERIES, check_invariants
from tests.conftest import require
from tests.faults import checking


@pytest.fixture
def small_disk(request, tmp_path):
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        require(request, "root", "only root on Linux can mount a small file system")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if done.returncode:
        require(request, "root", done.stderr.strip())
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(place):
    """Take all the space that is left; deleting the file gives it back."""
    ballast = place / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    return ballast


async def test_on_a_full_disk_nobody_is_told_done_without_a_commit_and_work_resumes(small_disk, figure):
    db = Database(small_disk / "agents.db", queries=QUERIES, environment="test")
    await db.initialize()
    told: set[str] = set()
    errors = 0

    async def enqueue(n):
        nonlocal errors
        try:
            told.add((await db.tasks.enqueue(f"{n}", input="x" * (n % 7) * 3_000)).id)
        except DiskFullError:
            errors += 1

    async def stored():
        # Another connection, so that what it sees is committed.
        return {task.id for task in await db.tasks.list(limit=10_000)}

    try:
        # The cache is small, so a large transaction spills into the log before its commit.
        await db.tasks.enqueue("first")
        await db.engine._writer.hop(lambda raw: raw.execute("PRAGMA cache_size=10").fetchall())
        for task in await db.tasks.list():
            told.add(task.id)
        for round_number in range(6):
            await asyncio.gather(*(enqueue(n) for n in range(200)))
            assert await stored() == told, f"round {round_number}"
        assert errors, "the disk never became full"
        ballast = fill(small_disk)
        with pytest.raises(DiskFullError):
            await db.tasks.enqueue_many([{"prompt": "x", "input": "x" * 250_000}] * 20)
        assert await stored() == told
        assert not db.engine._writer.executor.connection.in_transaction
        ballast.unlink(missing_ok=True)
        subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
        before = errors
        await asyncio.gather(*(enqueue(n) for n in range(200)))
        assert errors == before, "there is room again"
        assert await stored() == told
        await check_invariants(db)
    finally:
        await db.close()
    figure(f"full disk: {errors} callers refused, {len(told)} told done, all of them on disk")


async def test_opening_on_a_full_disk_is_a_typed_error_and_leaves_no_lock_behind(small_disk):
    ballast = fill(small_disk)
    db = Database(small_disk / "agents.db", environment="test")
    with pytest.raises(DiskFullError):
        await db.initialize()
    await db.close()
    ballast.unlink()
    async with Database(small_disk / "agents.db", environment="test", lock_timeout=1) as db:
        await db.tasks.enqueue("x")


async def test_closing_on_a_full_disk_ends_and_loses_nothing(small_disk):
    db = Database(small_disk / "agents.db", environment="test")
    await db.initialize()
    made = [(await db.tasks.enqueue(f"{n}", input="x" * 1_000)).id for n in range(50)]
    ballast = fill(small_disk)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        await db.close()
    ballast.unlink()
    async with Database(small_disk / "agents.db", environment="test") as again:
        assert [task.id for task in await again.tasks.list(limit=1000)] == made


LIMITS = {"RLIMIT_FSIZE": (4_096, 250_000), "max_page_count": (45, 90)}


@pytest.mark.row("R8")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("how", LIMITS)
def test_at_a_files_largest_size_nobody_is_told_done_without_a_commit_and_work_resumes(
    how, children, fast, budget, figure
):
    sweep(how, *LIMITS[how], children, fast, budget, figure)


@pytest.mark.row("R8")
@pytest.mark.timeout(0)
def test_with_any_amount_of_space_nobody_is_told_done_without_a_commit_and_work_resumes(
    children, small_disk, budget, figure
):
    sweep("disk", 0, 700_000, children, small_disk, budget, figure)


def sweep(how, lowest, highest, children, place, budget, figure):
    """A load meets each limit, and goes on when the limit is lifted."""
    path = place / "agents.db"
    refused = told = 0
    for number in budget(quick=12, long=highest - lowest):
        checking.empty_directory(place)
        limit = lowest + checking.spread(number, highest - lowest)
        end = children.run("fill", path, limit=limit, how=how)
        assert end.code == 0, end.errors
        checking.told_the_truth(end, path)
        kinds = {kind for _, kind, _ in end.of("refused")}
        assert kinds <= {"DiskFullError"}, (limit, kinds)
        after = end.said[end.said.index(["lifted"]) :]
        assert not [word for word, *_ in after if word == "refused"], "there is room again"
        refused += len(end.of("refused"))
        told += sum(len(ids) for ids in end.of("made"))
    assert refused, "it never became full"
    figure(f"R8: {budget.done} limits by {how}: {refused:,} callers refused, {told:,} told done, 0 lost")
