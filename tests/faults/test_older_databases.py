"""Every older database converges, loses nothing, and can then be used; also when many open it at once."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from abathur import Database
from tests import older

LEGACY = (
    "01-3343338",
    "05-82d0b49",
    "12-5967c79",
    "17-2daa777",
    "h2-e1f2cd6-crashed-after-last_updated_at",
)

INITIALIZE = """
import asyncio, sys, time
from abathur import Database
async def main():
    db = Database(sys.argv[1])
    while time.time() < float(sys.argv[2]):
        pass
    report = await db.initialize()
    task = await db.tasks.enqueue("made at once", agent_type="racer")
    await db.close()
    print(len(report.steps))
asyncio.run(main())
"""


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


@pytest.mark.parametrize("make", older.ALL.values(), ids=older.ALL)
async def test_an_older_schema_converges_loses_nothing_and_is_usable(make, tmp_path: Path) -> None:
    path = tmp_path / "older.db"
    make(path)
    before = older.contents(path)
    plan = await _plan(path)
    assert plan.steps
    assert older.contents(path) == before
    async with Database(path) as db:
        assert (await db.initialize()).steps == ()
    assert older.lost(before, path) == []
    assert ("stray", None, "t0") not in older.contents(path)["users_own(a,b,c)"], "a backfill fired a trigger"
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA application_id").fetchone()[0] != 0
    connection.close()
    await _use(path)


async def test_rows_that_a_crashed_migration_left_in_audit_old_are_in_the_audit_again(tmp_path: Path) -> None:
    path = tmp_path / "crashed.db"
    older.crashed(path)
    before = older.contents(path)
    async with Database(path) as db:
        ids = [entry.id for entry in await db.audit.list()]
        assert (await db.audit.verify()).ok
    kept = next(rows for table, rows in before.items() if table.startswith("audit_old"))
    assert ids == sorted(row[0] for row in kept)
    assert older.lost(before, path) == []


async def test_a_backup_is_made_before_a_database_with_rows_is_changed_and_two_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "older.db"
    older.first(path)
    before = older.contents(path)
    async with Database(path):
        pass
    (backup,) = tmp_path.glob("older.db.before-*.db")
    assert older.contents(backup) == before
    async with Database(path):
        pass
    assert list(tmp_path.glob("older.db.before-*.db")) == [backup]


@pytest.mark.parametrize("make", [older.empty, older.first, older.edges], ids=["new", "first", "edges"])
def test_eight_processes_initialize_one_database_at_once_without_an_error(make, tmp_path: Path) -> None:
    rounds = 7  # of three kinds: 21 rounds of 8 processes
    schemas = set()
    for number in range(rounds):
        path = tmp_path / f"{number}.db"
        make(path)
        before = older.contents(path) if path.exists() else {}
        start = str(time.time() + 0.6)
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", INITIALIZE, str(path), start],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(8)
        ]
        answers = [process.communicate(timeout=60) for process in processes]
        assert [error for _, error in answers if error] == []
        changed = [int(steps) for steps, _ in answers if int(steps)]
        assert len(changed) == 1, "one process migrates; the others find nothing to do"
        assert older.lost(before, path) == []
        schemas.add(repr(older.schema(path)))
        with sqlite3.connect(path) as connection:
            made = connection.execute("SELECT COUNT(*) FROM tasks WHERE agent_type = 'racer'").fetchone()
        connection.close()
        assert made == (8,)
    assert len(schemas) == 1
    print(f"\n{rounds} rounds of 8 processes: 0 errors, 1 schema")


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
