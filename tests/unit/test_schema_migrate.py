"""What `migrate` refuses, undoes, backs up and reports, over the real engine."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from abathur.engines.sqlite import SqliteEngine
from abathur.engines.sqlite_migration import SqliteMigration
from abathur.errors import (
    ConstraintError,
    DiskFullError,
    EnvironmentMismatchError,
    ForeignDatabaseError,
    InvalidInputError,
    MigrationError,
    NewerSchemaError,
    SchemaConflictError,
)
from abathur.migrate import Report, migrate, plan
from abathur.schema import Column, Index, InsertRows, Reference, Schema, Table
from abathur.schema.stamp import APPLICATION_IDS, environment_of, is_older
from abathur.schema.tables import HISTORY, LIBRARY, META
from abathur.script import Built, Emit, Script
from abathur.sql import Catalog

KEY = Column("id", "INTEGER", primary_key=True)
BASE = Schema("base", (META, HISTORY))
APP = Schema("app", (Table("t", (KEY, Column("a", "TEXT"))),), indexes=(Index("t_a", "t", ("a",)),))
WIDER = Schema("app", (Table("t", (KEY, Column("a", "TEXT"), Column("b", "TEXT"))),), indexes=APP.indexes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@asynccontextmanager
async def engine(target: Path | str) -> AsyncIterator[SqliteEngine]:
    opened = SqliteEngine(target, Catalog({}))
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


async def initialize(target: Path, *schemas: Schema, version: str = "1.0", **options: Any) -> Report:
    async with engine(target) as opened:
        return await migrate(opened, [BASE, *(schemas or (APP,))], version=version, **options)


def sql(path: Path, *statements: str) -> list[Any]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return [row for statement in statements for row in db.execute(statement).fetchall()][-50:]


def said(report: Report) -> list[str]:
    return [step.describe() for step in report.steps]


async def test_a_new_file_is_set_up_once_and_stamped(path: Path) -> None:
    report = await initialize(path, environment="test", project="p")
    assert report.created
    assert report.backup is None
    assert (report.environment, len(report.database_id)) == ("test", 36)
    assert said(report)[0] == "set auto_vacuum to 2"
    assert said(report)[-2:] == ["write the stamp", "set journal_mode to wal"]
    assert int.from_bytes(path.read_bytes()[68:72], "big") == APPLICATION_IDS["test"]
    assert sql(path, "PRAGMA journal_mode", "PRAGMA auto_vacuum") == [("wal",), (2,)]
    meta = dict(sql(path, "SELECT key, value FROM abathur_meta"))
    assert (meta["environment"], meta["project"], meta["database_id"]) == ("test", "p", report.database_id)
    again = await initialize(path)
    assert again.steps == ()
    assert not again.created
    assert again.database_id == report.database_id


async def test_what_somebody_dropped_comes_back_without_being_asked_to_verify(path: Path) -> None:
    await initialize(path)
    sql(path, "DROP INDEX t_a")
    assert said(await initialize(path)) == ["create index t_a on t", "write the stamp"]


async def test_a_memory_database_is_migrated_on_its_one_connection() -> None:
    async with engine(":memory:") as opened:
        assert (await migrate(opened, [BASE, APP], version="1.0")).created
        assert (await migrate(opened, [BASE, APP], version="1.0")).steps == ()
        assert (await migrate(opened, [BASE, WIDER], version="1.0")).backup is None


async def test_a_plan_creates_no_file_and_changes_none(path: Path) -> None:
    async with engine(path) as opened:
        wanted = await plan(opened, [BASE, APP], version="1.0")
        assert "CREATE TABLE IF NOT EXISTS" in wanted.to_text()
    assert not path.exists()
    await initialize(path)
    image = path.read_bytes()
    async with engine(path) as opened:
        assert not (await plan(opened, [BASE, WIDER], version="1.0")).empty
    assert path.read_bytes() == image


async def test_another_applications_file_is_refused_unless_it_is_adopted(path: Path) -> None:
    sql(path, "PRAGMA application_id = 77", "CREATE TABLE theirs (a)")
    image = path.read_bytes()
    with pytest.raises(ForeignDatabaseError):
        await initialize(path)
    assert path.read_bytes() == image
    assert (await initialize(path, adopt=True, environment="production")).environment == "production"
    assert (await initialize(path)).steps == ()


async def test_a_newer_database_opens_as_long_as_it_says_so_and_is_not_stamped(path: Path) -> None:
    await initialize(path, version="3.0")
    assert (await initialize(path, version="2.9")).steps == ()
    sql(path, "UPDATE abathur_meta SET value = '3.0' WHERE key = 'min_reader_version'")
    with pytest.raises(NewerSchemaError, match=r"needs abathur 3\.0 or newer, and this is 2\.9"):
        await initialize(path, version="2.9")
    await initialize(path, version="3.0.1")


async def test_the_environment_in_the_stamp_is_the_one_in_force(path: Path) -> None:
    await initialize(path, environment="production")
    assert (await initialize(path)).environment == "production"
    with pytest.raises(EnvironmentMismatchError, match="is a production database, and test was asked for"):
        await initialize(path, environment="test")
    with pytest.raises(InvalidInputError, match="no environment 'staging'"):
        await initialize(path, environment="staging")


async def test_a_conflict_changes_nothing(path: Path) -> None:
    sql(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)")
    image = path.read_bytes()
    with pytest.raises(SchemaConflictError) as raised:
        await initialize(path)
    assert raised.value.conflicts[0].column == "a"
    assert path.read_bytes() == image


async def test_rows_that_a_unique_index_forbids_are_a_conflict_and_everything_is_undone(path: Path) -> None:
    sql(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)", "INSERT INTO t (a) VALUES ('x'), ('x')")
    unique = Schema("app", APP.tables, indexes=(Index("t_once", "t", ("a",), unique=True),))
    with pytest.raises(SchemaConflictError, match="GROUP BY a") as raised:
        await initialize(path, unique)
    assert isinstance(raised.value.__cause__, ConstraintError)
    assert sql(path, "SELECT name FROM sqlite_master") == [("t",)]


async def test_the_trial_is_undone_with_all_that_it_emitted(path: Path) -> None:
    def probe() -> Script[None]:
        yield Built("INSERT INTO t (a) VALUES ('trial')")
        yield Emit("topic", [1])
        assert (yield Built("SELECT count(*) AS n FROM t"))[0]["n"] == 1

    await initialize(path, probe=probe)
    assert sql(path, "SELECT count(*) FROM t") == [(0,)]


async def test_a_trigger_in_the_way_is_found_by_the_trial_and_everything_is_undone(path: Path) -> None:
    sql(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")
    sql(path, "CREATE TRIGGER no BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, 'not here'); END")

    def probe() -> Script[None]:
        yield Built("INSERT INTO t (a) VALUES ('trial')")

    with pytest.raises(MigrationError, match=r"the trial after the steps .* not here") as raised:
        await initialize(path, probe=probe)
    assert isinstance(raised.value.__cause__, ConstraintError)
    assert sql(path, "SELECT name FROM sqlite_master") == [("t",), ("no",)]


@pytest.mark.parametrize(
    ("error", "seen"), [(DiskFullError("x"), DiskFullError), (KeyError("x"), MigrationError)]
)
async def test_an_error_of_the_disk_keeps_its_type_and_any_other_is_a_failed_migration(
    path: Path, error: Exception, seen: type[Exception]
) -> None:
    def probe() -> Script[None]:
        yield Built("SELECT 1")
        raise error

    with pytest.raises(seen) as raised:
        await initialize(path, probe=probe)
    assert error in (raised.value, raised.value.__cause__)


async def test_new_orphans_stop_a_migration_and_old_ones_do_not(path: Path) -> None:
    sql(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, old INTEGER REFERENCES t(id))",
        "INSERT INTO t VALUES (1, 'x', 9)",
    )
    await initialize(path, WIDER)
    assert sql(path, "SELECT old FROM t") == [(9,)]
    child = Table("child", (KEY, Column("up", "INTEGER", references=Reference("t"))))
    rows = InsertRows("child", "rows", "INSERT INTO child (up) VALUES (5)", requires=(("t", "id"),))
    with pytest.raises(MigrationError, match="1 rows of child point to rows of t"):
        await initialize(path, Schema("app", (*WIDER.tables, child), indexes=WIDER.indexes, inserts=(rows,)))
    assert sql(path, "SELECT count(*) FROM sqlite_master WHERE name = 'child'") == [(0,)]


async def test_a_database_with_rows_is_backed_up_and_the_last_two_backups_stay(
    path: Path, tmp_path: Path
) -> None:
    (tmp_path / "agents.db.before-mine.db").write_text("not ours")
    await initialize(path)
    assert (await initialize(path, WIDER)).backup is not None  # its history and stamp are rows
    backups: list[Path] = []
    for name in "cdef":
        columns = (*WIDER.tables[0].columns, Column(name, "TEXT"))
        sql(path, f"INSERT INTO t (a) VALUES ('{name}')")
        report = await initialize(path, Schema("app", (Table("t", columns),)))
        assert report.backup is not None
        backups.append(report.backup)
    assert [backup.exists() for backup in backups] == [False, False, True, True]
    assert backups[-1].name.startswith("agents.db.before-1.0-")
    assert sql(backups[-1], "SELECT a FROM t") == [("c",), ("d",), ("e",), ("f",)]
    assert (tmp_path / "agents.db.before-mine.db").exists()
    columns = (*WIDER.tables[0].columns, Column("g", "TEXT"))
    assert (await initialize(path, Schema("app", (Table("t", columns),)), backup=False)).backup is None


async def test_a_switch_to_wal_that_a_kill_prevented_is_made_up_for(path: Path) -> None:
    await initialize(path)
    sql(path, "PRAGMA journal_mode = delete")
    assert said(await initialize(path)) == ["set journal_mode to wal"]
    assert (await initialize(path)).steps == ()


@pytest.mark.parametrize("older", [False, True])
async def test_eight_that_initialize_at_once_make_one_database(path: Path, older: bool) -> None:
    if older:
        sql(
            path,
            "CREATE TABLE t (id INTEGER PRIMARY KEY, gone TEXT NOT NULL)",
            "INSERT INTO t VALUES (1, 'x')",
        )
    reports: list[Report] = []

    async def one() -> None:
        reports.append(await initialize(path))

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(one)
    assert sum(bool(report.steps) for report in reports) == 1
    assert len({report.database_id for report in reports}) == 1
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]


async def test_every_older_database_is_adopted_without_losing_anything(
    legacy_databases: Path, tmp_path: Path
) -> None:
    spec = importlib.util.spec_from_file_location("canon", legacy_databases / "canon.py")
    assert spec is not None
    assert spec.loader is not None
    canon = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(canon)
    files = sorted(legacy_databases.glob("*.db"))
    assert files
    for file in files:
        copy = Path(shutil.copy(file, tmp_path / file.name))
        manifest = json.loads(file.with_suffix(".json").read_text())
        async with engine(copy) as opened:
            report = await migrate(opened, [LIBRARY], version="1.0")
        assert report.steps
        assert report.backup is not None
        for migrated in (copy, report.backup):
            assert canon.verify(manifest, str(migrated)) == []
        image = copy.read_bytes()
        async with engine(copy) as opened:
            assert (await migrate(opened, [LIBRARY], version="1.0", verify=True)).steps == ()
        assert copy.read_bytes() == image


def test_an_application_id_names_its_environment() -> None:
    assert [environment_of(number) for number in APPLICATION_IDS.values()] == list(APPLICATION_IDS)
    assert environment_of(0) is None


@pytest.mark.parametrize(
    ("one", "other", "older"),
    [("1.9", "1.10", True), ("1.0", "1.0", False), ("2", "1.9", False), ("x", "1", True)],
)
def test_versions_are_compared_by_their_numbers(one: str, other: str, older: bool) -> None:
    assert is_older(one, other) is older


async def test_a_backup_that_fails_stops_the_migration(path, monkeypatch):
    await initialize(path)
    sql(path, "INSERT INTO t (id, a) VALUES (1, 'kept')")
    before = path.read_bytes()

    async def fail(self, target):
        raise DiskFullError(str(target))

    monkeypatch.setattr(SqliteMigration, "backup", fail)
    with pytest.raises(DiskFullError):
        await initialize(path, WIDER)
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.before-*"))


async def test_what_is_current_by_its_stamp_is_not_inspected(path, monkeypatch):
    await initialize(path)

    def look(*args):
        raise AssertionError("it was inspected")
        yield

    monkeypatch.setattr("abathur.migrate.look", look)
    assert (await initialize(path)).steps == ()
    with pytest.raises(AssertionError, match="it was inspected"):
        await initialize(path, verify=True)


async def test_a_conflict_that_is_there_only_under_the_lock_is_refused_all_the_same(path, monkeypatch):
    """Another process has made the file since we found that there was none."""
    await initialize(path)
    other = Schema("app", (Table("t", (KEY, Column("a", "INTEGER"))),))
    before = path.read_bytes()

    async def missing(self):
        return False

    monkeypatch.setattr(SqliteEngine, "exists", missing)
    with pytest.raises(SchemaConflictError):
        await initialize(path, other)
    assert path.read_bytes() == before


async def test_the_oldest_backups_go_whatever_their_versions_are_called(path):
    await initialize(path)
    sql(path, "INSERT INTO t (id, a) VALUES (1, 'kept')")
    made = []
    columns = [KEY, Column("a", "TEXT")]
    for version in ("9.0", "10.0", "2.0"):
        columns.append(Column(f"c{len(columns)}", "TEXT"))
        wider = Schema("app", (Table("t", tuple(columns)),), indexes=APP.indexes)
        made.append((await initialize(path, wider, version=version)).backup)
    assert sorted(path.parent.glob("*.before-*")) == sorted(made[1:])


async def test_the_schema_is_changed_with_full_syncs_whatever_the_durability(tmp_path: Path) -> None:
    """A rollback journal that is synced once and torn by a power cut is taken for whole."""
    engine = SqliteEngine(tmp_path / "agents.db", Catalog({}), durability="normal")

    def settings() -> Script[int]:
        return int((yield Built("PRAGMA synchronous"))[0]["synchronous"])

    await engine.open()
    try:
        async with engine.migration() as migration:
            assert await migration.read(settings) == 2
    finally:
        await engine.close()
