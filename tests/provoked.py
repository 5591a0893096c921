"""Every error of the library, really raised: each function here does in a directory what its error is about.

tests/test_errors_page.py compares the messages with the examples in docs/errors.md. Databases, files, limits
and forks are real. Two things cannot be had on a machine for tests: `NetworkFileSystemError` and
`UnsupportedVersionError` are raised by the real checks, to which the local file system's kind, or this
SQLite, is declared to be one of those that they refuse.
"""

from __future__ import annotations

import asyncio
import pickle
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from abathur import Database, Statement, config, errors, moving
from abathur.cli.opening import database, refuse_strangers
from abathur.cli.options import Settings
from abathur.commands import CommandAgent
from abathur.context import Context
from abathur.engines import files
from abathur.engines.checks import library
from abathur.keeper import Running
from abathur.schema import Column, Schema, Table, VirtualTable
from abathur.tasks import workers

Provocation = Callable[[Path], Awaitable[Any]]
PROVOCATIONS: dict[str, Provocation] = {}


def provokes(kind: type[errors.AbathurError]) -> Callable[[Provocation], Provocation]:
    def register(provocation: Provocation) -> Provocation:
        PROVOCATIONS[kind.__name__] = provocation
        return provocation

    return register


def sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for statement in statements:
            raw.execute(statement)


async def elsewhere(directory: Path, code: str, *arguments: str) -> None:
    """Run code in a process of its own, where `db` is agents.db, and raise the error that ends it."""
    program = f"""\
import asyncio, os, pickle, resource, signal, sqlite3, sys, warnings
from abathur import Database, errors
db = Database("{directory}/agents.db", environment="test")
async def main():
{textwrap.indent(textwrap.dedent(code), "    ")}
try:
    asyncio.run(main())
except Exception as error:
    sys.stdout.buffer.write(pickle.dumps(error))
    sys.stdout.flush()
os._exit(0)  # what it holds open is its own
"""
    command = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60, check=True)
    if done.stdout:
        raise pickle.loads(done.stdout)


def at(directory: Path, **arguments: Any) -> Database:
    return Database(directory / "agents.db", **{"environment": "test", **arguments})


# ------------------------------------------------------------------------------ what was asked for


@provokes(errors.InvalidInputError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        await db.tasks.enqueue("Review the change", priority=11)


@provokes(errors.InvalidPayloadError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        await db.tasks.enqueue("Review the change", input={"diff": "x" * 300_000})


@provokes(errors.UnknownTaskError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        await db.tasks.get("0199a2b4")


@provokes(errors.DependencyCycleError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        await db.tasks.enqueue_many(
            [
                {"prompt": "Build", "ref": "build", "depends_on": ["test"]},
                {"prompt": "Test", "ref": "test", "depends_on": ["build"]},
            ]
        )


@provokes(errors.IdempotencyConflictError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        await db.tasks.enqueue("Review change 17", key="change-17")
        await db.tasks.enqueue("Review change 18", key="change-17")


@provokes(errors.ConfigError)
async def _(directory: Path) -> None:
    (directory / "abathur.toml").write_text("[runner]\nconcurency = 3\n", encoding="utf-8")
    config.read(directory / "abathur.toml")


@provokes(errors.CommandError)
async def _(directory: Path) -> None:
    agent = CommandAgent(["sh", "-c", "echo 'no such model: huge' >&2; exit 3"])
    async with at(directory) as db:
        await db.tasks.enqueue("x")
        (claim,) = await db.tasks.claim("w")
        await agent(Context(db, claim, Running(claim)))


@provokes(errors.TargetExistsError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        (directory / "copy.db").write_text("something of mine", encoding="utf-8")
        await db.backup(directory / "copy.db")


@provokes(errors.UnknownStatementError)
async def _(directory: Path) -> None:
    def order(now):
        yield Statement("shop.ad_order", id=17, now=now)

    async with at(directory, queries={"shop.add_order": "SELECT :id, :now"}) as db:
        await db.run(order)


@provokes(errors.IllegalMoveError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        task = await db.tasks.enqueue("Review the change")
        (held,) = await db.tasks.claim("host-1")
        await db.tasks.complete(held)
        await db.tasks.cancel(task)


@provokes(errors.LeaseLostError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        await db.tasks.enqueue("Review the change")
        (frozen,) = await db.tasks.claim("host-1", lease=0.05)
        await asyncio.sleep(0.1)
        await db.tasks.claim("host-2")
        await db.tasks.complete(frozen, {"verdict": "too late"})


@provokes(errors.WaitTimeoutError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        task = await db.tasks.enqueue("Review the change")
        await db.tasks.wait(task, timeout=0.05)


# -------------------------------------------------------------------------- rows and keys of plugins

QUOTES = {
    "table": "quotes",
    "fields": {"text": {"type": "text", "required": True}, "author": {"type": "string"}},
}


@provokes(errors.RowValidationError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        store = db.rows.for_plugin("quotes")
        await store.register(QUOTES)
        await store.insert("quotes", {"text": "x", "autor": "y"})


@provokes(errors.UnknownTableError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        await db.rows.for_plugin("quotes").register(QUOTES)
        await db.rows.for_plugin("trivia").search("quotes")


@provokes(errors.MissingFieldError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        await db.rows.for_plugin("quotes").delete("quotes")


@provokes(errors.RowSchemaConflictError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        store = db.rows.for_plugin("quotes")
        await store.register({"table": "quotes", "fields": {"score": {"type": "integer"}}})
        await store.register({"table": "quotes", "fields": {"score": {"type": "string"}}})


@provokes(errors.RowConflictError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        store = db.rows.for_plugin("quotes")
        await store.register({**QUOTES, "unique": ["text"]})
        await store.insert("quotes", [{"text": "x"}, {"text": "x"}])


@provokes(errors.ValueTooLargeError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        await db.rows.for_plugin("quotes").kv.set("page", "x" * 70_000)


# ------------------------------------------------------------------------------- when and where


@provokes(errors.NotInitializedError)
async def _(directory: Path) -> None:
    await at(directory).tasks.enqueue("Review the change")


@provokes(errors.DatabaseClosedError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        pass
    await db.tasks.enqueue("Review the change")


@provokes(errors.WrongEventLoopError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        await asyncio.to_thread(asyncio.run, db.tasks.list())


@provokes(errors.ForkedProcessError)
async def _(directory: Path) -> None:
    code = """
        await db.initialize()
        reader, writer = os.pipe()
        if not (child := os.fork()):
            try:
                await db.tasks.list()
            except Exception as error:
                os.write(writer, pickle.dumps(error))
            os._exit(0)
        os.waitpid(child, 0)
        raise pickle.loads(os.read(reader, 65536))
    """
    await elsewhere(directory, code)


# ----------------------------------------------------------------------------------------- opening


@provokes(errors.InvalidUrlError)
async def _(directory: Path) -> None:
    Database("mysql://localhost/agents")


@provokes(errors.MissingDatabaseError)
async def _(directory: Path) -> None:
    settings = Settings()
    settings.database = str(directory / "agents.db")
    database(settings, must_exist=True)


@provokes(errors.MissingDirectoryError)
async def _(directory: Path) -> None:
    await Database(directory / "queues" / "agents.db").initialize()


@provokes(errors.NotADatabaseError)
async def _(directory: Path) -> None:
    (directory / "agents.db").write_text("Dear diary, today I wrote a file.\n" * 200)
    async with at(directory):
        pass


@provokes(errors.CorruptDatabaseError)
async def _(directory: Path) -> None:
    path = directory / "agents.db"
    sql(path, "CREATE TABLE notes (id INTEGER PRIMARY KEY)")
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 100)
    async with at(directory):
        pass


@provokes(errors.ReadOnlyDatabaseError)
async def _(directory: Path) -> None:
    # Root may write everywhere, so the side file's name is taken instead of its permission.
    (directory / "agents.db-lock").mkdir()
    async with at(directory):
        pass


@provokes(errors.MissingExtraError)
async def _(directory: Path) -> None:
    code = """
        sys.modules["asyncpg"] = None  # as if it were not installed: importing it fails
        Database("postgresql://agents@db.example.org/agents")
    """
    await elsewhere(directory, code)


@provokes(errors.ServerUnavailableError)
async def _(directory: Path) -> None:
    async with Database("postgresql://agents@127.0.0.1:1/agents"):
        pass


@provokes(errors.ForeignDatabaseError)
async def _(directory: Path) -> None:
    path = directory / "agents.db"
    sql(path, "PRAGMA application_id = 0x0f055112", "CREATE TABLE blob (rid INTEGER PRIMARY KEY)")
    async with at(directory):
        pass


@provokes(errors.UnrelatedDatabaseError)
async def _(directory: Path) -> None:
    sql(directory / "agents.db", "CREATE TABLE notes (id INTEGER PRIMARY KEY)")
    db = at(directory)
    try:
        await refuse_strangers(db)
    finally:
        await db.close()


@provokes(errors.NetworkFileSystemError)
async def _(directory: Path) -> None:
    kind = files.file_system(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "NETWORK_FILE_SYSTEMS", {kind})
        try:
            await at(directory).initialize()
        except errors.NetworkFileSystemError as error:
            error.args = (str(error).replace(f"({kind})", "(nfs4)"),)
            raise


@provokes(errors.UnsupportedVersionError)
async def _(directory: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "OLDEST", (99, 0, 0))
        await at(directory).initialize()


@provokes(errors.MissingModuleError)
async def _(directory: Path) -> None:
    search = Schema("search", virtual_tables=(VirtualTable("search_text", "fts9", ("body",)),))
    await at(directory, schema=search).initialize()


@provokes(errors.NewerSchemaError)
async def _(directory: Path) -> None:
    async with at(directory):
        pass
    newer = "UPDATE abathur_meta SET value = '9.0.0' WHERE key = 'min_reader_version'"
    sql(directory / "agents.db", newer, "CREATE TABLE from_the_future (id INTEGER)")
    async with at(directory):
        pass


@provokes(errors.EnvironmentMismatchError)
async def _(directory: Path) -> None:
    async with at(directory, environment="production"):
        pass
    async with at(directory, environment="test"):
        pass


@provokes(errors.SchemaConflictError)
async def _(directory: Path) -> None:
    def shop(kind):
        return Schema("shop", (Table("shop_orders", (Column("id", "INTEGER", primary_key=True), kind)),))

    async with at(directory, schema=shop(Column("weight", "TEXT"))):
        pass
    async with at(directory, schema=shop(Column("weight", "INTEGER"))):
        pass


@provokes(errors.MigrationError)
async def _(directory: Path) -> None:
    async with at(directory):
        pass
    trigger = "BEGIN SELECT RAISE(ABORT, 'tasks are closed for today'); END"
    sql(
        directory / "agents.db",
        f"CREATE TRIGGER closed BEFORE INSERT ON tasks {trigger}",
        "DROP INDEX tasks_due",
    )
    async with at(directory):
        pass


@provokes(errors.UnfinishedMoveError)
async def _(directory: Path) -> None:
    with pytest.raises(InterruptedError):
        await moved(directory, *RUNNING, stop_after=1)
    async with Database(directory / "new.db"):
        pass


# --------------------------------------------------------------------------------------- moving it

RUNNING = ("INSERT INTO task_keys (key, task_id, digest) VALUES ('key', 'id', 'digest')",)


async def moved(
    directory: Path, *statements: str, stop_after: int = 1000, meanwhile: str | None = None
) -> moving.Moved:
    """Move agents.db to new.db after these statements; `meanwhile` is executed at the first progress."""
    async with at(directory):
        pass
    sql(directory / "agents.db", *statements)
    calls = 0

    def progress(*_: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1 and meanwhile is not None:
            sql(directory / ("new.db" if "'move'" in meanwhile else "agents.db"), meanwhile)
        if calls >= stop_after:
            raise InterruptedError

    here, there = at(directory), Database(directory / "new.db")
    try:
        return await moving.move(here, there, progress=progress)
    finally:
        await here.close()
        await there.close()


@provokes(errors.TargetNotEmptyError)
async def _(directory: Path) -> None:
    async with Database(directory / "new.db") as db:
        await db.tasks.enqueue("Review the change")
    await moved(directory)


@provokes(errors.SourceInUseError)
async def _(directory: Path) -> None:
    who = workers.Announcement(id="1", name="host-1", agents={}, concurrency=1, host="host-1", pid=1)
    async with at(directory) as db:
        await db.run(workers.announce, who, True)
    await moved(directory)


@provokes(errors.LeftBehindError)
async def _(directory: Path) -> None:
    await moved(
        directory, "CREATE TABLE shop_orders (id INTEGER PRIMARY KEY)", "INSERT INTO shop_orders VALUES (17)"
    )


@provokes(errors.UnmovableValueError)
async def _(directory: Path) -> None:
    key = "INSERT INTO task_keys (key, task_id, digest) VALUES ('key-17', CAST(x'61ff' AS TEXT), 'digest')"
    await moved(directory, key)


@provokes(errors.MoveDiffersError)
async def _(directory: Path) -> None:
    await moved(directory, *RUNNING, meanwhile="DELETE FROM task_keys")


@provokes(errors.MoveConflictError)
async def _(directory: Path) -> None:
    await moved(directory, *RUNNING, meanwhile="UPDATE abathur_meta SET value = '' WHERE key = 'move'")


@provokes(errors.ProtectedDatabaseError)
async def _(directory: Path) -> None:
    async with at(directory, environment="production"):
        pass
    await elsewhere(
        directory,
        f"""
        async with Database("{directory}/agents.db") as production:
            await production.drop()
    """,
    )


# ------------------------------------------------------------------------------------ the database


@provokes(errors.LockTimeoutError)
async def _(directory: Path) -> None:
    async with at(directory):
        pass
    holder = f"""
import fcntl, sys
file = open({str(directory / "agents.db-lock")!r}, "r+")
fcntl.flock(file, fcntl.LOCK_EX)
import os
os.truncate(file.fileno(), 0)
file.write(str(os.getpid()))
file.flush()
print(flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", holder], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            async with at(directory, lock_timeout=0.2) as db:
                await db.tasks.enqueue("Review the change")
        finally:
            process.communicate()


@provokes(errors.BackupUnsupportedError)
async def _(directory: Path) -> None:
    await Database("postgresql://agents@db.example.org/agents").backup(directory / "copy.db")


@provokes(errors.DiskFullError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        await db.tasks.enqueue("Review the change")
        await db.engine._writer.hop(lambda raw: raw.execute("PRAGMA max_page_count = 40").fetchall())
        for _ in range(100):
            await db.tasks.enqueue("Review the change", input={"diff": "x" * 10_000})


@provokes(errors.DiskIOError)
async def _(directory: Path) -> None:
    # A disk that fails cannot be had; a process that may open no more files can.
    async with at(directory):
        pass
    code = """
        await db.initialize()
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        while taken:  # until there are enough for the writer's connection, and not for the lock file
            try:
                await db.tasks.enqueue("Review the change")
            except errors.ReadOnlyDatabaseError:
                os.close(taken.pop())
    """
    await elsewhere(directory, code)


@provokes(errors.OutOfMemoryError)
async def _(directory: Path) -> None:
    code = """
        await db.initialize()
        sqlite3.connect(":memory:").execute("PRAGMA hard_heap_limit = 700000").fetchall()
        await db.tasks.enqueue_many([{"prompt": "x" * 10_000} for _ in range(1_000)])
    """
    await elsewhere(directory, code)


@provokes(errors.ConstraintError)
async def _(directory: Path) -> None:
    shop = Schema("shop", (Table("shop_orders", (Column("id", "INTEGER", primary_key=True),)),))

    def order(now):
        yield Statement("shop.add_order", id=17)

    queries = {"shop.add_order": "INSERT INTO shop_orders (id) VALUES (:id)"}
    async with at(directory, schema=shop, queries=queries) as db:
        await db.run(order)
        await db.run(order)


@provokes(errors.StatementError)
async def _(directory: Path) -> None:
    def order(now):
        yield Statement("shop.add_order", id=17)

    queries = {"shop.add_order": "INSERT INTO shop_orders (id) VALUES (:id)"}
    async with at(directory, queries=queries) as db:
        await db.run(order)
