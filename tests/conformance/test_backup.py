"""Backups: whole, of one moment, checked, private, and never over anything that is there."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import stat
from contextlib import closing

import pytest

from abathur import Database
from abathur.engines import backup as engine_backup
from abathur.engines import integrity
from abathur.errors import (
    CorruptDatabaseError,
    DatabaseClosedError,
    DiskFullError,
    DiskIOError,
    InvalidInputError,
    MissingDatabaseError,
    MissingDirectoryError,
    OutOfMemoryError,
    ReadOnlyDatabaseError,
    TargetExistsError,
)
from tests.conformance.checks import QUERIES, check_invariants
from tests.older import contents, first


def beside(path):
    """What lies in a copy's directory."""
    return sorted(other.name for other in path.parent.iterdir())


def pragma(path, name):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


async def test_a_copy_has_everything_and_opens_as_a_database(db, backup):
    made = [await db.tasks.enqueue(f"task {n}", input={"n": n}) for n in range(20)]
    for claim in await db.tasks.claim("w", limit=5):
        await db.tasks.complete(claim, {"done": True})
    assert await db.backup(backup) == backup
    assert beside(backup) == ["copy.db"]
    async with Database(backup, environment="test", queries=QUERIES) as copy:
        assert await copy.tasks.list() == await db.tasks.list()
        assert await copy.audit.list() == await db.audit.list()
        await check_invariants(copy)
        (claim,) = await copy.tasks.claim("w", limit=1)
        await copy.tasks.complete(claim)
        assert (await db.tasks.get(made[5])).status == "ready", "the copy is a database of its own"


async def test_a_copy_is_private_and_one_plain_file(db, backup):
    before = os.umask(0)
    try:
        await db.backup(backup)
    finally:
        os.umask(before)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert pragma(backup, "journal_mode") == "delete"
    assert beside(backup) == ["copy.db"]


async def test_a_copy_is_stamped_as_its_source(db, backup):
    report = await db.initialize()
    await db.backup(backup)
    assert pragma(backup, "application_id") == 0x41425403
    async with Database(backup) as copy:
        found = await copy.initialize()
        assert (found.environment, found.database_id) == ("test", report.database_id)


async def test_a_restored_copy_needs_nothing_but_its_journal_mode(db, file, backup):
    version = pragma(file, "schema_version")
    await db.backup(backup)
    assert pragma(backup, "schema_version") == version
    copy = Database(backup)
    steps = (await copy.initialize()).steps
    await copy.close()
    assert [step.describe() for step in steps] == ["set journal_mode to wal"]


async def test_what_is_there_is_never_overwritten(db, backup):
    backup.write_text("precious")
    with pytest.raises(TargetExistsError, match="exists already"):
        await db.backup(backup)
    with pytest.raises(FileExistsError):
        await db.backup(backup.parent)
    dangling = backup.with_name("dangling")
    dangling.symlink_to("nowhere")
    with pytest.raises(TargetExistsError):
        await db.backup(dangling)
    assert backup.read_text() == "precious"
    assert beside(backup) == ["copy.db", "dangling"]


async def test_what_comes_up_meanwhile_is_not_overwritten_either(db, backup):
    check = engine_backup.files.publish

    def late(partial, fd, target):
        target.write_text("precious")
        check(partial, fd, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_backup.files, "publish", late)
        with pytest.raises(TargetExistsError):
            await db.backup(backup)
    assert backup.read_text() == "precious"
    assert beside(backup) == ["copy.db"]


async def test_a_file_system_without_hard_links_is_fine(db, backup, monkeypatch):
    def refused(*_):
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refused)
    await db.backup(backup)
    assert pragma(backup, "integrity_check") == "ok"
    with pytest.raises(TargetExistsError):
        await db.backup(backup)
    assert beside(backup) == ["copy.db"]


async def test_a_target_that_cannot_be_is_a_typed_error(db, backup):
    with pytest.raises(MissingDirectoryError):
        await db.backup(backup.parent / "missing" / "copy.db")
    for wrong in ("", "a\0b"):
        with pytest.raises(InvalidInputError, match="names no file"):
            await db.backup(wrong)
    if os.geteuid() != 0:
        backup.parent.chmod(0o500)
        with pytest.raises(ReadOnlyDatabaseError):
            await db.backup(backup)


async def test_a_relative_target_is_seen_from_the_working_directory(db, backup, monkeypatch):
    monkeypatch.chdir(backup.parent)
    assert await db.backup("here.db") == backup.parent / "here.db"
    assert beside(backup) == ["here.db"]


async def test_too_little_space_is_noticed_before_anything_is_written(db, backup, monkeypatch):
    usage = engine_backup.shutil.disk_usage(backup.parent)
    monkeypatch.setattr(engine_backup.shutil, "disk_usage", lambda _: usage._replace(free=4096))
    with pytest.raises(DiskFullError, match=r"copy\.db"):
        await db.backup(backup)
    assert beside(backup) == []


@pytest.mark.parametrize(
    ("number", "kind"), [("ENOSPC", DiskFullError), ("EDQUOT", DiskFullError), ("EIO", DiskIOError)]
)
async def test_a_sync_that_fails_is_a_typed_error(db, backup, monkeypatch, number, kind):
    def fails(_):
        raise OSError(getattr(errno, number), "no")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(kind, match=r"copy\.db"):
        await db.backup(backup)
    monkeypatch.undo()
    assert beside(backup) == []
    await db.tasks.enqueue("it goes on")


async def test_memory_that_runs_out_is_a_typed_error(db, backup, monkeypatch):
    def fails(_):
        raise MemoryError

    monkeypatch.setattr(engine_backup, "_opened", fails)
    with pytest.raises(OutOfMemoryError):
        await db.backup(backup)
    assert beside(backup) == []


async def test_progress_is_told_on_the_event_loop_up_to_the_end(db, backup):
    await db.tasks.enqueue_many([{"prompt": "x", "input": {"x": "y" * 5_000}} for _ in range(1_000)])
    told: list[tuple[int, int]] = []

    def progress(done, total):
        asyncio.get_running_loop()  # raises elsewhere
        told.append((done, total))

    await db.backup(backup, progress=progress)
    assert len(told) > 4
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] == backup.stat().st_size // 4096


async def test_progress_that_raises_ends_the_backup(db, backup):
    await db.tasks.enqueue_many([{"prompt": "x", "input": {"x": "y" * 5_000}} for _ in range(1_000)])

    def progress(_done, _total):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await db.backup(backup, progress=progress)
    assert beside(backup) in ([], ["copy.db"])


async def test_a_cancelled_backup_leaves_nothing_behind(db, backup):
    await db.tasks.enqueue_many([{"prompt": "x", "input": {"x": "y" * 5_000}} for _ in range(2_000)])
    begun = asyncio.Event()
    making = asyncio.create_task(db.backup(backup, progress=lambda *_: begun.set()))
    await begun.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert beside(backup) in ([], ["copy.db"])
    await db.tasks.enqueue("it goes on")


async def test_several_backups_at_once(db, backup):
    await db.tasks.enqueue("x")
    await asyncio.gather(*(db.backup(backup.with_name(f"{n}.db")) for n in range(6)))
    assert beside(backup) == [f"{n}.db" for n in range(6)]


async def test_a_backup_that_runs_is_finished_by_close(unopened, file, backup):
    db = unopened()
    await db.initialize()
    making = asyncio.create_task(db.backup(backup))
    await asyncio.sleep(0.001)
    await db.close()
    await making
    assert pragma(backup, "integrity_check") == "ok"
    with pytest.raises(DatabaseClosedError):
        await db.backup(backup.with_name("other.db"))


async def test_a_copy_is_of_one_moment(db, backup):
    """Each transaction adds two tasks; a copy with an odd number would have half of one."""
    stop = asyncio.Event()

    async def write():
        while not stop.is_set():
            await db.tasks.enqueue_many([{"prompt": "x", "input": {"x": "y" * 3_000}}] * 2)

    writing = asyncio.create_task(write())
    try:
        for n in range(5):
            await asyncio.sleep(0.02)
            path = await db.backup(backup.with_name(f"{n}.db"))
            with closing(sqlite3.connect(path)) as copy:
                (count,) = copy.execute("SELECT count(*) FROM tasks").fetchone()
                (kept,) = copy.execute("SELECT sum(n) FROM task_counts").fetchone()
            assert count
            assert count % 2 == 0
            assert kept == count
    finally:
        stop.set()
        await writing


async def test_an_older_database_is_copied_as_it_is(unopened, file, backup):
    first(file)
    before = contents(file)
    db = unopened()
    try:
        await db.backup(backup)
        assert contents(backup) == contents(file) == before
        assert not (await db.plan()).empty
    finally:
        await db.close()


async def test_there_is_nothing_to_copy_where_no_database_is(unopened, file, backup):
    db = unopened()
    try:
        with pytest.raises(MissingDatabaseError):
            await db.backup(backup)
    finally:
        await db.close()
    assert not file.exists()
    assert beside(backup) == []


async def test_a_damaged_database_is_not_taken_for_a_backup(make_db, unopened, file, backup):
    db = await make_db()
    await db.tasks.enqueue_many([{"prompt": "x" * 500} for _ in range(200)])
    await db.close()
    data = bytearray(file.read_bytes())
    root = _root(file, "idx_audit_task")
    data[root * 4096 : root * 4096 + 200] = b"\xff" * 200
    file.write_bytes(data)
    damaged = unopened()
    try:
        with pytest.raises(CorruptDatabaseError, match=r"agents\.db is damaged"):
            await damaged.backup(backup)
    finally:
        await damaged.close()
    assert beside(backup) == []


def _root(path, index):
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage - 1 FROM sqlite_master WHERE name = ?"
        return connection.execute(query, (index,)).fetchone()[0]


async def test_tables_whose_extension_is_missing_are_copied_and_left_out_of_the_check(db, file, backup):
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(
            "INSERT INTO sqlite_master VALUES"
            " ('table', 'alien', 'alien', 0, 'CREATE VIRTUAL TABLE alien USING of_another_world(a)')"
        )
        connection.commit()
    await db.backup(backup)
    with closing(sqlite3.connect(backup)) as copy:
        assert copy.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alien'").fetchone() == (1,)


class Newer(sqlite3.Connection):
    """A connection whose check of a whole database ends as newer versions' may: at the missing module."""

    def execute(self, sql, *parameters):
        if sql == f"PRAGMA integrity_check({integrity.MOST})":
            raise sqlite3.OperationalError("no such module: of_another_world")
        return super().execute(sql, *parameters)


async def test_where_the_whole_check_cannot_run_every_ordinary_table_is_checked(db, file):
    await db.tasks.enqueue_many([{"prompt": "x" * 500} for _ in range(200)])
    await db.close()
    with closing(sqlite3.connect(file, factory=Newer)) as connection:
        assert integrity.problems(connection) == []
    data = bytearray(file.read_bytes())
    root = _root(file, "idx_audit_task")
    data[root * 4096 : root * 4096 + 200] = b"\xff" * 200
    file.write_bytes(data)
    with (
        closing(sqlite3.connect(file, factory=Newer)) as connection,
        pytest.raises(sqlite3.DatabaseError, match="malformed"),
    ):
        integrity.problems(connection)
