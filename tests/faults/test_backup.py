"""Backups while others write, while the disk fills up, and while their maker is killed."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import sqlite3
import subprocess
import time
from contextlib import closing, suppress

import pytest

from abathur import Database
from abathur.engines.backup import PARTIAL
from abathur.errors import DiskFullError, DiskIOError
from tests.conftest import require

MB = 1_000_000


def make(path, size):
    """A database of about so many bytes."""

    async def filled():
        async with Database(path, environment="test") as db:
            for _ in range(max(size // (100 * 20_000), 1)):
                await db.tasks.enqueue_many([{"prompt": "p", "input": {"b": "x" * 19_000}}] * 100)
            return len(await db.tasks.list(limit=10_000))

    return asyncio.run(filled())


def rows(path):
    """(integrity, tasks, tasks by the counts) of a copy."""
    with closing(sqlite3.connect(path)) as copy:
        (check,) = copy.execute("PRAGMA integrity_check").fetchone()
        (tasks,) = copy.execute("SELECT count(*) FROM tasks").fetchone()
        (kept,) = copy.execute("SELECT sum(n) FROM task_counts").fetchone()
    return check, tasks, kept


@pytest.mark.slow
def test_a_large_backup_ends_and_holds_nobody_up_while_another_process_writes(start, tmp_path, figure):
    """200 MB in `make torture` and by hand, 40 MB here: what counts is that writers go on."""
    size = (200 if "ABATHUR_TORTURE_SECONDS" in os.environ else 40) * MB
    path = tmp_path / "agents.db"
    before = make(path, size)
    writer = start("writer", path, "2")
    writer.line(0)

    async def copied():
        async with Database(path) as db:
            writer.go()
            await asyncio.sleep(0.3)
            began = time.monotonic()
            chunks = []
            await db.backup(tmp_path / "copy.db", progress=lambda done, _: chunks.append(done))
            return time.monotonic() - began, chunks

    took, chunks = asyncio.run(copied())
    count, longest = writer.line(1).split()
    assert writer.end() == 0, writer.errors
    check, tasks, kept = rows(tmp_path / "copy.db")
    assert check == "ok"
    assert tasks == kept > before, "it holds what was written before it began"
    assert chunks == sorted(chunks), "it began again"
    assert float(longest) < 2, "a writer was held up"
    figure(
        f"{path.stat().st_size / MB:.0f} MB copied and checked in {took:.2f} s while another process made "
        f"{count} transactions, the longest of {float(longest) * 1000:.0f} ms"
    )


def test_a_killed_backup_leaves_nothing_under_the_targets_name(start, tmp_path, budget, figure):
    path = tmp_path / "agents.db"
    made = make(path, 6 * MB)
    copies = tmp_path / "copies"
    copies.mkdir()
    draw = random.Random()
    whole = halves = 0
    for number in budget(quick=8, long=500):
        process = start("backups", path, copies / f"{number}")
        process.line(draw.randrange(3))
        time.sleep(draw.random() * 0.1)
        process.end(kill=True)
        found = list(copies.iterdir())
        for copy in found:
            if copy.name.startswith(PARTIAL):
                halves += 1
            else:
                assert rows(copy) == ("ok", made, made)
                whole += 1
            copy.unlink()
        done = sum(line.startswith("done") for line in process.lines)
        assert sum(not copy.name.startswith(PARTIAL) for copy in found) in (done, done + 1)
    assert rows(path) == ("ok", made, made)
    figure(f"{budget.done} kills: {whole} copies, all whole; {halves} unfinished ones under another name")


def test_a_file_that_may_not_grow_leaves_no_half_copy(tmp_path):
    path = tmp_path / "agents.db"
    make(path, 4 * MB)
    copies = tmp_path / "copies"
    copies.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def refused():
        async with Database(path) as db:
            resource.setrlimit(resource.RLIMIT_FSIZE, (MB, hard))
            try:
                with pytest.raises((DiskFullError, DiskIOError), match=r"copy\.db"):
                    await db.backup(copies / "copy.db")
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert list(copies.iterdir()) == []
            await db.backup(copies / "copy.db")

    asyncio.run(refused())
    assert rows(copies / "copy.db")[0] == "ok"


@pytest.fixture
def small_disk(tmp_path, request):
    """A file system of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        require(request, "mount", "there is no command to mount with")
    if done.returncode:
        require(request, "mount", f"a tmpfs cannot be mounted: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_up_meanwhile_leaves_no_half_copy(tmp_path, small_disk):
    path = tmp_path / "agents.db"
    made = make(path, 18 * MB)
    filler = small_disk / "filler"

    def fill(_done, _total):
        if not filler.exists():
            with filler.open("wb") as file, suppress(OSError):  # it is told late: the copy is half way
                file.write(bytes(18 * MB))

    async def refused():
        async with Database(path) as db:
            with pytest.raises(DiskFullError, match=r"copy\.db"):
                await db.backup(small_disk / "copy.db", progress=fill)
            assert [left.name for left in small_disk.iterdir()] == ["filler"]
            with pytest.raises(DiskFullError, match=r"copy\.db"):  # now before it begins
                await db.backup(small_disk / "copy.db")
            filler.unlink()
            await db.backup(small_disk / "copy.db")

    asyncio.run(refused())
    assert rows(small_disk / "copy.db") == ("ok", made, made)
