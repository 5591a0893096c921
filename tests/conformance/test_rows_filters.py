"""Filters, order and aggregates: which rows are meant, in words of the contract, the same on every engine."""

from __future__ import annotations

from typing import Any

import pytest

from abathur.rows import Store
from tests.conformance.rows import refused

ROWS = [
    {"name": "Alice", "score": 5, "ratio": 0.5, "done": True, "due": "2026-01-01"},
    {"name": "bob", "score": 10, "body": "text", "due": "2026-01-02T00:00:00+02:00"},
    {"name": "Bob", "score": None, "ratio": 2, "done": False},
    {"name": "100%", "score": -3, "ratio": -1.5, "body": "a_b"},
    {"name": "äö", "score": 5, "done": True, "body": ""},
]


@pytest.fixture
async def filled(store: Store) -> Store:
    await store.insert("items", ROWS)
    return store


async def found(store: Store, filters: Any, **options: Any) -> list[int]:
    return [one["id"] for one in (await store.search("items", filters, **options))["rows"]]


MEANT: list[tuple[dict[str, Any], list[int]]] = [
    ({"name": "bob"}, [2]),
    ({"score": "5"}, [1, 5]),
    ({"score": None}, [3]),
    ({"score": 5, "done": True, "name": "Alice"}, [1]),
    ({"score": {"$eq": 5}}, [1, 5]),
    ({"score": {"$eq": None}}, [3]),
    ({"score": {"$ne": 5}}, [2, 3, 4]),
    ({"score": {"$ne": None}}, [1, 2, 4, 5]),
    ({"score": {"$gt": 5}}, [2]),
    ({"score": {"$gte": 5, "$lt": 10}}, [1, 5]),
    ({"score": {"$lte": -3}}, [4]),
    ({"ratio": {"$gt": 0}}, [1, 3]),
    ({"due": {"$lt": "2026-01-01T23:00:00Z"}}, [1, 2]),
    ({"due": {"$gte": "2026-01-01T22:00:00Z"}}, [2]),
    ({"score": {"$in": [5, -3]}}, [1, 4, 5]),
    ({"score": {"$in": [10, None]}}, [2, 3]),
    ({"score": {"$nin": [5, -3]}}, [2, 3]),
    ({"score": {"$nin": [5, None]}}, [2, 4]),
    ({"score": {"$in": [None]}}, [3]),
    ({"done": {"$in": ["yes", 0]}}, [1, 3, 5]),
    ({"name": {"$like": "%ob"}}, [2, 3]),
    ({"name": {"$like": "b%"}}, [2]),
    ({"name": {"$like": "B__"}}, [3]),
    ({"name": {"$ilike": "b%"}}, [2, 3]),
    ({"name": {"$ilike": "ALICE"}}, [1]),
    ({"name": {"$like": "100\\%"}}, [4]),
    ({"body": {"$like": "a\\_b"}}, [4]),
    ({"body": {"$like": "a_b"}}, [4]),
    ({"name": {"$like": "__"}}, [5]),
    ({"name": {"$ilike": "Ä%"}}, []),  # only ASCII has two cases
    ({"body": {"$like": ""}}, [5]),
    ({"name": {"$like": "*"}}, []),
    ({"body": {"$exists": True}}, [2, 4, 5]),
    ({"body": {"$exists": False}}, [1, 3]),
    ({"body": {"$null": True}}, [1, 3]),
    ({"body": {"$null": False}}, [2, 4, 5]),
    ({"$and": [{"score": {"$gte": 0}}, {"done": True}]}, [1, 5]),
    ({"$or": [{"score": 10}, {"name": "Bob"}]}, [2, 3]),
    ({"$not": {"score": 5}}, [2, 3, 4]),
    ({"$not": {"score": {"$gt": 0}, "done": True}}, [2, 3, 4]),
    ({"score": {"$not": {"$gte": 5}}}, [3, 4]),
    ({"$not": {"$or": [{"score": 5}, {"score": None}]}}, [2, 4]),
    ({"$not": {"$not": {"score": 5}}}, [1, 5]),
    ({"$not": {"name": {"$like": "%o%"}}}, [1, 4, 5]),
    ({"id": {"$in": [2, 4, 99]}}, [2, 4]),
    ({"id": {"$gt": 3}, "created_at": {"$gt": "2000-01-01"}}, [4, 5]),
    ({"updated_at": {"$lt": "2000-01-01"}}, []),
]


async def test_a_filter_means_these_rows(filled, subtests):
    for filters, ids in MEANT:
        with subtests.test(str(filters)):
            assert await found(filled, filters) == ids
            answer = await filled.select("items", filters=filters)
            assert ([one["id"] for one in answer["rows"]], answer["count"]) == (ids, len(ids))
            assert answer["truncated"] is False


async def test_several_fields_in_one_branch_of_or_all_have_to_hold(filled):
    """An older service took each field for a branch of its own."""
    assert await found(filled, {"$or": [{"score": 5, "name": "Alice"}, {"score": 10, "name": "Alice"}]}) == [
        1
    ]


async def test_keys_beside_and_or_and_not_have_to_hold_too(filled):
    """An older service left them out."""
    assert await found(filled, {"name": "Alice", "$and": [{"score": 5}]}) == [1]
    assert await found(filled, {"name": "Alice", "$or": [{"score": 5}, {"score": 10}]}) == [1]
    assert await found(filled, {"name": "Alice", "$not": {"score": 10}}) == [1]
    assert await found(filled, {"$and": [{"score": 5}], "$or": [{"name": "Alice"}, {"name": "Bob"}]}) == [1]
    assert await found(filled, {"$not": {"name": "Alice"}, "$and": [{"score": 5}], "done": True}) == [5]


def nested(levels: int, key: str = "$and") -> Any:
    filters: Any = {"score": 5}
    for _ in range(levels):
        filters = {key: filters if key == "$not" else [filters]}
    return filters


async def test_a_filter_is_nested_to_depth_ten(filled):
    assert await found(filled, nested(10)) == [1, 5]
    assert await found(filled, nested(10, "$not")) == [1, 5]
    for key in ("$and", "$or", "$not"):
        assert "nested deeper than 10 levels" in await refused(filled.search("items", nested(11, key)))
    inside: Any = {"$eq": 5}
    for _ in range(11):
        inside = {"$not": inside}
    assert "nested deeper than 10 levels" in await refused(filled.search("items", {"score": inside}))


KNOWN = "Known fields: body, created_at, done, due, id, name, ratio, score, updated_at"
WRONG: list[tuple[Any, str]] = [
    ({}, "The filter is empty"),
    ([], "The filter must be an object, not a list"),
    ("score", "The filter must be an object, not text"),
    ({"nope": 1}, f"Unknown field: nope. {KNOWN}"),
    ({"$and": [{"nope": 1}]}, f"Unknown field: nope. {KNOWN}"),
    ({'"; DROP TABLE tasks; --': 1}, "Unknown field: '\"; DROP TABLE tasks; --'. Known fields: "),
    ({3: 1}, "The filter has the key 3"),
    ({"$nor": [{"score": 1}]}, "Unknown operator: '$nor'. Known operators: $and, $or, $not"),
    ({"$and": []}, "$and needs a list of conditions that is not empty"),
    ({"$or": {"score": 1}}, "$or needs a list of conditions that is not empty"),
    ({"$or": [{}]}, "A condition of $or is empty"),
    ({"$or": [5]}, "A condition of $or must be an object, not a number"),
    ({"$not": {}}, "The condition of $not is empty"),
    ({"$not": [{"score": 1}]}, "The condition of $not must be an object, not a list"),
    ({"score": {}}, "Field 'score': The condition is empty"),
    ({"score": {"$not": 5}}, "Field 'score': $not needs an object"),
    ({"score": {"$gt": 1, "x": 2}}, "Field 'score': Unknown operator: 'x'. Known operators: $eq, $ne, $gt"),
    ({"score": {"$regex": "x"}}, "Field 'score': Unknown operator: '$regex'"),
    ({"score": "x"}, "Field 'score': Cannot convert value to integer: 'x' is no whole number"),
    ({"score": [1]}, "Field 'score': Cannot convert value to integer: it is a list"),
    ({"score": {"$eq": {"a": 1}}}, "Field 'score': Cannot convert value to integer: it is an object"),
    ({"score": {"$gt": None}}, "Field 'score' cannot be compared with null"),
    ({"name": {"$gt": "a"}}, "Field 'name': $gt is for numbers and datetimes, not for string"),
    ({"done": {"$lt": True}}, "Field 'done': $lt is for numbers and datetimes, not for boolean"),
    ({"score": {"$in": []}}, "Field 'score': $in needs a list that is not empty"),
    ({"score": {"$in": 5}}, "Field 'score': $in needs a list that is not empty, not a number"),
    ({"score": {"$nin": [[1]]}}, "Field 'score': Cannot convert value to integer: it is a list"),
    ({"score": {"$like": "5"}}, "Field 'score': $like is for text, not for integer"),
    ({"name": {"$like": 5}}, "Field 'name': $like needs text, not a number"),
    ({"name": {"$ilike": None}}, "Field 'name': $ilike needs text, not null"),
    ({"name": {"$like": "a\\"}}, "Field 'name': $like ends with a backslash"),
    ({"name": {"$like": "x" * 1_001}}, "Field 'name': $like has a pattern of 1,001 characters"),
    ({"name": "a\0"}, "The text holds a NUL character"),
    ({"name": {"$like": "\0"}}, "The pattern holds a NUL character"),
    ({"name": {"$exists": 1}}, "Field 'name': $exists needs true or false, not 1"),
    (
        {"due": {"$gt": "yesterday"}},
        "Field 'due': Cannot convert value to datetime: 'yesterday' is no moment",
    ),
    ({"$or": [{"score": n} for n in range(501)]}, "The filter has too many conditions"),
]


async def test_a_filter_that_is_none_is_refused(filled, subtests):
    for filters, message in WRONG:
        with subtests.test(message):
            assert (await refused(filled.search("items", filters))).startswith(message)
            assert (await refused(filled.select("items", filters=filters))).startswith(message)
            assert (await refused(filled.delete("items", filters=filters))).startswith(message)
            assert (await refused(filled.update("items", filters=filters, data={"score": 1}))).startswith(
                message
            )
    assert (await filled.search("items"))["count"] == 5


async def test_a_filter_may_have_many_conditions_and_values(filled):
    filters: Any = {"$or": [{"score": n} for n in range(400)], "id": {"$in": list(range(4_000))}}
    assert await found(filled, filters) == [1, 2, 5]


# -- order and pages -------------------------------------------------------------------------------


async def test_rows_are_sorted_with_null_below_everything(filled):
    assert await found(filled, None) == [1, 2, 3, 4, 5]
    assert await found(filled, None, sort={"field": "score"}) == [3, 4, 1, 5, 2]
    assert await found(filled, None, sort={"field": "score", "order": "desc"}) == [2, 1, 5, 4, 3]
    both = [{"field": "done", "order": "desc"}, {"field": "name", "order": "ASC"}]
    assert await found(filled, None, sort=both) == [1, 5, 3, 4, 2]
    assert await found(filled, None, sort={"field": "name"}) == [4, 1, 3, 2, 5], "by code points"
    assert await found(filled, None, sort={"field": "id", "order": "desc"}) == [5, 4, 3, 2, 1]


async def test_rows_come_in_pages(filled):
    answer = await filled.search("items", limit=2)
    assert ([one["id"] for one in answer["rows"]], answer["count"], answer["truncated"]) == ([1, 2], 2, True)
    answer = await filled.search("items", limit=2, offset=3)
    assert ([one["id"] for one in answer["rows"]], answer["count"], answer["truncated"]) == ([4, 5], 2, False)
    assert await filled.search("items", offset=9) == {"rows": [], "count": 0, "truncated": False}
    await filled.insert("items", [{"name": "x"}] * 1_100)
    answer = await filled.search("items", limit=5_000)
    assert (answer["count"], answer["truncated"]) == (1_000, True)
    assert (await filled.search("items"))["count"] == 100


PAGES: list[tuple[dict[str, Any], str]] = [
    ({"limit": 0}, "limit must be a whole number from 1 on, not 0"),
    ({"limit": "5"}, "limit must be a whole number from 1 on, not '5'"),
    ({"limit": True}, "limit must be a whole number from 1 on, not true"),
    ({"limit": None}, "limit must be a whole number from 1 on, not null"),
    ({"offset": -1}, "offset must be a whole number from 0 on, not -1"),
    ({"offset": 1.0}, "offset must be a whole number from 0 on, not 1.0"),
    ({"offset": 2**70}, "offset must be a whole number from 0 on"),
    ({"sort": []}, "sort has 0 fields"),
    ({"sort": "score"}, "sort must be an object, not text"),
    ({"sort": {}}, "sort names no field"),
    ({"sort": {"field": "nope"}}, f"Unknown field: nope in sort. {KNOWN}"),
    ({"sort": {"field": "score", "order": "up"}}, "Field 'score': order must be asc or desc, not 'up'"),
    ({"sort": {"field": "score", "order": 1}}, "Field 'score': order must be asc or desc, not 1"),
    ({"sort": {"field": "score", "by": "x"}}, "sort has the key 'by'"),
    ({"sort": [{"field": ["score"]}]}, "Unknown field: a list in sort"),
]


async def test_an_order_or_page_that_is_none_is_refused(filled, subtests):
    for options, message in PAGES:
        with subtests.test(message):
            assert (await refused(filled.search("items", **options))).startswith(message)


# -- aggregates ------------------------------------------------------------------------------------


async def test_aggregates_are_named_values(filled):
    wanted = {
        "n": {"$count": "*"},
        "scored": {"$count": "score"},
        "total": {"$sum": "score"},
        "average": {"$avg": "score"},
        "low": {"$min": "score"},
        "high": {"$max": "score"},
        "ratios": {"$sum": "ratio"},
        "first": {"$min": "name"},
        "latest": {"$max": "due"},
        "any": {"$max": "done"},
    }
    named = {
        "n": 5,
        "scored": 4,
        "total": 17,
        "average": 4.25,
        "low": -3,
        "high": 10,
        "ratios": 1.0,
        "first": "100%",
        "latest": "2026-01-01T22:00:00.000000+00:00",
        "any": True,
    }
    assert await filled.search("items", aggregates=wanted) == {**named, "aggregates": named}
    some = await filled.search(
        "items", {"score": 5}, aggregates={"n": {"$count": "*"}, "s": {"$sum": "score"}}
    )
    assert (some["n"], some["s"]) == (2, 10)
    none = await filled.search("items", {"id": 99}, aggregates={"n": {"$count": "*"}, "s": {"$sum": "score"}})
    assert (none["n"], none["s"]) == (0, None)


async def test_aggregates_of_groups_are_rows(filled):
    wanted = {"n": {"$count": "*"}, "total": {"$sum": "score"}}
    assert await filled.search("items", aggregates=wanted, group_by="done") == {
        "rows": [
            {"done": None, "n": 2, "total": 7},
            {"done": False, "n": 1, "total": None},
            {"done": True, "n": 2, "total": 10},
        ],
        "count": 3,
        "truncated": False,
    }
    by_total = {"field": "total", "order": "desc"}
    answer = await filled.search("items", aggregates=wanted, group_by=["done"], sort=by_total, limit=1)
    assert answer == {"rows": [{"done": True, "n": 2, "total": 10}], "count": 1, "truncated": True}
    answer = await filled.search("items", aggregates=wanted, group_by=["score", "done"], limit=2, offset=1)
    assert answer["rows"] == [
        {"score": -3, "done": None, "n": 1, "total": -3},
        {"score": 5, "done": True, "n": 2, "total": 10},
    ]


async def test_a_group_may_have_any_name(db):
    store = db.rows.for_plugin("quotes")
    names = ["a0_0", "a0_1", "order", "xmin", "n"]
    await store.register({"table": "t", "fields": {name: {"type": "integer"} for name in names}})
    await store.insert("t", [dict.fromkeys(names, n) for n in (3, 1, 3)])
    wanted = {"total": {"$sum": "a0_1"}, "order_by": {"$max": "order"}}
    for name in names:
        answer = await store.search(
            "t", aggregates=wanted, group_by=name, sort={"field": "total", "order": "desc"}
        )
        assert answer["rows"] == [{name: 3, "total": 6, "order_by": 3}, {name: 1, "total": 1, "order_by": 1}]


async def test_a_sum_of_whole_numbers_is_exact_however_large(filled):
    await filled.insert("items", [{"name": "big", "score": 2**63 - 1}] * 3)
    wanted = {"total": {"$sum": "score"}, "average": {"$avg": "score"}}
    answer = await filled.search("items", {"name": "big"}, aggregates=wanted)
    assert (answer["total"], answer["average"]) == (3 * (2**63 - 1), float(2**63 - 1))
    await filled.insert("items", [{"name": "low", "score": -(2**63)}] * 3)
    assert (await filled.search("items", {"name": "low"}, aggregates=wanted))["total"] == -3 * 2**63


async def test_a_sum_that_no_float_can_hold_is_refused(filled):
    await filled.insert("items", [{"name": "big", "ratio": 1.7e308}] * 2)
    message = "Field 'ratio': The sum is out of range"
    assert await refused(filled.search("items", aggregates={"t": {"$sum": "ratio"}})) == message
    assert await refused(filled.search("items", aggregates={"t": {"$avg": "ratio"}})) == message
    assert (await filled.search("items", aggregates={"t": {"$max": "ratio"}}))["t"] == 1.7e308


AGGREGATES: list[tuple[Any, str]] = [
    ({}, "aggregates has 0 names"),
    ([], "aggregates must be an object, not a list"),
    ({"N": {"$count": "*"}}, "Invalid field name: 'N'"),
    ({"success": {"$count": "*"}}, "An aggregate cannot be called success"),
    ({"n": "$count"}, "The aggregate 'n' must be an object, not text"),
    ({"n": {}}, "The aggregate 'n' has 0 functions"),
    ({"n": {"$count": "*", "$sum": "score"}}, "The aggregate 'n' has 2 functions"),
    ({"n": {"$median": "score"}}, "The aggregate 'n': Unknown function: '$median'. Known functions: $count"),
    ({"n": {"$sum": "*"}}, "Unknown field: '*' in the aggregate 'n'. Known fields: "),
    ({"n": {"$sum": "nope"}}, f"Unknown field: nope in the aggregate 'n'. {KNOWN}"),
    ({"n": {"$sum": "name"}}, "Field 'name': $sum is for numbers, not for string"),
    ({"n": {"$avg": "due"}}, "Field 'due': $avg is for numbers, not for datetime"),
]


async def test_an_aggregate_that_is_none_is_refused(filled, subtests):
    for aggregates, message in AGGREGATES:
        with subtests.test(message):
            assert (await refused(filled.search("items", aggregates=aggregates))).startswith(message)
    count = {"n": {"$count": "*"}}
    nope = filled.search("items", aggregates=count, group_by="nope")
    assert (await refused(nope)).startswith(f"Unknown field: nope in group_by. {KNOWN}")
    assert (await refused(filled.search("items", aggregates=count, group_by=[]))).startswith(
        "group_by must be"
    )
    twice = filled.search("items", aggregates={"score": {"$count": "*"}}, group_by="score")
    assert await refused(twice) == "'score' is both an aggregate and a field of group_by"
    await refused(filled.search("items", group_by="score"), "MISSING_FIELD")
    strange = filled.search("items", aggregates=count, group_by="done", sort={"field": "score"})
    assert (await refused(strange)).startswith("Unknown field: score in sort. Known fields: done, n")
