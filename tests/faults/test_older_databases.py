"""Every older database converges, loses nothing, and can then be used; also when many open it at once."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from abathur import Context, Database, Runner
from tests import older
from tests.faults.budget import Budget

LEGACY = (
    "01-3343338",
    "05-82d0b49",
    "12-5967c79",
    "17-2daa777",
    "h2-e1f2cd6-crashed-after-last_updated_at",
)

RACER = """
import asyncio, sys, time
from abathur import Database
async def race(path, start):
    db = Database(path)
    time.sleep(max(start - time.time(), 0))
    report = await db.initialize()
    await db.tasks.enqueue("made at once", agent_type="racer")
    await db.close()
    print(len(report.steps), flush=True)
for line in sys.stdin:  # a round: when, and which file
    start, path = line.split(" ", 1)
    asyncio.run(race(path.strip(), float(start)))
"""


def _wal(path: Path) -> None:
    """An older database that somebody has set to WAL."""
    older.edges(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


KINDS = {
    "new": older.empty,
    "first": older.first,
    "edges": older.edges,
    "crashed": older.crashed,
    "wal": _wal,
}


@pytest.fixture
def canon(legacy_databases: Path) -> ModuleType:
    """The checker that comes with the older databases."""
    spec = importlib.util.spec_from_file_location("canon", legacy_databases / "canon.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", LEGACY)
async def test_a_real_older_database_converges_loses_nothing_and_is_usable(
    name: str, legacy_databases: Path, canon: ModuleType, tmp_path: Path
) -> None:
    manifest = json.loads((legacy_databases / f"{name}.json").read_text())
    path = tmp_path / f"{name}.db"
    shutil.copyfile(legacy_databases / f"{name}.db", path)
    async with Database(path) as db:
        pass
    assert canon.verify(manifest, path) == []
    before = path.read_bytes()
    for verify in (False, True):
        db = Database(path)
        report = await db.initialize(verify=verify)
        await db.close()
        assert report.steps == ()
    assert path.read_bytes() == before
    assert canon.verify(manifest, path) == []
    await _use(path)


@pytest.fixture
def racers():
    """Eight processes that have imported the library and wait for a round."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", RACER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.row("R5")
@pytest.mark.timeout(180)
def test_eight_processes_initialize_one_database_at_once_without_an_error(
    racers: list[subprocess.Popen[str]], tmp_path: Path, budget: Budget, figure
) -> None:
    schemas: dict[str, set[str]] = {name: set() for name in KINDS}
    rounds = 0
    for number in budget(quick=50, long=2_000):
        name = list(KINDS)[number % len(KINDS)]
        path = tmp_path / f"{number}.db"
        KINDS[name](path)
        before = older.contents(path) if path.exists() else {}
        start = time.time() + 0.02
        for process in racers:
            process.stdin.write(f"{start} {path}\n")
            process.stdin.flush()
        answers = [process.stdout.readline() for process in racers]
        if "" in answers:
            pytest.fail(racers[answers.index("")].communicate(timeout=60)[1])
        changed = [int(steps) for steps in answers if int(steps)]
        assert len(changed) == 1, "one process migrates; the others find nothing to do"
        assert older.lost(before, path) == []
        schemas[name].add(repr(older.schema(path)))
        with closing(sqlite3.connect(path)) as connection:
            made = connection.execute("SELECT COUNT(*) FROM tasks WHERE agent_type = 'racer'").fetchone()
        assert made == (8,)
        rounds += 1
    assert all(len(found) <= 1 for found in schemas.values())
    errors = [process.communicate(timeout=60)[1] for process in racers]
    assert errors == [""] * 8
    figure(
        f"R5: {rounds:,} rounds of 8 processes, {len(KINDS)} kinds of files: 0 errors, 1 schema, no row lost"
    )


async def _plan(path: Path):
    db = Database(path)
    try:
        return await db.plan()
    finally:
        await db.close()


async def _use(path: Path) -> None:
    """Enqueue, claim, complete, list, audit; then everything that was left open in the older file."""
    async with Database(path) as db:
        task = await db.tasks.enqueue("a task of today", agent_type="today", input={"n": 1})
        (claim,) = await db.tasks.claim("worker", agent_types=["today"])
        await db.tasks.complete(claim, {"n": 2})
        assert (await db.tasks.get(task)).result == {"n": 2}
        await db.tasks.reconcile()
        counts = await db.tasks.counts()
        assert not counts.get("pending")
        assert not counts.get("running")
        while claims := await db.tasks.claim("worker", limit=10):
            for claim in claims:
                assert claim.task.prompt
                await db.tasks.complete(claim)
        after = await db.tasks.counts()
        assert not after.get("ready")
        listed = await db.tasks.list(limit=1000)
        assert len(listed) == sum(after.values())
        trail = await db.audit.list(task_id=task.id)
        assert [entry.action for entry in trail] == ["task.ready", "task.running", "task.completed"]
        report = await db.audit.verify()
        assert report.ok, report
        assert report.adopted > 0


async def test_a_trail_begins_after_the_last_id_that_was_given_out_even_if_its_row_is_gone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "older.db"
    older.first(path)
    with sqlite3.connect(path) as raw:
        raw.execute("DELETE FROM audit WHERE id > 4")
    raw.close()
    async with Database(path) as db:
        await db.tasks.enqueue("x")
        report = await db.audit.verify()
        assert report.ok, report
        assert report.starts_after == 7


async def test_until_idle_waits_for_tasks_that_an_older_version_left_pending(tmp_path: Path) -> None:
    path = tmp_path / "older.db"
    older.edges(path)
    async with Database(path) as db:
        runner = Runner(db)

        @runner.agent("general")
        async def handle(ctx: Context) -> str:
            return "done"

        await runner.run(until_idle=True)
        counts = await db.tasks.counts()
        assert not {"pending", "ready", "running"} & counts.keys()


async def test_a_pending_task_of_an_older_version_can_be_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "older.db"
    older.first(path)
    async with Database(path) as db:
        assert (await db.tasks.cancel("t5")).status == "cancelled"
        trail = await db.audit.list(task_id="t5")
        assert [entry.action for entry in trail][-2:] == ["task.blocked", "task.cancelled"]
