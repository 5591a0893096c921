"""The library's own tables on PostgreSQL: made once, repaired by the next initialize, and guarded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from abathur import Database
from abathur.engines.postgres_migration import key_of
from abathur.engines.urls import Server, target_of
from abathur.errors import ConstraintError, EnvironmentMismatchError, LockTimeoutError, SchemaConflictError
from abathur.schema import Column, Schema, Table
from tests.conftest import require
from tests.unit.planned_postgres import connected, rows

PAIRS = "task_dependencies_dependent_task_id_prerequisite_task_id_key"
"""As PostgreSQL names the constraint."""
# Without those that others wait for: what they are worth is known from the edges, and comes with the next.
VALUES = "SELECT id, rank, unmet, summary FROM tasks WHERE dependents = 0 ORDER BY id"
COUNTS = "SELECT agent_type, status, n FROM task_counts WHERE n > 0 ORDER BY agent_type, status"
ISSUED = "SELECT value FROM abathur_meta WHERE key = 'audit_issued'"


@pytest.fixture
async def raw(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgres_url) as connection:
        yield connection


async def initialized(url: str, **arguments: object) -> list[str]:
    """What `initialize` did, in words."""
    db = Database(url, environment="test", **arguments)  # type: ignore[arg-type]
    try:
        report = await db.initialize()
        assert (await db.plan()).empty
        assert (await db.initialize()).steps == ()
        return [step.describe() for step in report.steps]
    finally:
        await db.close()


async def filled(url: str) -> None:
    """A database with a few tasks, one of them completed."""
    async with Database(url, environment="test") as db:
        first = await db.tasks.enqueue("first", key="k", input={"a": 1})
        await db.tasks.enqueue("second", depends_on=[first.id])
        (claim,) = await db.tasks.claim(worker="w", agent_types=["general"], limit=1)
        await db.tasks.complete(claim, result={"b": 2})
        await db.tasks.enqueue("third", priority=7)


async def test_a_new_database_is_made_once(postgres_url: str) -> None:
    db = Database(postgres_url, environment="test")
    assert {step.kind for step in (await db.plan()).steps} == {
        "CreateTable",
        "CreateIndex",
        "CreateTrigger",
        "Stamp",
    }
    report = await db.initialize()
    assert report.created
    assert report.notes == ()
    await db.close()
    db = Database(postgres_url)
    again = await db.initialize(verify=True)
    await db.close()
    assert (again.steps, again.notes, again.created) == ((), (), False)
    assert (again.environment, again.database_id) == ("test", report.database_id)


async def test_with_nothing_to_do_no_lock_is_taken(postgres_url: str, raw: asyncpg.Connection) -> None:
    await initialized(postgres_url)
    await raw.execute("SELECT pg_advisory_lock($1)", key_of(await raw.fetchval("SELECT current_schema()")))
    db = Database(postgres_url, lock_timeout=0.2)
    assert (await db.initialize(verify=True)).steps == ()
    await db.close()
    await raw.execute("DROP INDEX tasks_ready")
    db = Database(postgres_url, lock_timeout=0.2)
    with pytest.raises(LockTimeoutError):
        await db.initialize()
    await db.close()


async def test_eight_at_once_make_one_database_and_all_report_it(postgres_url: str) -> None:
    several = [Database(postgres_url, environment="test") for _ in range(8)]
    reports = await asyncio.gather(*(db.initialize() for db in several))
    await asyncio.gather(*(db.close() for db in several))
    assert [report.created for report in reports].count(True) == 1
    assert len([report for report in reports if report.steps]) == 1
    assert len({report.database_id for report in reports}) == 1


async def test_of_two_at_once_that_want_different_environments_one_is_refused(postgres_url: str) -> None:
    several = [Database(postgres_url, environment=name) for name in ("test", "production")]
    results = await asyncio.gather(*(db.initialize() for db in several), return_exceptions=True)
    await asyncio.gather(*(db.close() for db in several))
    assert sorted(type(result).__name__ for result in results) == ["EnvironmentMismatchError", "Report"]
    db = Database(postgres_url, environment="development")
    with pytest.raises(EnvironmentMismatchError):
        await db.initialize()
    await db.close()


async def test_a_schema_with_tables_of_somebody_else_is_adopted(
    postgres_url: str, raw: asyncpg.Connection
) -> None:
    await raw.execute("CREATE TABLE theirs (x int); INSERT INTO theirs VALUES (1)")
    db = Database(postgres_url)
    report = await db.initialize()
    await db.close()
    assert not report.created
    assert report.environment == "development"
    assert await rows(raw, "SELECT x FROM theirs") == [(1,)]


@pytest.mark.parametrize(
    ("harm", "steps"),
    [
        ("DROP INDEX tasks_ready", ["create index tasks_ready on tasks"]),
        ("DROP TABLE task_progress", ["create table task_progress"]),
        (
            "DROP TABLE task_counts",
            ["create table task_counts", "fill task_counts: the tasks that are there"],
        ),
        ("DROP TRIGGER audit_keeps_rows ON audit", ["create trigger audit_keeps_rows on audit"]),
        ("ALTER TABLE tasks DROP COLUMN summary", ["add column tasks.summary", "fill tasks: summary"]),
        (
            "ALTER TABLE tasks DROP COLUMN rank",
            [
                "add column tasks.rank",
                "create index tasks_ready on tasks",
                "create index tasks_ready_of on tasks",
                "fill tasks: rank",
            ],
        ),
        (
            "ALTER TABLE tasks DROP COLUMN unmet",
            ["add column tasks.unmet", "create index tasks_adrift on tasks", "fill tasks: unmet"],
        ),
        (
            "ALTER TABLE tasks DROP COLUMN lift_at, DROP COLUMN attempt, DROP COLUMN max_attempts",
            [
                "add column tasks.attempt",
                "add column tasks.max_attempts",
                "add column tasks.lift_at",
                "create index tasks_lift on tasks",
                "fill tasks: attempt, max_attempts, lift_at",
            ],
        ),
        (
            f"ALTER TABLE task_dependencies DROP CONSTRAINT {PAIRS}",
            ['add to task_dependencies: UNIQUE ("dependent_task_id", "prerequisite_task_id")'],
        ),
        ("ALTER TABLE tasks ADD COLUMN mine text", []),
        ("DELETE FROM abathur_meta WHERE key = 'audit_issued'", []),
    ],
)
async def test_what_somebody_took_away_is_made_again(
    postgres_url: str, raw: asyncpg.Connection, harm: str, steps: list[str]
) -> None:
    await filled(postgres_url)
    before = [await rows(raw, sql) for sql in (VALUES, COUNTS, ISSUED)]
    await raw.execute(f"SET client_min_messages = error; {harm}")
    done = await initialized(postgres_url)
    assert [step for step in done if step != "write the stamp"] == steps
    assert [await rows(raw, sql) for sql in (VALUES, COUNTS, ISSUED)] == before
    async with Database(postgres_url) as db:
        assert len(await db.tasks.list()) == 3
        assert (await db.audit.verify()).ok


async def test_the_trail_refuses_to_be_changed_except_by_prune(
    postgres_url: str, raw: asyncpg.Connection
) -> None:
    await filled(postgres_url)
    for table in ("audit", "audit_seals"):
        for sql in (f"DELETE FROM {table}", f"UPDATE {table} SET id = id", f"TRUNCATE {table}"):
            with pytest.raises(
                asyncpg.IntegrityConstraintViolationError,
                match=f"^{table} is append-only: only `abathur prune` removes from it$",
            ):
                await raw.execute(sql)
    async with raw.transaction():
        await raw.execute("INSERT INTO abathur_meta VALUES ('audit_guard', 'up')")
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            async with raw.transaction():
                await raw.execute("UPDATE audit SET actor = 'me'")
        assert await raw.execute("DELETE FROM audit WHERE id = 1") == "DELETE 1"


async def test_a_stranger_with_another_search_path_meets_the_same_guard(
    postgres_url: str, raw: asyncpg.Connection
) -> None:
    await filled(postgres_url)
    schema = await raw.fetchval("SELECT current_schema()")
    await raw.execute("INSERT INTO abathur_meta VALUES ('audit_guard', 'up'); SET search_path = pg_catalog")
    assert await raw.execute(f"DELETE FROM {schema}.audit WHERE id = 1") == "DELETE 1"
    await raw.execute(f"DELETE FROM {schema}.abathur_meta WHERE key = 'audit_guard'")
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="audit is append-only"):
        await raw.execute(f"DELETE FROM {schema}.audit")


async def test_what_the_trail_refuses_is_a_constraint_error_of_the_library(postgres_url: str) -> None:
    queries = {"app.harm": "DELETE FROM audit"}

    def harm():
        from abathur import Statement

        yield Statement("app.harm")

    async with Database(postgres_url, environment="test", queries=queries) as db:
        await db.tasks.enqueue("x")
        with pytest.raises(ConstraintError, match="audit is append-only"):
            await db.run(harm)


async def test_rows_that_do_not_fit_a_new_constraint_are_a_conflict_that_says_so(
    postgres_url: str, raw: asyncpg.Connection
) -> None:
    await raw.execute("CREATE TABLE notes (id text PRIMARY KEY, a text)")
    await raw.execute("INSERT INTO notes VALUES ('1', 'x'), ('2', 'x')")
    table = Table("notes", (Column("id", "TEXT", primary_key=True), Column("a", "TEXT")), unique=(("a",),))
    db = Database(postgres_url, schema=Schema("app", (table,)))
    with pytest.raises(SchemaConflictError, match=r"notes\.a is filled with rows that do not fit"):
        await db.initialize()
    await db.close()
    assert await raw.fetchval("SELECT to_regclass('tasks')") is None
    await raw.execute("UPDATE notes SET a = id")
    assert 'add to notes: UNIQUE ("a")' in await initialized(postgres_url, schema=Schema("app", (table,)))


async def test_a_role_that_may_make_no_schema_can_use_one_that_is_there(
    postgres_url: str, raw: asyncpg.Connection, request: pytest.FixtureRequest
) -> None:
    schema = await raw.fetchval("SELECT current_schema()")
    role = f"{schema}_role"
    server = target_of(as_user("postgres", postgres_url))
    assert isinstance(server, Server)
    try:
        admin = await asyncpg.connect(server.dsn)
    except (OSError, asyncpg.PostgresError) as error:
        require(request, "postgres-roles", f"the server lets nobody make roles: {error}")
    try:
        await admin.execute(f"CREATE ROLE {role} LOGIN; GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}")
        assert "create table tasks" in await initialized(as_user(role, postgres_url))
        owner = "SELECT tableowner FROM pg_tables WHERE schemaname = $1 AND tablename = 'tasks'"
        assert await admin.fetchval(owner, schema) == role
    finally:
        await admin.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
        await admin.close()


def as_user(name: str, url: str) -> str:
    """The URL for another user."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{name}@{host}").geturl()
