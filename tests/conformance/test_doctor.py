"""What doctor finds: each finding is provoked on a real database and known by its code and level."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from abathur import Database
from abathur.engines import files
from abathur.engines.checks import library, place
from abathur.errors import DatabaseClosedError
from abathur.schema import Column, Schema, Table, Trigger
from tests.conformance.checks import pass_time
from tests.conftest import require
from tests.older import first

FINE = {"ok", "note"}


def by_code(findings):
    return {finding.code: finding for finding in findings}


def levels(findings):
    """{code: level} of what is not ok."""
    return {one.code: one.level for one in of_the_database(findings) if one.level != "ok"}


def of_the_database(findings):
    """Without what this machine's Python is, and that the tests' server never syncs."""
    ours = ("sqlite-", "extensions", "server-durability")
    return [one for one in findings if not one.code.startswith(ours)]


async def examined(path, *, deep=False, **options):
    """What doctor finds about a file that nobody has open."""
    db = Database(path, **options)
    try:
        return await db.doctor(deep=deep)
    finally:
        await db.close()


def altered(path, *statements):
    """Do to a database what only others do."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement).fetchall()


def snapshot(directory):
    return {
        path.name: (path.read_bytes(), path.stat().st_mode) for path in directory.iterdir() if path.is_file()
    }


@pytest.fixture
def unopened(unopened):
    """With the durability that nobody has to ask for: any other is a finding."""
    return partial(unopened, durability="full")


@pytest.fixture
async def closed(unopened, initialized, processes):
    """Where a closed database with a few tasks is, private as it should be."""
    async with unopened() as db:
        tasks = await db.tasks.enqueue_many([{"prompt": f"{n}"} for n in range(3)])
        for claim in await db.tasks.claim("w", limit=1):
            await db.tasks.complete(claim)
        assert len(tasks) == 3
    return processes


@pytest.fixture
def path(closed, file):
    """The file of one."""
    return file


# -- what is sound -------------------------------------------------------------------------------


async def test_a_sound_database_has_no_warning_and_no_problem(db, dialect):
    await db.tasks.enqueue("x")
    findings = await db.doctor(deep=True)
    assert {finding.level for finding in of_the_database(findings)} <= FINE
    assert levels(findings) == {}
    codes = [finding.code for finding in findings]
    assert len(codes) == len(set(codes))
    assert {"sqlite": "integrity", "postgres": "server-durability"}[dialect] in codes
    assert {"stamp", "versions", "schema", "audit", "clock", "unclaimed"} <= set(codes)
    for finding in findings:
        assert finding.found
        assert bool(finding.remedy) == (finding.level != "ok"), finding


async def test_nothing_is_changed(path):
    before = snapshot(path.parent)
    await examined(path, deep=True)
    assert snapshot(path.parent) == before


async def test_an_older_database_is_not_migrated(tmp_path):
    path = tmp_path / "agents.db"
    first(path)
    before = snapshot(tmp_path)
    found = await examined(path)
    assert snapshot(tmp_path) == before
    assert levels(found) == {
        "file-mode": "warning",
        "auto-vacuum": "note",
        "stamp": "note",
        "schema-older": "warning",
        "settings": "note",
    }
    assert "create table task_content" in by_code(found)["schema-older"].found
    assert "adrift" not in by_code(found), "its tasks cannot be read as ours are"


async def test_it_works_while_the_database_is_in_use(db, unopened, file):
    async def write():
        while True:
            await db.tasks.enqueue("x")

    writing = asyncio.create_task(write())
    try:
        for _ in range(3):
            assert levels(await db.doctor()) == {}
            assert levels(await examined(file)) == {}
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


# -- SQLite itself -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "level"),
    [((3, 34, 1), "problem"), ((3, 35, 0), "note"), ((3, 40, 1), "ok"), ((3, 99, 0), "note")],
)
def test_a_version_is_too_old_or_untested_or_fine(version, level):
    assert library.version(version).level == level


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ((3, 40, 1), "note"),
        ((3, 44, 5), "note"),
        ((3, 44, 6), "ok"),
        ((3, 45, 0), "note"),
        ((3, 50, 7), "ok"),
        ((3, 51, 2), "note"),
        ((3, 51, 3), "ok"),
        ((3, 53, 0), "ok"),
    ],
)
def test_the_fault_of_the_log_is_known_by_version(version, level):
    assert library.reset_fault(version).level == level


def test_threads_and_extensions_are_said():
    assert [library.threads(safety).level for safety in (0, 1, 3)] == ["problem", "ok", "ok"]
    assert [library.extension_loading(able=able).level for able in (True, False)] == ["ok", "note"]
    found = by_code(library.findings())
    with closing(sqlite3.connect(":memory:")) as connection:
        able = hasattr(connection, "enable_load_extension")
    assert found["extensions"].level == ("ok" if able else "note")
    assert found["sqlite-version"].found.startswith(sqlite3.sqlite_version)
    assert found["sqlite-options"].found


async def test_a_version_that_is_too_old_is_a_finding_and_no_error(path, monkeypatch):
    monkeypatch.setattr(library, "OLDEST", (99, 0, 0))
    found = await examined(path)
    assert levels(found)["cannot-open"] == "problem"
    assert by_code(found)["sqlite-version"].level == "problem"


async def test_durability_that_was_lowered_is_said(path):
    assert levels(await examined(path, durability="normal")) == {"durability": "note"}


# -- the place -----------------------------------------------------------------------------------


async def test_a_file_system_in_memory_is_a_warning(request, path):
    if files.file_system(Path("/dev/shm")) != "tmpfs" or not os.access("/dev/shm", os.W_OK):
        require(request, "tmpfs", "/dev/shm is none")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        copy = Path(directory) / "agents.db"
        shutil.copy(path, copy)
        assert levels(await examined(copy)) == {"file-system": "warning"}


async def test_a_network_file_system_is_a_problem(path, monkeypatch):
    monkeypatch.setattr(files, "file_system", lambda _: "nfs4")
    found = await examined(path)
    assert levels(found) == {"file-system": "problem", "cannot-open": "problem"}
    assert by_code(found)["cannot-open"].what == "NetworkFileSystemError"


async def test_files_that_others_may_read_are_a_warning(path):
    path.chmod(0o640)
    Path(f"{path}-lock").chmod(0o666)
    found = await examined(path)
    assert levels(found) == {"file-mode": "warning"}
    assert "agents.db 0640, agents.db-lock 0666" in by_code(found)["file-mode"].found
    subprocess.run(by_code(found)["file-mode"].remedy, shell=True, check=True)
    assert levels(await examined(path)) == {}


async def test_a_directory_that_others_may_write_is_a_warning(path):
    path.parent.chmod(0o777)
    assert levels(await examined(path)) == {"directory-mode": "warning"}
    path.parent.chmod(0o1777)  # as /tmp: others may not replace what is not theirs
    assert levels(await examined(path)) == {}
    path.parent.chmod(0o700)


async def test_a_file_that_cannot_be_written_is_a_problem(path, request):
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "agents.db"
        shutil.copy(path, copy)
        copy.chmod(0o444)
        copy.parent.chmod(0o555)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)  # root may write everything
            found = await examined(copy)
        finally:
            os.seteuid(user)
            copy.parent.chmod(0o700)
    assert levels(found)["read-only"] == "problem"
    assert str(copy) in by_code(found)["read-only"].found


async def test_a_log_that_a_reader_pins_is_a_warning(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM tasks").fetchall()
        altered(
            path,
            "CREATE TABLE large (a)",
            f"INSERT INTO large VALUES (zeroblob({70 * 2**20}))",
        )
        found = await examined(path)
    assert levels(found)["wal-size"] == "warning"


async def test_copies_that_were_left_are_noted(path):
    path.with_name("agents.db.before-0.0-20250101T000000000000Z.db").write_bytes(b"x" * 5000)
    found = await examined(path)
    assert levels(found) == {"old-backups": "note"}
    assert "20250101" in by_code(found)["old-backups"].found


async def test_a_backup_whose_maker_was_killed_is_a_warning_and_one_that_is_made_is_not(path):
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    half = path.with_name(f".abathur-backup-{ended.pid}-0123abcd")
    half.touch(mode=0o600)
    path.with_name(f".abathur-backup-{os.getpid()}-0123abcd").touch(mode=0o600)
    found = await examined(path)
    assert levels(found) == {"half-backups": "warning"}
    assert by_code(found)["half-backups"].remedy == f"rm {half}"


HOLD = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(fd, fcntl.LOCK_EX)
os.pwrite(fd, (sys.argv[2] or str(os.getpid())).encode().ljust(12), 0)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def hold(path, monkeypatch):
    """Starts a process that holds the write lock; `said` is the pid that it writes down."""
    monkeypatch.setattr(place, "PATIENCE", 0.2)
    started = []

    def start(said=""):
        command = [sys.executable, "-c", HOLD, f"{path}-lock", said]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def test_a_process_that_keeps_the_lock_is_named(path, hold):
    holder = hold()
    found = await examined(path)
    assert levels(found) == {"lock": "warning"}
    assert f"Process {holder.pid} (running)" in by_code(found)["lock"].found


async def test_a_stopped_process_that_keeps_the_lock_is_a_problem(path, hold):
    holder = hold()
    holder.send_signal(signal.SIGSTOP)
    while Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.01)
    found = await examined(path)
    assert levels(found) == {"lock": "problem"}
    assert f"Process {holder.pid} holds it and is stopped" in by_code(found)["lock"].found
    assert f"kill -CONT {holder.pid}" in by_code(found)["lock"].remedy


async def test_a_holder_that_cannot_be_seen_is_said(path, hold):
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    hold(str(ended.pid))
    found = await examined(path)
    assert "not seen from here" in by_code(found)["lock"].found


# -- the pages -----------------------------------------------------------------------------------


def page_of(path, name):
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage - 1 FROM sqlite_master WHERE name = ?"
        return connection.execute(query, (name,)).fetchone()[0]


@pytest.mark.parametrize("deep", [False, True])
async def test_a_damaged_page_is_a_problem(path, deep):
    data = bytearray(path.read_bytes())
    at = page_of(path, "tasks") * 4096
    data[at : at + 50] = b"\xff" * 50
    path.write_bytes(data)
    found = await examined(path, deep=deep)
    assert levels(found)["integrity"] == "problem"
    assert "restore a backup" in by_code(found)["integrity"].remedy


async def test_an_index_that_lacks_rows_is_found_by_a_deep_look(path):
    altered(path, "CREATE TABLE t (a)", "CREATE INDEX i ON t (a)", "INSERT INTO t VALUES (1)")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        row = connection.execute("SELECT * FROM sqlite_master WHERE name = 'i'").fetchone()
        connection.execute("DELETE FROM sqlite_master WHERE name = 'i'")
    altered(path, "INSERT INTO t VALUES (2)")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row)
    assert by_code(await examined(path))["integrity"].level == "ok"
    found = by_code(await examined(path, deep=True))["integrity"]
    assert found.level == "problem"
    assert "index i" in found.found


async def test_many_free_pages_are_noted(path):
    altered(
        path,
        "CREATE TABLE large (a)",
        f"INSERT INTO large VALUES (zeroblob({2000 * 4096}))",
        "DROP TABLE large",
        "PRAGMA wal_checkpoint(TRUNCATE)",
    )
    assert levels(await examined(path)) == {"free-pages": "note"}


@pytest.mark.parametrize(("mode", "said"), [("none", "none"), ("full", "full")])
async def test_another_auto_vacuum_mode_is_noted_and_the_remedy_works(path, mode, said):
    altered(path, f"PRAGMA auto_vacuum={mode}", "VACUUM")
    found = await examined(path)
    assert levels(found) == {"auto-vacuum": "note"}
    assert by_code(found)["auto-vacuum"].found.startswith(said)
    altered(path, "PRAGMA auto_vacuum=2", "VACUUM")
    assert levels(await examined(path)) == {}


async def test_rows_that_point_nowhere_are_counted(path):
    altered(
        path,
        "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
        "CREATE TABLE children (parent INTEGER REFERENCES parents(id))",
        "INSERT INTO children VALUES (1), (2), (NULL)",
    )
    found = await examined(path)
    assert levels(found) == {"foreign-keys": "warning"}
    assert "2 in children to parents" in by_code(found)["foreign-keys"].found


async def test_a_foreign_key_that_fits_no_key_is_noted(path):
    altered(
        path,
        "CREATE TABLE parents (a)",
        "CREATE TABLE children (parent REFERENCES parents(a))",
        "INSERT INTO children VALUES (1)",
    )
    assert levels(await examined(path)) == {"foreign-keys": "note"}


# -- what cannot be opened -----------------------------------------------------------------------


def garbage(path):
    path.write_bytes(b"Dear diary, today I wrote a file.\n" * 200)


def a_directory(path):
    path.mkdir()


def a_pipe(path):
    os.mkfifo(path)


def somebody_elses(path):
    altered(path, "CREATE TABLE theirs (a)", "PRAGMA application_id=77")
    path.chmod(0o600)


def nothing(_path):
    pass


def empty(path):
    path.touch(mode=0o600)


def a_loop(path):
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (garbage, "NotADatabaseError"),
        (a_directory, "NotADatabaseError"),
        (a_pipe, "NotADatabaseError"),
        (a_loop, "NotADatabaseError"),
        (somebody_elses, "ForeignDatabaseError"),
        (nothing, "MissingDatabaseError"),
        (empty, "MissingDatabaseError"),
    ],
)
async def test_what_cannot_be_opened_is_a_problem_with_its_remedy(tmp_path, make, kind):
    path = tmp_path / "agents.db"
    make(path)
    before = snapshot(tmp_path)
    found = await examined(path, deep=True)
    assert by_code(found)["cannot-open"].level == "problem"
    assert (by_code(found)["cannot-open"].what, bool(by_code(found)["cannot-open"].remedy)) == (kind, True)
    assert snapshot(tmp_path) == before


async def test_a_missing_directory_and_an_impossible_name_are_problems(tmp_path):
    found = await examined(tmp_path / "missing" / "agents.db")
    assert by_code(found)["cannot-open"].what == "MissingDirectoryError"
    found = await examined(tmp_path / ("x" * 300))
    assert by_code(found)["cannot-open"].level == "problem"
    assert os.strerror(errno.ENAMETOOLONG) in by_code(found)["cannot-open"].found


async def test_a_database_that_was_never_opened_in_memory_is_missing():
    found = await examined(":memory:")
    assert by_code(found)["cannot-open"].what == "MissingDatabaseError"


async def test_a_closed_database_is_refused(unopened):
    db = unopened()
    await db.close()
    with pytest.raises(DatabaseClosedError):
        await db.doctor()


# -- the stamp and the schema --------------------------------------------------------------------


async def test_another_environment_than_the_one_asked_for_is_a_problem(closed):
    found = await examined(closed, environment="production")
    assert by_code(found)["cannot-open"].what == "EnvironmentMismatchError"


async def test_a_stamp_that_contradicts_itself_is_a_problem(path):
    altered(path, f"PRAGMA application_id={0x41425401}")
    assert levels(await examined(path)) == {"stamp": "problem"}


async def test_a_newer_database_is_noted_or_refused(closed, outside):
    await outside("UPDATE abathur_meta SET value = '99.0' WHERE key = 'version'")
    found = await examined(closed)
    assert levels(found) == {"versions": "note"}
    assert "99.0" in by_code(found)["versions"].remedy
    await outside("UPDATE abathur_meta SET value = '98.0' WHERE key = 'min_reader_version'")
    assert by_code(await examined(closed))["cannot-open"].what == "NewerSchemaError"


async def test_a_schema_that_somebody_altered_is_a_problem(closed, outside):
    await outside("DROP INDEX idx_audit_task")
    found = await examined(closed)
    assert levels(found) == {"schema-altered": "problem"}
    assert "create index idx_audit_task on audit" in by_code(found)["schema-altered"].found


async def test_a_dropped_trigger_of_a_declared_table_is_a_problem(tmp_path):
    path = tmp_path / "agents.db"
    trigger = Trigger("t_stays", "t", "CREATE TRIGGER t_stays BEFORE DELETE ON t BEGIN SELECT 1; END")
    schema = Schema("app", (Table("t", (Column("a", "TEXT"),)),), triggers=(trigger,))
    async with Database(path, schema=schema):
        pass
    assert levels(await examined(path, schema=schema)) == {}
    altered(path, "DROP TRIGGER t_stays")
    found = await examined(path, schema=schema)
    assert levels(found) == {"schema-altered": "problem"}
    assert "create trigger t_stays" in by_code(found)["schema-altered"].found


async def test_a_conflict_is_a_problem(closed, outside):
    await outside("DROP INDEX idx_audit_task", "CREATE TABLE idx_audit_task (a TEXT)")
    found = await examined(closed)
    assert levels(found)["schema-conflict"] == "problem"
    assert "idx_audit_task" in by_code(found)["schema-conflict"].remedy


async def test_a_restored_backup_needs_its_journal_mode_only(path):
    altered(path, "PRAGMA journal_mode=DELETE")
    assert levels(await examined(path)) == {"settings": "note"}


# -- the tasks -----------------------------------------------------------------------------------


async def test_a_lease_that_ended_long_ago_is_a_warning(db, outside):
    (task,) = await db.tasks.enqueue_many([{"prompt": "x"}])
    await db.tasks.claim("w", lease=3600)
    assert levels(await db.doctor()) == {}
    await outside("UPDATE tasks SET lease_expires_at = lease_expires_at - 7200000000")
    found = by_code(await db.doctor())["lost-leases"]
    assert found.level == "warning"
    assert task.id in found.found
    assert "60 minutes ago" in found.found
    await db.tasks.claim("w")
    assert by_code(await db.doctor())["lost-leases"].level == "ok"


async def test_tasks_of_the_past_are_a_warning_until_they_are_reconciled(tmp_path):
    path = tmp_path / "agents.db"
    first(path)
    path.chmod(0o600)
    async with Database(path) as db:
        found = by_code(await db.doctor())["adrift"]
        assert (found.level, found.found) == ("warning", "4, such as t4.")  # three pending, one running
        await db.tasks.reconcile()
        assert by_code(await db.doctor())["adrift"].level == "ok"


async def test_a_scheduled_task_that_nobody_starts_is_a_warning(db, outside):
    task = await db.tasks.enqueue("x", run_at=datetime.now(UTC) + timedelta(hours=1))
    assert levels(await db.doctor()) == {}
    await outside("UPDATE tasks SET run_at = run_at - 7200000000")
    found = by_code(await db.doctor())["overdue"]
    assert found.level == "warning"
    assert task.id in found.found
    await db.tasks.claim("w")
    assert by_code(await db.doctor())["overdue"].level == "ok"


async def test_a_task_behind_a_failed_one_is_a_warning(db):
    before = await db.tasks.enqueue("before", max_attempts=1)
    after = await db.tasks.enqueue("after", depends_on=[before])
    (claim,) = await db.tasks.claim("w")
    assert levels(await db.doctor()) == {}
    await db.tasks.fail(claim, "broken")
    found = by_code(await db.doctor())["dead-ends"]
    assert found.level == "warning"
    assert f"{after.id} waits for {before.id}, which is failed" in found.found
    await db.tasks.retry(before.id)
    assert by_code(await db.doctor())["dead-ends"].level == "ok"


async def test_an_agent_type_that_nobody_works_for_is_a_warning(db, outside):
    await db.tasks.enqueue_many([{"prompt": f"{n}", "agent_type": "rare"} for n in range(2)])
    assert levels(await db.doctor()) == {}
    await outside("UPDATE tasks SET last_updated_at = '2020-01-01T00:00:00.000000+00:00'")
    found = by_code(await db.doctor())["unclaimed"]
    assert found.level == "warning"
    assert found.found.startswith("rare (for ")
    (claim,) = await db.tasks.claim("w", agent_types=["rare"], limit=1)
    assert by_code(await db.doctor())["unclaimed"].level == "ok", "somebody is at it, if slowly"
    await db.tasks.complete(claim)


async def test_moments_to_come_are_a_warning(closed, unopened):
    async with unopened() as db:
        await pass_time(db, 3600)
        await db.tasks.enqueue("x")
    found = by_code(await examined(closed))["clock"]
    assert found.level == "warning"
    assert "3,6" in found.found or "3,5" in found.found


async def test_a_trail_that_was_altered_is_a_problem_for_a_deep_look(closed, tamper):
    await tamper("UPDATE audit SET actor = 'somebody else'")
    assert "audit" not in by_code(await examined(closed))
    found = await examined(closed, deep=True)
    assert levels(found)["audit"] == "problem"
