"""A database is moved between engines as a whole, and every difference is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from abathur import Database, Prerequisite, moving
from abathur.errors import (
    EnvironmentMismatchError,
    InvalidInputError,
    LeaseLostError,
    LeftBehindError,
    MissingDatabaseError,
    MoveConflictError,
    MoveDiffersError,
    RowConflictError,
    SourceInUseError,
    TargetNotEmptyError,
    UnfinishedMoveError,
    UnmovableValueError,
)
from abathur.moving import pages
from abathur.schema import Column, Reference, Schema, Table
from abathur.tasks import workers
from tests import schemas
from tests.conformance.conftest import COMMON
from tests.conformance.moves import everything, fill, run

PAIRS = (
    ("file", "postgres"),
    ("postgres", "file"),
    ("postgres", "postgres"),
    ("file", "memory"),
    ("memory", "file"),
)
NOTES = Schema(
    "notes",
    (
        # The one that refers comes first: a move has to find the order.
        Table(
            "notes",
            (
                Column("id", "INTEGER", primary_key=True, autoincrement=True),
                Column("book", "TEXT", references=Reference("note_books")),
                Column("body", "BLOB"),
                Column("weight", "REAL"),
                Column("twice", "REAL", generated="weight * 2"),
                Column("price", "NUMERIC"),
                Column("is_new", "BOOLEAN"),
                Column("day", "DATE"),
            ),
        ),
        Table("note_books", (Column("id", "TEXT", primary_key=True),)),
        Table(
            "note_pages",
            (Column("key", "BLOB"), Column("part", "INTEGER"), Column("said", "TEXT")),
            primary_key=("key", "part"),
        ),
        Table("note_lines", (Column("line", "TEXT"), Column("n", "INTEGER"))),  # without a key
    ),
)


class Interrupted(Exception):  # noqa: N818  # not what any code raises
    """Raised by a test in the midst of a move."""


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch):
    monkeypatch.setattr(pages, "MOST", 3)


BETWEEN = pytest.mark.parametrize("pair", PAIRS[:2], ids=" to ".join, indirect=True)
"""For what has many cases, or does not hang on the engines: a move to or from a server takes a second."""


@pytest.fixture(params=PAIRS, ids=" to ".join)
def pair(request) -> tuple[str, str]:
    return request.param


@pytest.fixture
def url(request, tmp_path):
    """The URL of a place, by engine and name; schemas on the server are removed after the test."""
    made: dict[str, str] = {}

    def of(engine: str, name: str) -> str:
        if engine != "postgres":
            return str(tmp_path / f"{name}.db")
        made.setdefault(name, schemas.a_name())
        return schemas.place(request.getfixturevalue("postgres_server"), made[name])

    yield of
    if made:
        schemas.drop(request.getfixturevalue("postgres_server"), *made.values())


@pytest.fixture
async def place(url):
    """Makes a Database at a place of its own on an engine; they are closed after the test."""
    made: list[Database] = []
    memory: dict[str, Database] = {}

    def make(engine: str, name: str, **options: Any) -> Database:
        if engine == "memory":  # there is no other way to the same place
            if name not in memory:
                memory[name] = Database(":memory:", **{**COMMON, **options})
            made.append(memory[name])
            return memory[name]
        made.append(Database(url(engine, name), **{**COMMON, **options}))
        return made[-1]

    yield make
    for db in made:
        await db.close()


@pytest.fixture
def source(place, pair) -> Database:
    return place(pair[0], "source")


@pytest.fixture
def target(place, pair) -> Database:
    return place(pair[1], "target")


async def interrupted(source: Database, target: Database, after: int, **options: Any) -> None:
    """Begin a move and let it die after so many calls of its progress."""
    calls = 0

    def count(*_: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= after:
            raise Interrupted

    with pytest.raises(Interrupted):
        await moving.move(source, target, progress=count, **options)


async def test_everything_goes_along(source, target, monkeypatch):
    await source.initialize()
    filled = await fill(source, monkeypatch)
    before = await everything(source)
    done = await moving.move(source, target)
    assert await everything(target) == before == await everything(source)
    assert {one.name: one.rows for one in done.tables} == {name: len(rows) for name, rows in before.items()}
    empty = sorted(name for name in before if not before[name] and name != "task_workers")
    assert empty == [], "the test fills every table"
    assert str(await target.audit.head()) == filled.head
    assert (await target.audit.verify(head=filled.head)).ok
    assert (await target.initialize()).steps == ()
    assert (done.resumed, done.left_behind, done.environment) == (False, (), "test")


async def test_a_claim_that_was_held_goes_on_there_under_its_fence(source, target, monkeypatch):
    await source.initialize()
    claim = (await fill(source, monkeypatch)).claim
    await moving.move(source, target)
    await target.tasks.heartbeat(claim, progress=0.5)
    await target.tasks.complete(claim, {"by": "the same worker"})
    assert (await target.tasks.get(claim.task.id)).status == "completed"
    with pytest.raises(LeaseLostError):
        await target.tasks.complete(claim)
    blocked = [task for task in await target.tasks.list() if task.prompt == "blocked"]
    assert blocked[0].status == "ready"
    assert (await target.audit.verify()).ok


async def test_numbers_go_on_where_they_were_and_keys_are_known(source, target, monkeypatch):
    await source.initialize()
    await fill(source, monkeypatch)
    later = await source.tasks.enqueue("the last", agent_type="last")
    (claim,) = await source.tasks.claim("w", agent_types=["last"])
    await source.tasks.complete(claim)
    last = (await source.audit.list(limit=1000))[-1].id
    await moving.move(source, target)
    known = await target.tasks.enqueue(
        "first — ünïcode 🦋", key="a key", input={"text": "x" * 3000}, priority=9
    )
    assert known.id != later.id
    assert (await target.audit.list(after=last)) == []
    await target.tasks.enqueue("new")
    (entry,) = await target.audit.list(after=last)
    assert entry.id == last + 1
    assert (await target.audit.verify()).ok


async def test_what_was_moved_there_and_back_is_the_same(place, pair, monkeypatch):
    here, there, back = place(pair[0], "here"), place(pair[1], "there"), place(pair[0], "back")
    await here.initialize()
    filled = await fill(here, monkeypatch)
    first = await moving.move(here, there)
    second = await moving.move(there, back)
    assert [one.digest for one in first.tables] == [one.digest for one in second.tables]
    assert await everything(back) == await everything(here)
    assert str(await back.audit.head()) == filled.head


async def test_the_database_keeps_its_id_and_its_environment(place, pair):
    source = place(pair[0], "source", environment="production", project="p")
    opened = await source.initialize()
    target = place(pair[1], "target", environment=None)
    done = await moving.move(source, target)
    again = await target.initialize()
    assert (again.database_id, again.environment) == (opened.database_id, "production")
    assert (done.database_id, done.environment) == (opened.database_id, "production")
    (row,) = await target.read(run, "SELECT value FROM abathur_meta WHERE key = 'project'")
    assert row["value"] == "p"


async def test_tables_of_an_application_go_along(place, pair):
    source, target = place(pair[0], "source", schema=NOTES), place(pair[1], "target", schema=NOTES)
    await source.initialize()
    await source.engine.write(run, "INSERT INTO note_books (id) VALUES ('b'), ('a')")
    for n in range(7):
        await source.engine.write(
            run,
            "INSERT INTO notes (book, body, weight, price, is_new, day) VALUES (?, ?, ?, ?, ?, ?)",
            "ab"[n % 2],
            bytes([n, 0, 255]),
            n / 2,
            [0.1, 3, 10**17, None, -2.5, 0, 1 / 3][n],
            n % 2,
            f"2026-01-0{n + 1}",
        )
        await source.engine.write(
            run, "INSERT INTO note_pages (key, part, said) VALUES (?, ?, ?)", bytes([n // 3]), n % 3, f"{n}"
        )
        await source.engine.write(run, "INSERT INTO note_lines (line, n) VALUES (?, ?)", "same", 1)
    await source.engine.write(run, "DELETE FROM notes WHERE id = 7")
    first = await moving.move(source, target)
    back = place(pair[0], "back", schema=NOTES)
    second = await moving.move(target, back)
    assert first.tables == second.tables
    assert await everything(back) == await everything(source)
    await target.engine.write(run, "INSERT INTO notes (weight) VALUES (1)")
    (row,) = await target.read(run, "SELECT max(id) AS id FROM notes")
    assert row["id"] == 8, "the number of a row that was deleted is not given out again"


async def test_tables_of_plugins_go_along(place, pair):
    """Nobody declares them but the database itself; one that was unregistered is kept for its rows."""
    source, target = place(pair[0], "source"), place(pair[1], "target")
    await source.initialize()
    fields = {"name": {"type": "string"}, "ratio": {"type": "float"}, "at": {"type": "datetime"}}
    rows = [{"name": f"n{n}", "ratio": n / 3, "at": f"2026-01-0{n + 1}"} for n in range(5)]
    for plugin in ("a", "b"):
        store = source.rows.for_plugin(plugin)
        await store.register({"table": "items", "fields": fields, "unique": ["name"], "indexes": ["at"]})
        await store.insert("items", rows, request_id="r-1")
        await store.delete("items", 5)
        await store.kv.set("key", {"of": plugin})
    await source.rows.for_plugin("b").unregister("items")
    await moving.move(source, target)
    back = place(pair[0], "back")
    await moving.move(target, back)
    for db in (target, back):
        assert (await db.initialize(verify=True)).steps == ()
        store = db.rows.for_plugin("a")
        assert await store.get_schema("items") == await source.rows.for_plugin("a").get_schema("items")
        assert (await store.search("items"))["rows"] == (await source.rows.for_plugin("a").search("items"))[
            "rows"
        ]
        assert await store.insert("items", rows, request_id="r-1") == {"ids": [1, 2, 3, 4, 5], "created": 5}
        assert await store.kv.get("key") == {"exists": True, "value": {"of": "a"}}
        assert (await store.insert("items", {"name": "next"}))["id"] == 6, "no id is given twice"
        with pytest.raises(RowConflictError):
            await store.insert("items", {"name": "n1"})
        await db.rows.for_plugin("b").register({"table": "items", "fields": fields, "unique": ["name"]})
        assert (await db.rows.for_plugin("b").search("items"))["count"] == 4


@BETWEEN
async def test_both_must_declare_the_same(place, pair):
    source, target = place(pair[0], "source", schema=NOTES), place(pair[1], "target")
    await source.initialize()
    with pytest.raises(InvalidInputError, match="different schemas"):
        await moving.move(source, target)


# ------------------------------------------------------------------------------------ interrupted


@BETWEEN
@pytest.mark.parametrize("after", [1, 5, 20])
async def test_a_move_that_was_interrupted_goes_on(place, pair, monkeypatch, after):
    source, target = place(pair[0], "source"), place(pair[1], "target")
    await source.initialize()
    filled = await fill(source, monkeypatch)
    await interrupted(source, target, after)
    reads: list[int] = []
    done = await moving.move(source, place(pair[1], "target"), progress=lambda at, _: reads.append(at))
    assert done.resumed
    assert reads[0] > 0
    assert reads == sorted(reads)
    there = place(pair[1], "target")
    await there.initialize()
    assert await everything(there) == await everything(source)
    assert str(await there.audit.head()) == filled.head


@BETWEEN
async def test_nobody_opens_a_target_that_is_not_finished(place, pair, monkeypatch):
    source, target = place(pair[0], "source"), place(pair[1], "target")
    await source.initialize()
    await fill(source, monkeypatch)
    await interrupted(source, target, 4)
    other = place(pair[1], "target")
    with pytest.raises(UnfinishedMoveError):
        await other.initialize()
    with pytest.raises(UnfinishedMoveError):
        await other.plan()
    found = {finding.code: finding for finding in await other.doctor()}
    assert "UnfinishedMoveError" in found["cannot-open"].what
    with pytest.raises(UnfinishedMoveError):
        await moving.move(other, place("file", "third"))


@BETWEEN
async def test_another_database_is_not_mixed_into_an_unfinished_move(place, pair, monkeypatch):
    source, other = place(pair[0], "source"), place(pair[0], "other")
    await source.initialize()
    await other.initialize()
    await fill(source, monkeypatch)
    await interrupted(source, place(pair[1], "target"), 4)
    with pytest.raises(TargetNotEmptyError) as caught:
        await moving.move(other, place(pair[1], "target"))
    assert caught.value.unfinished == (await source.initialize()).database_id


@BETWEEN
async def test_two_moves_to_one_target_do_not_mix(place, pair, monkeypatch):
    source = place(pair[0], "source")
    await source.initialize()
    await fill(source, monkeypatch)
    target = place(pair[1], "target")
    await interrupted(source, target, 3)

    async def overtaken(fn: Any, *args: Any) -> Any:
        await write(run, "UPDATE abathur_meta SET value = '{}' WHERE key = 'move'")
        return await write(fn, *args)

    begun = 0

    def overtake(*_: int) -> None:
        nonlocal begun
        begun += 1
        if begun == 2:
            monkeypatch.setattr(target.engine, "write", overtaken)

    write = target.engine.write
    with pytest.raises(MoveConflictError):
        await moving.move(source, target, progress=overtake)


# -------------------------------------------------------------------------------------- refusals


async def test_a_source_that_is_missing_is_not_made(place, pair):
    with pytest.raises(MissingDatabaseError):
        await moving.move(place(pair[0], "source"), place(pair[1], "target"))
    assert not await place(pair[0], "source").exists()
    assert not await place(pair[1], "target").exists()


@BETWEEN
async def test_a_target_with_rows_is_left_as_it_was(source, target):
    await source.initialize()
    await target.initialize()
    await target.tasks.enqueue("here already")
    before = await everything(target)
    with pytest.raises(TargetNotEmptyError) as caught:
        await moving.move(source, target)
    assert set(caught.value.tables) == {"audit", "audit_seals", "task_counts", "tasks"}
    assert await everything(target) == before


@BETWEEN
@pytest.mark.parametrize("tasks", [0, 1])
async def test_a_target_that_is_the_source_is_refused(place, pair, tasks):
    source = place(pair[0], "source")
    await source.initialize()
    for n in range(tasks):
        await source.tasks.enqueue(f"{n}")
    before = await everything(source)
    for target in (source, place(pair[0], "source")):
        with pytest.raises(TargetNotEmptyError):
            await moving.move(source, target)
    assert await everything(source) == before


@BETWEEN
async def test_a_target_that_is_to_be_of_another_environment_is_refused(place, pair):
    source = place(pair[0], "source")
    await source.initialize()
    target = place(pair[1], "target", environment="production")
    with pytest.raises(EnvironmentMismatchError, match="is a test database, and production was asked for"):
        await moving.move(source, target)
    assert not await target.exists()


async def test_an_empty_database_of_ours_is_a_target(source, target):
    await source.initialize()
    await source.tasks.enqueue("x")
    await target.initialize()
    await moving.move(source, target)
    assert await everything(target) == await everything(source)


@BETWEEN
@pytest.mark.parametrize("mark", ["{", "[]", '{"source": "x"}'])
async def test_a_target_whose_mark_cannot_be_read_is_left_as_it_was(source, target, mark):
    await source.initialize()
    await target.initialize()
    await target.engine.write(run, "INSERT INTO abathur_meta (key, value) VALUES ('move', ?)", mark)
    before = await everything(target)
    with pytest.raises(TargetNotEmptyError, match="abathur_meta"):
        await moving.move(source, target)
    assert await everything(target) == before


@BETWEEN
async def test_a_source_at_which_somebody_works_is_refused(source, target):
    await source.initialize()
    who = workers.Announcement(id="1", name="host-1", agents={"general": 1}, concurrency=1, host="h", pid=1)
    await source.run(workers.announce, who, True)
    with pytest.raises(SourceInUseError) as caught:
        await moving.move(source, target)
    assert caught.value.workers == ["host-1"]
    done = await moving.move(source, target, while_running=True)
    assert "task_workers" not in {one.name for one in done.tables}
    assert await target.tasks.workers() == []


@BETWEEN
async def test_what_is_not_declared_is_named_and_left_behind_only_on_request(place, pair):
    source = place(pair[0], "source", schema=NOTES)
    await source.initialize()
    await source.engine.write(run, "INSERT INTO note_lines (line) VALUES ('x'), ('y')")
    await source.engine.write(run, "ALTER TABLE tasks ADD COLUMN mine TEXT")
    await source.tasks.enqueue("x")
    await source.engine.write(run, "UPDATE tasks SET mine = 'a word'")
    if pair[0] == "memory":
        plain: Any = source
        declared = plain._schemas
        plain._schemas = tuple(schema for schema in declared if schema != NOTES)
    else:
        plain = place(pair[0], "source")
    with pytest.raises(LeftBehindError) as caught:
        await moving.move(plain, place(pair[1], "target"))
    assert caught.value.left == ["note_lines (2 rows)", "tasks.mine (1 row)"]
    assert pair[1] == "memory" or not await place(pair[1], "target").exists()
    target = place(pair[1], "target")
    done = await moving.move(plain, target, only_declared=True)
    assert [(one.name, one.rows) for one in done.left_behind] == [("note_lines", 2), ("tasks.mine", 1)]
    assert len(await target.tasks.list()) == 1


@pytest.mark.parametrize(
    ("value", "found"),
    [("'soon'", "text"), ("1.5", "a number with a fraction"), ("CAST(x'ff' AS TEXT)", "text")],
)
async def test_what_postgresql_cannot_hold_is_found_before_anything_is_copied(place, value, found):
    source, target = place("file", "source"), place("postgres", "target")
    await source.initialize()
    task = await source.tasks.enqueue("x")
    await source.engine.write(run, f"UPDATE tasks SET run_at = {value}")
    with pytest.raises(UnmovableValueError) as caught:
        await moving.move(source, target)
    told = caught.value
    assert (told.table, told.key, told.column) == ("tasks", (task.id,), "run_at")
    assert found in told.problem
    assert await target.tasks.list() == []
    await source.engine.write(run, "UPDATE tasks SET run_at = NULL")
    assert not (await moving.move(source, target)).resumed


# ------------------------------------------------------------------------------------ differences


@BETWEEN
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE tasks SET lease_expires_at = 1 WHERE status = 'running'", "rows of tasks are different"),
        ("DELETE FROM task_keys", "task_keys has 0 rows here and 1 there"),
        ("UPDATE abathur_meta SET value = 'another' WHERE key = 'project'", "rows of abathur_meta"),
        ("INSERT INTO task_keys (key, task_id, digest) VALUES ('0', '1', '2')", "task_keys has 2 rows"),
    ],
)
async def test_what_is_written_meanwhile_is_found_and_the_move_begins_anew(
    source, target, monkeypatch, change, told
):
    await source.initialize()
    await fill(source, monkeypatch)
    total = sum(map(len, (await everything(source)).values()))
    changed = False

    real = type(source.engine).read

    async def read(fn: Any, *args: Any) -> Any:
        nonlocal changed
        if copied >= total and not changed:  # between the copy and the comparison
            changed = True
            await source.engine.write(run, change)
        return await real(source.engine, fn, *args)

    copied = 0

    def count(at: int, _: int) -> None:
        nonlocal copied
        copied = at

    with monkeypatch.context() as patch:
        patch.setattr(source.engine, "read", read)
        with pytest.raises(MoveDiffersError, match=told):
            await moving.move(source, target, progress=count)
    assert changed
    again = await moving.move(source, target)
    assert not again.resumed, "it began anew"
    assert await everything(target) == await everything(source)
    assert (await target.audit.verify()).ok


@BETWEEN
async def test_tasks_that_are_added_while_it_is_compared_are_found(source, target, monkeypatch):
    await source.initialize()
    await fill(source, monkeypatch)
    total = sum(map(len, (await everything(source)).values()))
    real = type(source.engine).read
    at = 0

    async def read(fn: Any, *args: Any) -> Any:
        if at == 3 * total:  # every table was compared already
            await source.engine.write(run, "SELECT 1 AS one")
            await source.tasks.enqueue("too late")
        return await real(source.engine, fn, *args)

    def count(done: int, _: int) -> None:
        nonlocal at
        at = done

    with monkeypatch.context() as patch:
        patch.setattr(source.engine, "read", read)
        with pytest.raises(MoveDiffersError, match="rows were added here meanwhile"):
            await moving.move(source, target, progress=count)


async def test_what_was_moved_is_sound(place, pair, monkeypatch):
    source, target = place(pair[0], "source"), place(pair[1], "target")
    await source.initialize()
    for n in range(10):
        one = await source.tasks.enqueue(f"{n}")
        await source.tasks.enqueue("after", depends_on=[Prerequisite(one.id, on_failure="fail")])
    for claim in await source.tasks.claim("w", limit=6):
        await source.tasks.complete(claim)
    await moving.move(source, target)
    for claim in await target.tasks.claim("v", limit=50):
        await target.tasks.complete(claim)
    assert (await target.audit.verify()).ok
    assert await target.tasks.counts() == {"completed": 16, "ready": 4}


async def test_databases_of_earlier_versions_go_to_postgresql_and_back(place, url, legacy_databases):
    files = sorted(legacy_databases.glob("*.db"))
    assert files
    for file in files:
        name = file.stem
        source, there = place("file", name, environment=None), place("postgres", name, environment=None)
        back = place("file", f"{name}.back", environment=None)
        Path(url("file", name)).write_bytes(file.read_bytes())
        await source.initialize()
        fill_in = "UPDATE tasks SET last_updated_at = submitted_at WHERE last_updated_at IS NULL"
        await source.engine.write(run, fill_in)  # in the one whose migration a crash has ended
        first = await moving.move(source, there, only_declared=True)
        second = await moving.move(there, back, only_declared=True)
        assert first.tables == second.tables
        assert second.left_behind == ()
        assert str(await back.audit.head()) == str(await source.audit.head())
        assert (await there.audit.verify()).ok
