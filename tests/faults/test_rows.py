"""Row storage under faults: registrations that are killed, that race, and whatever somebody may ask for."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from abathur import Database
from abathur.errors import RowsError
from tests.conformance.checks import QUERIES, check_invariants
from tests.faults import checking
from tests.faults.conftest import new_database
from tests.faults.nursery import End

A: dict[str, Any] = {"a": {"type": "string"}}
WIDER: dict[str, Any] = {**A, "b": {"type": "integer"}, "c": {"type": "datetime"}}
ROWS = {"new": (A, {"a": "x"}), "wider": (WIDER, {"a": "y", "b": 5, "c": "2026-01-01"})}


async def prepare(url: str, plugin: str, start: str) -> None:
    """Nothing, or the table registered as it was before it is widened."""
    if start == "wider":
        async with Database(url, environment="test") as db:
            store = db.rows.for_plugin(plugin)
            await store.register({"table": "t", "fields": A})
            await store.insert("t", {"a": "old"})


async def finished(url: str, plugin: str, start: str, *, acknowledged: bool) -> None:
    """The same registration again succeeds, the row is there once, and everything holds."""
    fields, row = ROWS[start]
    async with Database(url, environment="test", queries=QUERIES, lock_timeout=5) as db:
        store = db.rows.for_plugin(plugin)
        if acknowledged:
            there = (await store.get_schema("t"))["schema"]["fields"]
            assert [field["name"] for field in there] == list(fields), "acknowledged, and not there"
        await store.register({"table": "t", "fields": fields, "indexes": ["a"]})
        made = await store.insert("t", row, request_id="the row")
        assert made == {"id": 1 + (start == "wider"), "created": True}
        found = (await store.search("t"))["rows"]
        assert [one["a"] for one in found] == (["old", "y"] if start == "wider" else ["x"])
        assert (await db.initialize(verify=True)).steps == ()
        await check_invariants(db)


@pytest.mark.row("R3", weight=0.3)
@pytest.mark.timeout(0)
@pytest.mark.parametrize("start", ROWS)
@pytest.mark.parametrize("engine", ["file", "postgres"])
def test_a_registration_that_is_killed_at_any_statement_is_finished_by_the_next_one(
    engine, start, children, fast, request, budget, figure
):
    url = new_database(
        str(fast / "agents.db") if engine == "file" else request.getfixturevalue("postgres_url")
    )
    fields, row = ROWS[start]

    def run(number: int, at: int) -> End:
        asyncio.run(prepare(url, f"p{number}", start))
        return children.run("register_until", url, statement=at, plugin=f"p{number}", fields=fields, row=row)

    whole = run(0, 0)
    assert whole.code == 0, whole.errors
    ((statements,),) = whole.of("statements")
    for number in budget(quick=12 if engine == "file" else 6, long=statements):
        at = checking.spread(number, statements) + 1
        end = run(number + 1, at)
        assert end.code == -9, (start, at, end)
        asyncio.run(finished(url, f"p{number + 1}", start, acknowledged=bool(end.of("registered"))))
    if engine == "file":
        checking.sound(Path(url))
    figure(
        f"R3: registration of a {start} table on {engine}: killed at {budget.done} of {statements} statements"
    )


@pytest.mark.row("R5", weight=0.3)
@pytest.mark.timeout(0)
@pytest.mark.parametrize("engine", ["file", "postgres"])
def test_processes_that_register_at_once_and_are_killed_lose_nothing(
    engine, start, request, tmp_path, budget, figure
):
    url = tmp_path / "agents.db" if engine == "file" else request.getfixturevalue("postgres_url")
    new_database(url)
    draw = budget.draw()
    running = [start("registrar", url, f"p{n}") for n in range(6)]
    ended = []
    for child in running:
        child.line(0)
    for number in budget(quick=10, long=500):
        place = draw.randrange(len(running))
        running[place].line(draw.randrange(1, 5))
        time.sleep(draw.uniform(0, 0.05))
        running[place].end(kill=True)
        ended.append(running[place])
        running[place] = start("registrar", url, f"r{number}")
    for child in running:
        child.end(kill=True)
    said = [line.split(" ", 3) for child in [*ended, *running] for line in child.lines]
    for child in [*ended, *running]:
        assert child.errors == "", child.errors
    figure(asyncio.run(judged(str(url), said, budget.done)))


async def judged(url: str, said: list[list[str]], kills: int) -> str:
    """Everything that was acknowledged is there, once."""
    fields: dict[str, set[str]] = {}
    inserted: dict[str, dict[int, str]] = {}
    for word, *rest in said:
        if word == "registered":
            fields.setdefault(rest[0], set()).update(" ".join(rest[1:]).split())
        elif word == "inserted":
            assert inserted.setdefault(rest[0], {}).setdefault(int(rest[1]), rest[2]) == rest[2], (
                "an id twice"
            )
    async with Database(url, environment="test", queries=QUERIES) as db:
        assert (await db.initialize(verify=True)).steps == ()
        store = db.rows.for_plugin("quotes")
        for table, names in fields.items():
            there = (await store.get_schema(table))["schema"]["fields"]
            assert names <= {field["name"] for field in there}, "acknowledged, and not there"
        rows = 0
        for table, wanted in inserted.items():
            for row_id, asked in wanted.items():
                assert (await store.select(table, row_id))["data"]["a"] == asked
            found = (await store.search(table, aggregates={"n": {"$count": "*"}}, group_by="a"))["rows"]
            assert all(one["n"] == 1 for one in found), "one request, two rows"
            rows += len(wanted)
        await check_invariants(db)
    registered = sum(word == "registered" for word, *_ in said)
    return f"R5: {registered:,} registrations by 6 processes, {kills} killed, {rows:,} rows: nothing lost"


# -- whatever somebody may ask for -----------------------------------------------------------------

LETTERS = [*"a_1*>.\"';\0\r\n/\\%$ é\u0430\u202e\ud800", "id", "name", "score", "../", "x" * 300]
NAMES = [
    *(
        "items",
        "name",
        "score",
        "due",
        "id",
        "created_at",
        "fields",
        "type",
        "string",
        "integer",
        "table",
        "schema",
    ),
    *("$and", "$or", "$not", "$gt", "$in", "$like", "$set", "$inc", "$sum", "$count", "tasks", "r_000001"),
]
SCALARS = [
    None, True, False, 0, 1, -1, 2**63, -(2**70), 0.5, float("nan"), float("inf"), -0.0, 1e308,
    "2026-01-01", "x" * 10_000, 10**5_000, -(10**400), b"bytes", (), {}, [],
]  # fmt: skip
METHODS = {
    "register": "a", "unregister": "n", "get_schema": "t",
    "insert": "taa", "select": "taa", "update": "taaaaa",
    "delete": "taaa", "search": "taaaaaa", "kv.set": "aaa", "kv.get": "a", "kv.delete": "a", "kv.list": "aa",
}  # fmt: skip
"""Each with its arguments: a table that is there as a rule, a name that is none, or anything."""


class Hostile:
    """Draws what nobody should ask for."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw

    def call(self) -> tuple[str, list[Any]]:
        name = self._draw.choice([*METHODS])
        return name, [self._argument(kind) for kind in METHODS[name]]

    def _argument(self, kind: str) -> Any:
        if kind == "t" and self._draw.random() < 0.8:
            return "items"
        if kind == "a" and self._draw.random() < 0.3:
            return None
        return self._name() if kind == "n" else self._anything(3)

    def _name(self) -> str:
        if self._draw.random() < 0.6:
            return self._draw.choice(NAMES)
        return "".join(self._draw.choices(LETTERS, k=self._draw.randrange(5)))

    def _anything(self, depth: int) -> Any:
        kind = self._draw.random()
        if depth and kind < 0.35:
            keys = [self._name() if self._draw.random() < 0.95 else 7 for _ in range(self._draw.randrange(4))]
            return {key: self._anything(depth - 1) for key in keys}
        if depth and kind < 0.5:
            return [self._anything(depth - 1) for _ in range(self._draw.randrange(4))]
        return self._name() if kind < 0.8 else self._draw.choice(SCALARS)


FIELDS = {"name": {"type": "string"}, "score": {"type": "integer"}, "due": {"type": "datetime"}}


@pytest.mark.row("R19", weight=0.3)
@pytest.mark.parametrize("engine", ["memory", "postgres"])
def test_whatever_is_asked_for_gets_an_answer_or_a_typed_error(engine, request, budget, figure):
    """R20 too: names of every kind, and what belongs to another plugin is as it was."""
    url = ":memory:" if engine == "memory" else request.getfixturevalue("postgres_url")
    asked, refused, codes = 0, 0, set()

    async def ask(db: Database, name: str, arguments: list[Any]) -> None:
        nonlocal asked, refused
        store: Any = db.rows.for_plugin("quotes")
        part, _, method = name.rpartition(".")
        asked += 1
        try:
            answer = await getattr(store.kv if part else store, method)(*arguments)
        except RowsError as error:
            refused += 1
            codes.add(error.code)
            answer = {"message": str(error)}
        assert isinstance(answer, dict)
        said = str(answer.get("message"))
        assert len(said) < 2_000
        assert "\0" not in said
        assert "SELECT" not in said

    async def ask_all(db: Database, calls: list[tuple[str, list[Any]]]) -> None:
        for name, arguments in calls:
            if (name, *arguments) != ("unregister", "items"):
                await ask(db, name, arguments)

    async def opened() -> tuple[Database, dict[str, Any]]:
        db = Database(url, environment="test", durability="normal")
        await db.initialize()
        await db.rows.for_plugin("quotes").register({"table": "items", "fields": FIELDS})
        other = db.rows.for_plugin("other")
        await other.register({"table": "items", "fields": FIELDS, "unique": ["name"]})
        await other.insert("items", {"name": "of the other", "score": 5})
        await other.kv.set("key", "of the other")
        return db, await everything(db)

    async def everything(db: Database) -> dict[str, Any]:
        other = db.rows.for_plugin("other")
        return {
            "rows": await other.search("items"),
            "schemas": await other.list_schemas(),
            "keys": await other.kv.list(),
            "value": await other.kv.get("key"),
            "tasks": await db.tasks.list(),
        }

    with asyncio.Runner() as runner:
        db, before = runner.run(opened())

        hostile = Hostile(budget.draw())
        try:
            for _ in budget(quick=20_000 if engine == "memory" else 1_000, long=500_000, each=100):
                runner.run(ask_all(db, [hostile.call() for _ in range(100)]))
            assert runner.run(everything(db)) == before
        finally:
            runner.run(db.close())
    assert codes >= {"VALIDATION_ERROR", "MISSING_FIELD"}
    figure(
        f"R19, R20: {asked:,} malformed requests to rows on {engine}, {refused:,} refused, each with its code"
    )
