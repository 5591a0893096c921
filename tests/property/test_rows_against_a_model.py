"""Row storage answers what a model in Python answers, whatever is asked, on every engine."""

from __future__ import annotations

import asyncio
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from abathur import Database
from abathur.errors import RowsError
from tests.property import rows_model as model
from tests.property.rows_model import TYPES, Row

EXAMPLES = int(os.environ.get("ABATHUR_EXAMPLES", "60"))
PHASES = [phase for phase in Phase if phase is not Phase.explain]
SEEN: Counter[str] = Counter()

VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "s": st.sampled_from(
        [
            "",
            "a",
            "A",
            "b",
            "ab",
            "Ab%",
            "a_b",
            "*",
            "[a]",
            "a?",
            "ä",
            "Ä",
            "z\\",
            "é",
            "\U0001d518",
            "10",
            "9",
        ]
    ),
    "t": st.sampled_from(["same", "Same", "other", "'; --", '"', "a\nb", "%", "x" * 50]),
    "i": st.one_of(
        st.integers(-3, 3),
        st.sampled_from([0, 2**31, -(2**31) - 1, 2**53 + 1, 2**62, 2**63 - 1, -(2**63), -(2**63) + 1]),
    ),
    "f": st.sampled_from([0.0, 1.0, -1.0, 0.5, 0.1, 1e10, -2.5, 1 / 3, 1e-7, 2.0**60]),
    "b": st.booleans(),
    "d": st.sampled_from(
        [
            "2026-01-01T00:00:00+00:00",
            "2026-01-01T01:00:00+01:00",
            "2026-01-01T00:00:00.000001Z",
            "1969-12-31T23:59:59Z",
            "2026-01-02",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
        ]
    ),
    "id": st.integers(-1, 12),
}
PATTERNS = st.lists(
    st.sampled_from(
        ["%", "_", "a", "A", "b", "ä", "Ä", "\\%", "\\_", "\\\\", "\\a", "*", "?", "[", "]", "same"]
    ),
    max_size=4,
).map("".join)
RANGES = ("$gt", "$gte", "$lt", "$lte")


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(strategy, strategy, strategy, st.none())


@st.composite
def conditions_of(draw: st.DrawFn, name: str) -> Any:
    """What stands at a field of a filter."""
    values = VALUES[name]
    if draw(st.booleans()):
        return draw(maybe(values))
    choices: dict[str, st.SearchStrategy[Any]] = {
        "$eq": maybe(values),
        "$ne": maybe(values),
        "$in": st.lists(maybe(values), min_size=1, max_size=4),
        "$nin": st.lists(maybe(values), min_size=1, max_size=4),
        "$exists": st.booleans(),
        "$null": st.booleans(),
    }
    if name in ("i", "f", "d", "id"):
        choices |= dict.fromkeys(RANGES, values)
    if name in ("s", "t"):
        choices |= dict.fromkeys(("$like", "$ilike"), PATTERNS)
    operators = draw(st.lists(st.sampled_from(sorted(choices)), min_size=1, max_size=2, unique=True))
    found = {operator: draw(choices[operator]) for operator in operators}
    return {"$not": found} if draw(st.integers(0, 9)) == 0 else found


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any] | None = None) -> dict[str, Any]:
    """An object of a filter: fields beside `$and`, `$or` and `$not`, all of which have to hold."""
    names = draw(
        st.lists(st.sampled_from([*TYPES, "id"]), min_size=int(inner is None), max_size=3, unique=True)
    )
    found: dict[str, Any] = {name: draw(conditions_of(name)) for name in names}
    if inner is not None:
        keys = draw(
            st.lists(st.sampled_from(["$and", "$or", "$not"]), min_size=not names, max_size=2, unique=True)
        )
        for key in keys:
            found[key] = draw(inner if key == "$not" else st.lists(inner, min_size=1, max_size=3))
    return found


FILTERS = st.recursive(objects(), objects, max_leaves=5)
ROWS = st.fixed_dictionaries({}, optional={name: maybe(VALUES[name]) for name in TYPES})
SORTS = st.lists(
    st.fixed_dictionaries(
        {"field": st.sampled_from([*TYPES, "id"])}, optional={"order": st.sampled_from(["asc", "desc"])}
    ),
    min_size=1,
    max_size=3,
)


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    found = {}
    for name in draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=3, unique=True)):
        operators = ["$set"]
        if name in ("i", "f", "d"):
            operators += ["$max", "$min"]
        if name in ("i", "f"):
            operators += ["$inc", "$dec", "$mul"]
        operator = draw(st.sampled_from(operators))
        # The products of these stay where floats are exact enough on every engine.
        small = st.sampled_from([0, 1, -1, 2, 3]) if operator in ("$mul", "$dec", "$inc") else VALUES[name]
        if name == "i" and operator in ("$inc", "$mul"):
            small = VALUES[name]
        found[name] = {operator: draw(maybe(small) if operator == "$set" else small)}
    return found


@st.composite
def aggregates(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for at in range(draw(st.integers(1, 3))):
        function = draw(st.sampled_from(["$count", "$sum", "$avg", "$min", "$max"]))
        names = ["i", "f"] if function in ("$sum", "$avg") else [*TYPES, "id"]
        found[f"v{at}"] = {function: draw(st.sampled_from([*names, "*"] if function == "$count" else names))}
    return found


WHICH = st.one_of(
    st.fixed_dictionaries({"id": st.integers(0, 12)}), st.fixed_dictionaries({"filters": FILTERS})
)
OPERATIONS = st.one_of(
    st.tuples(
        st.just("insert"),
        st.fixed_dictionaries({"data": st.one_of(ROWS, st.lists(ROWS, min_size=1, max_size=4))}),
    ),
    st.tuples(st.just("select"), WHICH),
    st.tuples(
        st.just("search"),
        st.fixed_dictionaries(
            {},
            optional={
                "filters": FILTERS,
                "sort": SORTS,
                "limit": st.integers(1, 5),
                "offset": st.integers(0, 3),
            },
        ),
    ),
    st.tuples(
        st.just("search"),
        st.fixed_dictionaries(
            {"aggregates": aggregates()},
            optional={
                "filters": FILTERS,
                "group_by": st.lists(
                    st.sampled_from(["s", "t", "i", "b", "d"]), min_size=1, max_size=2, unique=True
                ),
            },
        ),
    ),
    st.tuples(
        st.just("update"), st.builds(lambda which, data: which | {"data": data}, WHICH, ROWS.filter(bool))
    ),
    st.tuples(
        st.just("update"), st.builds(lambda which, made: which | {"operations": made}, WHICH, changes())
    ),
    st.tuples(st.just("delete"), WHICH),
)


class Model:
    """The table as it should be."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.last = 0

    def _which(self, asked: Mapping[str, Any]) -> list[Row]:
        if "id" in asked:
            return [self.rows[asked["id"]]] if asked["id"] in self.rows else []
        return [one for _, one in sorted(self.rows.items()) if model.passes(one, asked["filters"])]

    def insert(self, asked: Mapping[str, Any]) -> Any:
        data = asked["data"]
        ids = []
        for given_row in data if isinstance(data, list) else [data]:
            self.last += 1
            self.rows[self.last] = {"id": self.last, **model.row(given_row)}
            ids.append(self.last)
        return (
            {"ids": ids, "created": len(ids)} if isinstance(data, list) else {"id": ids[0], "created": True}
        )

    def select(self, asked: Mapping[str, Any]) -> Any:
        found = self._which(asked)
        if "filters" in asked:
            return model.page(model.ordered(found, None), 1_000, 0)
        return {"exists": True, "data": found[0]} if found else {"exists": False}

    def search(self, asked: Mapping[str, Any]) -> Any:
        found = self._which(asked) if "filters" in asked else list(self.rows.values())
        limit, offset = asked.get("limit", 100), asked.get("offset", 0)
        if "aggregates" not in asked:
            return model.page(model.ordered(found, asked.get("sort")), limit, offset)
        if "group_by" in asked:
            return model.page(model.grouped(found, asked["aggregates"], asked["group_by"]), limit, offset)
        named = model.aggregated(found, asked["aggregates"])
        return {**named, "aggregates": named}

    def update(self, asked: Mapping[str, Any]) -> Any:
        found = self._which(asked)
        made = asked.get("operations") or {name: {"$set": one} for name, one in asked["data"].items()}
        try:
            # Each field is looked at in all rows before the next one.
            for name, one in made.items():
                for row in found:
                    model.changed(row, {name: one})
        except model.OutOfRange as error:
            name, row_id = error.args
            return f"Field '{name}': The result is out of range for row {row_id}"
        for row in found:
            self.rows[row["id"]] = model.changed(row, made)
        if "filters" in asked:
            return {"updated": bool(found), "updated_count": len(found)}
        return {"id": asked["id"], "updated": True} if found else {"exists": False, "updated": False}

    def delete(self, asked: Mapping[str, Any]) -> Any:
        found = self._which(asked)
        for row in found:
            del self.rows[row["id"]]
        answer: dict[str, Any] = {"deleted": bool(found)}
        return answer | {"deleted_count": len(found)} if "filters" in asked else answer


def plain(answer: Any) -> Any:
    """An answer without moments of writing, floats rounded: engines add them up in different orders."""
    if isinstance(answer, dict):
        return {key: plain(one) for key, one in answer.items() if key not in ("created_at", "updated_at")}
    if isinstance(answer, list):
        return list(map(plain, answer))
    if isinstance(answer, float) and answer and math.isfinite(answer):
        return float(f"{answer:.12g}")
    return answer


async def follow(dbs: list[Database], number: int, operations: list[Any]) -> None:
    """Do the operations in a plugin of the example's own, and compare each answer with the model's."""
    stores = [db.rows.for_plugin(f"p{number}") for db in dbs]
    for store in stores:
        fields = {name: {"type": type_name} for name, type_name in TYPES.items()}
        await store.register({"table": "t", "fields": fields, "indexes": ["i", ["s", "b"]]})
    expected = Model()
    for place, (name, asked) in enumerate(operations):
        wanted = plain(getattr(expected, name)(asked))
        for db, store in zip(dbs, stores, strict=True):
            try:
                answer = await getattr(store, name)("t", **asked)
            except RowsError as error:
                answer = error.message
            assert plain(answer) == wanted, f"{place}: {name} {asked} on {db.name}"
        SEEN["operations"] += 1
        SEEN["refused"] += isinstance(wanted, str)
    for db, store in zip(dbs, stores, strict=True):
        rows = (await store.search("t", limit=1_000))["rows"]
        assert plain(rows) == plain([one for _, one in sorted(expected.rows.items())]), db.name
        SEEN["rows"] += len(rows)
    SEEN["examples"] += 1


@pytest.mark.slow
@pytest.mark.row("R13", weight=0.3)
def test_the_answers_are_those_of_the_model(
    tmp_path: Path, postgres_url: str, figure: Callable[[str], None]
) -> None:
    SEEN.clear()

    async def opened(stack: AsyncExitStack) -> list[Database]:
        places = (tmp_path / "agents.db", ":memory:", postgres_url)
        dbs = [Database(place, environment="test", durability="normal") for place in places]
        return [await stack.enter_async_context(db) for db in dbs]

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        dbs = runner.run(opened(stack))
        numbers = iter(range(10**9))

        @settings(
            max_examples=EXAMPLES,
            phases=PHASES,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(st.lists(ROWS, min_size=1, max_size=6), st.lists(OPERATIONS, min_size=1, max_size=12))
        def answered(rows: list[Any], operations: list[Any]) -> None:
            runner.run(follow(dbs, next(numbers), [("insert", {"data": rows}), *operations]))

        try:
            answered()
        finally:
            runner.run(stack.aclose())
    figure(
        f"R13: rows: {SEEN['examples']} sequences of {SEEN['operations']:,} operations, {SEEN['refused']:,} "
        "of them refused: every engine answers as the model does"
    )
