"""What destroys a database: allowed for one of the tests, and refused under pytest for every other one."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import asyncpg
import pytest

from abathur import Database
from abathur.destroying import own_names, schema_aside
from abathur.errors import (
    ConstraintError,
    LockTimeoutError,
    NotInitializedError,
    ProtectedDatabaseError,
    TargetExistsError,
    UnknownTableError,
)
from tests.conformance.checks import check_invariants

OPERATIONS = ("drop", "reset", "purge", "prune_all")


async def filled(db):
    done, *_ = await db.tasks.enqueue_many([{"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}])
    (claim,) = await db.tasks.claim(worker="w", agent_types=["general"], limit=1, lease=30)
    await db.tasks.complete(claim, result=1)
    return done


async def test_a_dropped_test_database_is_gone_and_can_be_made_anew(db):
    await filled(db)
    report = await db.drop()
    assert (report.operation, report.environment, report.existed, report.backup) == (
        "drop", "test", True, None,
    )  # fmt: skip
    assert not await db.exists()
    with pytest.raises(NotInitializedError):
        _ = db.tasks
    assert not (await db.drop()).existed
    assert (await db.initialize()).created
    assert await db.tasks.list() == []
    await filled(db)


async def test_a_reset_test_database_is_a_new_one_of_the_same_environment(db):
    await filled(db)
    before = await db.initialize()
    await db.reset()
    after = await db.initialize()
    assert (after.steps, after.environment) == ((), "test")
    assert after.database_id != before.database_id
    assert await db.tasks.list() == []
    assert await db.audit.list() == []
    await filled(db)


async def test_a_purged_database_holds_no_row_and_its_trail_is_proved(db):
    await filled(db)
    before = await db.initialize(verify=True)
    head = await db.audit.head()
    await db.purge()
    assert await db.tasks.list() == []
    after = await db.initialize(verify=True)
    assert (after.steps, after.database_id) == ((), before.database_id)
    assert not (await db.tasks.stats()).counts
    assert [entry.action for entry in await db.audit.list()] == ["database.purged", "audit.cut"]
    verified = await db.audit.verify()
    assert verified.ok, verified.problem
    assert (await db.audit.verify(head=head)).ok, "the head of before is that of the cut"
    await filled(db)
    await check_invariants(db)
    await db.purge()
    await db.purge()
    assert (await db.audit.verify()).ok


FIELDS = [{"name": "title", "type": "string"}]


async def test_the_tables_of_plugins_are_emptied_by_a_purge_and_gone_after_a_reset(db):
    store = db.rows.for_plugin("notes")
    await store.register({"table": "notes", "fields": FIELDS})
    await store.insert("notes", {"title": "a"})
    await store.kv.set("key", 1)
    await db.purge()
    assert (await store.search("notes"))["rows"] == []
    assert (await store.kv.get("key"))["exists"] is False
    await store.insert("notes", {"title": "b"})
    await db.reset()
    with pytest.raises(UnknownTableError):
        await store.search("notes")
    assert (await db.audit.verify()).ok


async def test_what_another_writer_adds_after_a_purge_is_proved(processes, make_db):
    db, other = await make_db(), await make_db()
    await filled(db)
    await filled(other)
    await db.purge()
    await filled(other)
    await filled(db)
    verified = await db.audit.verify()
    assert verified.ok, verified.problem
    assert len(await db.tasks.list()) == 6


async def test_prune_all_removes_what_has_ended_a_moment_ago(db):
    done = await filled(db)
    _, pruned = await db.prune_all()
    assert pruned.by_status == {"completed": 1}
    assert done.id not in {task.id for task in await db.tasks.list()}
    assert (await db.audit.verify()).ok


async def test_a_purge_leaves_rows_that_nobody_declared_and_is_refused_where_they_would_dangle(
    db, processes, outside
):
    done = await filled(db)
    await outside("CREATE TABLE mine (id INTEGER PRIMARY KEY)")
    await outside("INSERT INTO mine (id) VALUES (7)")
    await db.purge()
    assert await outside("SELECT id FROM mine") == [{"id": 7}]
    done = await filled(db)
    await outside("CREATE TABLE orders (task TEXT REFERENCES tasks (id))")
    await outside(f"INSERT INTO orders (task) VALUES ('{done.id}')")
    with pytest.raises(ConstraintError):
        await db.purge()
    assert len(await db.tasks.list()) == 3
    assert (await db.audit.verify()).ok


async def test_a_database_that_another_process_has_open_is_not_dropped_under_it(file, make_db):
    db, other = await make_db(lock_timeout=0.2), await make_db()
    await filled(other)
    with pytest.raises(LockTimeoutError):
        await db.drop()
    assert len(await other.tasks.list()) == 3
    await other.close()
    await db.drop()
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(file.name)] == [
        f"{file.name}-lock"
    ]


async def test_where_no_copy_can_be_made_nothing_is_removed_and_the_database_goes_on(file, db):
    await filled(db)
    with pytest.raises(TargetExistsError):
        await db._engine.remove(str(file))
    assert len(await db.tasks.list()) == 3
    await filled(db)
    await check_invariants(db)
    with closing(sqlite3.connect(file)) as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_drop_lets_the_others_come_to_an_end(file, make_db):
    db, other = await make_db(), await make_db(lock_timeout=0.5)
    await filled(other)
    dropping = asyncio.create_task(db.drop())
    await asyncio.sleep(0.2)
    await filled(other)
    await other.close()
    assert (await dropping).existed
    assert not file.exists()


@pytest.mark.parametrize("environment", ["production", "development"])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_under_pytest_nothing_but_a_test_database_is_destroyed_whatever_is_allowed(
    unopened, environment, operation
):
    async with unopened(environment=environment) as db:
        await filled(db)
        for allowed in (None, *own_names(db.name)):
            with pytest.raises(ProtectedDatabaseError, match="under pytest") as refused:
                await getattr(db, operation)(allow_destructive=allowed)
            error = refused.value
            assert (error.name, error.environment) == (db.name, environment)
            assert error.operation == operation.replace("prune_all", "prune --all")
        assert len(await db.tasks.list()) == 3


@pytest.mark.parametrize("how", ["backup", "copy", "VACUUM INTO"])
async def test_the_stamp_goes_along_with_every_copy_and_decides_whoever_asks(unopened, file, how):
    copy = file.with_name("copy.db")
    async with unopened(environment="production") as db:
        await filled(db)
        if how == "backup":
            await db.backup(copy)
    if how == "copy":
        shutil.copy(file, copy)
    elif how == "VACUUM INTO":
        with closing(sqlite3.connect(file)) as raw:
            raw.execute(f"VACUUM INTO '{copy}'")
    assert copy.read_bytes()[68:72] == file.read_bytes()[68:72] == bytes.fromhex("41425401")
    caller = unopened(url=copy, environment="test")
    with pytest.raises(ProtectedDatabaseError, match="its stamp says production"):
        await caller.drop(allow_destructive="copy.db")
    await caller.close()
    assert copy.exists()


@pytest.mark.parametrize("what", ["no stamp", "halves that disagree", "garbage"])
async def test_a_stamp_that_is_missing_or_cannot_be_read_protects(unopened, initialized, file, what):
    if what == "garbage":
        file.write_bytes(b"no database" * 1000)
    else:
        with closing(sqlite3.connect(file)) as raw, raw:
            raw.execute(
                "PRAGMA application_id = 0"
                if what == "no stamp"
                else "UPDATE abathur_meta SET value = 'production' WHERE key = 'environment'"
            )
    before = file.read_bytes()
    for operation in OPERATIONS:
        db = unopened()
        with pytest.raises(ProtectedDatabaseError, match="no stamp that can be read"):
            await getattr(db, operation)(allow_destructive=file.name)
        await db.close()
    assert file.read_bytes() == before


SCRIPT = """
import asyncio, sys
from abathur import Database
from abathur.errors import ProtectedDatabaseError

async def main(url, operation, name):
    async with Database(url, environment="development") as db:
        await db.tasks.enqueue("x")
        for wrong in (None, "", "test", "*"):
            try:
                await getattr(db, operation)(allow_destructive=wrong)
            except ProtectedDatabaseError as error:
                assert name in str(error), error
            else:
                raise AssertionError(wrong)
        done = await getattr(db, operation)(allow_destructive=name)
        print((done[0] if operation == "prune_all" else done).backup)
        print(await db.exists() and (await db.initialize()).environment)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("operation", OPERATIONS)
def test_elsewhere_its_own_name_allows_it_and_a_copy_is_kept(unopened, processes, operation):
    url, (name, _) = processes, own_names(unopened().name)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, url, operation, name],
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if key != "ABATHUR_ENVIRONMENT"},
    )
    assert done.returncode == 0, done.stderr
    backup, after = done.stdout.split()
    assert after == ("False" if operation == "drop" else "development")
    assert f"before_{operation.partition('_')[0]}" in backup.replace("-", "_")
    asyncio.run(a_task_is_in(url, backup))


async def a_task_is_in(url: str, backup: str) -> None:
    if not url.startswith("postgresql"):
        async with Database(backup, environment="development") as copy:
            assert len(await copy.tasks.list()) == 1
        return
    raw = await asyncpg.connect(url.partition("&schema=")[0])
    try:
        assert await raw.fetchval(f'SELECT count(*) FROM "{backup}".tasks') == 1
        await raw.execute(f'DROP SCHEMA "{backup}" CASCADE')
    finally:
        await raw.close()


@pytest.mark.parametrize("schema", ["abathur", "a" * 63, "\u00e4" * 31, "\U0001f41c" * 15])
def test_the_name_of_a_schema_that_is_kept_is_not_cut_by_the_server(schema):
    ending = "_before_prune_20260131t093000123456z"
    kept = schema_aside(schema, ending)
    assert kept.endswith(ending)
    assert len(kept.encode()) <= 63
    assert schema.startswith(kept.removesuffix(ending))


def test_a_dot_in_the_name_of_a_database_begins_no_schema():
    db = Database("postgresql://localhost/my.app")
    assert db._aside("drop").startswith("abathur_before_drop_")


LATE = """
import asyncio, sys
from abathur import Database, destroying
from abathur.engines import files
from abathur.errors import AbathurError

async def write(url):
    async with Database(url, environment="development", lock_timeout=0.2) as other:
        await other.tasks.enqueue("late", agent_type="late")
        (claim,) = await other.tasks.claim(worker="w", agent_types=["late"], limit=1, lease=30)
        await other.tasks.complete(claim)

published, run = files.publish, destroying.Pruning.run
said = []

def late_after_the_copy(*args):
    published(*args)
    try:
        asyncio.run(write(sys.argv[1]))
        said.append("written")
    except AbathurError as error:
        said.append(type(error).__name__)

async def late_before_the_pruning(self, *args, **options):
    await write(sys.argv[1])
    said.append("written")
    return await run(self, *args, **options)

if sys.argv[2] == "prune_all":
    destroying.Pruning.run = late_before_the_pruning
else:
    files.publish = late_after_the_copy

async def main(url, operation, name):
    async with Database(url, environment="development") as db:
        await db.tasks.enqueue("x")
        await getattr(db, operation)(allow_destructive=name)
        left = await db.exists() and [task.prompt for task in await db.tasks.list(status="completed")]
        print(*said, left)

asyncio.run(main(*sys.argv[1:]))
"""


def told(url, operation, name):
    done = subprocess.run(
        [sys.executable, "-c", LATE, url, operation, name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("operation", ["drop", "reset", "purge"])
def test_nothing_can_be_written_between_the_copy_and_the_end(file, operation):
    left = False if operation == "drop" else []
    assert told(str(file), operation, file.name) == f"LockTimeoutError {left}"


def test_what_ends_after_the_copy_is_not_pruned(unopened, processes):
    assert told(processes, "prune_all", own_names(unopened().name)[0]) == "written ['late']"
