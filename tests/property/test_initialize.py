"""`initialize()` brings any earlier database to the declared schema, and then does nothing.

For any history of declarations, with any rows and any part of it done by hand; for a kill at any
point; and for any order in which the steps of two processes follow each other:

* the database becomes what is declared,
* every row and every value that was there is there still,
* and a second run only reads: not a byte of the file changes.
"""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
import types
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import anyio
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from abathur.engines.base import Migration
from abathur.engines.sqlite import SqliteEngine
from abathur.migrate import Report, migrate, plan
from abathur.schema import Backfill, Column, Index, Schema, Table
from abathur.schema.tables import HISTORY, META
from abathur.script import Built, ScriptFunction, Statement, drive, start
from abathur.sql import Catalog

T = TypeVar("T")
SEEN: Counter[str] = Counter()
"""Examples that each property was tried on."""
Values: TypeAlias = dict[tuple[str, str], list[tuple[Any, ...]]]

# -- what is drawn -----------------------------------------------------------------------------

TYPES = {"TEXT": "'none'", "INTEGER": "0", "REAL": "0.5", "BLOB": "x'00'", "TIMESTAMP": "NULL"}
NAMES = st.sampled_from("abcdefgh")
VALUES = st.one_of(
    st.none(), st.integers(-9, 9), st.floats(0, 1), st.text(max_size=4), st.binary(max_size=2), st.just("007")
)


@st.composite
def columns(draw: st.DrawFn) -> Column:
    kind = draw(st.sampled_from(sorted(TYPES)))
    default = draw(st.sampled_from([None, TYPES[kind]]))
    required = draw(st.booleans()) and default not in (None, "NULL")
    # The type is in the name: a later version of a history never changes it.
    return Column(f"{draw(NAMES)}_{kind.lower()}", kind, default=default, not_null=required)


@st.composite
def histories(draw: st.DrawFn) -> list[Schema]:
    """Versions of one schema, each with all that the one before it has, and more."""
    tables: dict[str, dict[str, Column]] = {}
    indexes: dict[str, Index] = {}
    fills: dict[str, Backfill] = {}
    versions = []
    for _ in range(draw(st.integers(1, 4))):
        for name in draw(st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, max_size=2)):
            known = tables.setdefault(name, {"id": Column("id", "INTEGER", primary_key=True)})
            for column in draw(st.lists(columns(), max_size=3)):
                known.setdefault(column.name, column)
            indexed = draw(st.sampled_from(sorted(known)))
            indexes.setdefault(f"{name}_by_{indexed}", Index(f"{name}_by_{indexed}", name, (indexed,)))
            filled = draw(st.sampled_from(sorted(known)))
            fills.setdefault(f"{name}.{filled}", Backfill(name, filled, "1 + id"))
        described = tuple(Table(name, tuple(known.values())) for name, known in tables.items())
        versions.append(
            Schema("app", described, indexes=tuple(indexes.values()), backfills=tuple(fills.values()))
        )
    return versions


# -- the database under test -------------------------------------------------------------------


@contextmanager
def new_file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "agents.db"


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def everything(path: Path) -> Values:
    """Each column of each table of the application, in the order of its rows."""
    with opened(path) as db:
        names = [row["name"] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found: Values = {}
        for name in set(names) & {"one", "two", "three", "users"}:
            for row in db.execute(f"SELECT name FROM pragma_table_xinfo('{name}')").fetchall():
                values = db.execute(
                    f'SELECT typeof("{row["name"]}"), "{row["name"]}" FROM {name} ORDER BY rowid'
                )
                found[name, row["name"]] = [tuple(value) for value in values]
        return found


def nothing_is_lost(before: Values, after: Values) -> None:
    assert {name: after.get(name) for name in before} == before


def insert(path: Path, schema: Schema, data: st.DataObject) -> None:
    """Rows with drawn values in some of the columns."""
    with opened(path) as db:
        for table in schema.tables:
            names = [column.name for column in table.columns if column.name != "id" and not column.not_null]
            for row in data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(names, VALUES)), max_size=3)):
                listed = ", ".join(f'"{name}"' for name in row) or "id"
                holes = ", ".join("?" * len(row)) or "NULL"
                db.execute(f"INSERT INTO {table.name} ({listed}) VALUES ({holes})", tuple(row.values()))


BASE = Schema("base", (META, HISTORY))


async def initialize(path: Path, schema: Schema, *, may_write: bool = True, verify: bool = False) -> Report:
    engine = SqliteEngine(path, Catalog({}))
    await engine.open()
    if not may_write:
        engine.migration = _forbidden  # type: ignore[method-assign, assignment]  # reads have connections that cannot write
    try:
        return await migrate(
            engine, [BASE, schema], version="1.0", environment="test", backup=False, verify=verify
        )
    finally:
        await engine.close()


def _forbidden() -> AbstractAsyncContextManager[Migration]:
    raise AssertionError("the lock was taken although there was nothing to do")


async def is_settled(path: Path, schema: Schema) -> None:
    """Nothing is left to do, and doing it again changes nothing, with and without an inspection."""
    image = path.read_bytes()
    for verify in (True, False):
        report = await initialize(path, schema, may_write=False, verify=verify)
        assert report.steps == ()
    engine = SqliteEngine(path, Catalog({}))
    await engine.open()
    try:
        assert (await plan(engine, [BASE, schema], version="1.0")).empty
    finally:
        await engine.close()
    assert path.read_bytes() == image


# -- what is true ------------------------------------------------------------------------------


@settings(max_examples=100)
@given(histories(), st.data())
def any_history(history: list[Schema], data: st.DataObject) -> None:
    SEEN["any_history"] += 1

    async def scenario(path: Path) -> None:
        for version in history[:-1]:
            await initialize(path, version)
            insert(path, version, data)
        last = history[-1]
        by_hand(path, last, data)
        before = everything(path)
        await initialize(path, last)
        nothing_is_lost(before, everything(path))
        await is_settled(path, last)

    with new_file() as path:
        anyio.run(scenario, path)


def by_hand(path: Path, schema: Schema, data: st.DataObject) -> None:
    """Somebody applies some of the statements, and makes a table and a trigger of his own."""
    wanted = stepped_plan(path, schema)
    with opened(path) as db:
        db.execute("CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, n)")
        db.execute("INSERT INTO users (n) VALUES (0)")
        for sql in wanted:
            if sql.startswith(("CREATE", "ALTER")) and data.draw(st.booleans(), label=sql):
                with suppress(sqlite3.OperationalError):  # an index of a column that he did not add
                    db.execute(sql)
        for name in {"one", "two", "three"} & {
            row["name"] for row in db.execute("SELECT name FROM sqlite_master")
        }:
            db.execute(
                f"CREATE TRIGGER IF NOT EXISTS watch_{name} AFTER UPDATE ON {name} "
                "BEGIN UPDATE users SET n = n + 1; END"
            )


@settings(max_examples=40)
@given(histories(), st.data())
def a_kill(history: list[Schema], data: st.DataObject) -> None:
    SEEN["a_kill"] += 1
    first, last = history[0], history[-1]
    with new_file() as path:
        run_alone(Stepped(path), first)
        insert(path, first, data)
        before = everything(path)
        point = 0
        while not killed_at(point, path, last):  # each time a little later, until it gets through
            point += 1
            nothing_is_lost(before, everything(path))
        nothing_is_lost(before, everything(path))
        anyio.run(is_settled, path, last)


def test_a_kill_at_any_point_of_a_new_file_leaves_one_that_converges() -> None:
    schema = Schema("app", (Table("one", (Column("id", "INTEGER", primary_key=True),)),))
    with new_file() as path:
        point = 0
        while not killed_at(point, path, schema):
            point += 1
            with opened(path) as db:  # all of the schema, or nothing
                names = {
                    row["name"] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                }
            assert names in (set(), {"one", "abathur_meta", "schema_history"})
        assert point > 10
        anyio.run(is_settled, path, schema)


@settings(max_examples=100)
@given(histories(), st.lists(st.booleans(), max_size=40), st.booleans(), st.data())
def two_at_once(history: list[Schema], turns: list[bool], locking: bool, data: st.DataObject) -> None:
    SEEN["two_at_once"] += 1
    first, last = history[0], history[-1]
    with new_file() as path:
        if data.draw(st.booleans(), label="an older file"):
            run_alone(Stepped(path), first)
            insert(path, first, data)
        before = everything(path)
        lock = Lock() if locking else None  # without it, as a process that knows nothing of the side file
        both = [_initialize(Stepped(path, lock), last) for _ in range(2)]
        interleave(both, turns)
        nothing_is_lost(before, everything(path))
        anyio.run(is_settled, path, last)


# -- an engine whose every step can be the last, or wait for another's -------------------------


class Killed(BaseException):
    """The process is gone; what it had not committed is undone by the next one that opens the file."""


@define
class Lock:
    taken: bool = False


@types.coroutine
def turn() -> Generator[None, None, None]:
    """Awaited before each call: lets the test decide which process goes on."""
    yield


@define
class Stepped:
    """A small engine over `sqlite3`, without threads: the test decides what happens between its calls."""

    path: Path
    lock: Lock | None = None
    killed_after: int | None = None
    calls: int = 0
    dialect: str = "sqlite"
    capabilities: frozenset[str] = frozenset({"file"})
    name: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.name = str(self.path)

    def count(self) -> None:
        if self.calls == self.killed_after:
            raise Killed
        self.calls += 1

    async def exists(self) -> bool:
        await turn()
        return self.path.exists() and self.path.stat().st_size > 0

    @asynccontextmanager
    async def migration(self) -> AsyncIterator[Stepped]:
        while self.lock is not None and self.lock.taken:
            await turn()
        if self.lock is not None:
            self.lock.taken = True
        try:
            yield self
        finally:
            if self.lock is not None:
                self.lock.taken = False

    async def read(self, fn: ScriptFunction[T], *args: Any) -> T:
        return await self._run("BEGIN", fn, args)

    async def write(self, fn: ScriptFunction[T], *args: Any) -> T:
        return await self._run("BEGIN IMMEDIATE", fn, args)

    async def _run(self, begin: str, fn: ScriptFunction[T], args: tuple[Any, ...]) -> T:
        await turn()
        with opened(self.path) as db:
            db.execute("PRAGMA foreign_keys=OFF")
            db.execute("PRAGMA legacy_alter_table=ON")
            db.execute(begin)
            answer = drive(start(fn, args, 0), lambda step: self._execute(db, step), {})
            self.count()
            db.execute("COMMIT")
            self.count()
        return answer

    def _execute(self, db: sqlite3.Connection, step: Statement | Built) -> list[Any]:
        assert isinstance(step, Built)
        self.count()
        return db.execute(step.sql, tuple(step.params)).fetchall()

    async def set_pragma(self, name: str, value: str) -> None:
        await turn()
        self.count()
        with opened(self.path) as db:
            db.execute(f"PRAGMA {name}={value}").fetchall()
        self.count()


def _initialize(engine: Stepped, schema: Schema) -> Coroutine[Any, Any, Report]:
    return migrate(engine, [BASE, schema], version="1.0", environment="test", backup=False)  # type: ignore[arg-type]


def run_alone(engine: Stepped, schema: Schema) -> None:
    interleave([_initialize(engine, schema)], [])


def killed_at(point: int, path: Path, schema: Schema) -> bool:
    """Initialize, but die before the call with this number. True if it got through."""
    try:
        run_alone(Stepped(path, killed_after=point), schema)
    except Killed:
        return False
    return True


def interleave(runs: Sequence[Coroutine[Any, Any, Any]], turns: list[bool]) -> None:
    """Let the processes take their steps in the order of `turns`, then one after the other."""
    alive = [run.__await__() for run in runs]
    for choice in itertools.chain(turns, itertools.cycle([False, True])):
        if not alive:
            return
        chosen = alive[choice % len(alive)]
        try:
            next(chosen)
        except StopIteration:
            alive.remove(chosen)


def stepped_plan(path: Path, schema: Schema) -> list[str]:
    """The statements that are missing, as `abathur migrate --plan` shows them."""
    found: list[str] = []

    async def look() -> None:
        wanted = await plan(Stepped(path), [BASE, schema], version="1.0")  # type: ignore[arg-type]
        found.extend(statement.sql for step in wanted.inside for statement in step.statements)

    interleave([look()], [])
    return found


def test_any_history_with_any_part_done_by_hand_converges_and_keeps_every_row(
    figure: Callable[[str], None],
) -> None:
    SEEN["any_history"] = 0
    any_history()
    figure(f"{SEEN['any_history']} histories, parts by hand: converged, no row lost, then a strict no-op")


def test_a_kill_at_any_point_leaves_a_database_that_converges(figure: Callable[[str], None]) -> None:
    SEEN["a_kill"] = 0
    a_kill()
    figure(f"{SEEN['a_kill']} histories killed at every point: converged")


def test_two_that_initialize_at_once_converge_in_any_order_of_their_steps(
    figure: Callable[[str], None],
) -> None:
    SEEN["two_at_once"] = 0
    two_at_once()
    figure(f"{SEEN['two_at_once']} races of two initializers: converged")
