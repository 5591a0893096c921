"""Rows of plugins are inserted, read and deleted, and each is refused that does not fit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from abathur.errors import (
    RowConflictError,
)
from tests.conformance.checks import pass_time
from tests.conformance.rows import FIELDS, refused, row


async def test_a_row_is_stored_with_defaults_and_moments(store):
    assert await store.insert("items", {"name": "first"}) == {"id": 1, "created": True}
    found = await row(store, 1)
    assert list(found) == ["id", "name", "body", "score", "ratio", "done", "due", "created_at", "updated_at"]
    assert (found["body"], found["score"], found["ratio"], found["done"]) == (None, 0, None, None)
    created = datetime.fromisoformat(found["created_at"])
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=5)
    assert found["updated_at"] == found["created_at"]


async def test_an_explicit_null_is_no_default(store):
    await store.insert("items", {"name": "x", "score": None})
    assert (await row(store, 1))["score"] is None


async def test_rows_of_one_batch_may_have_different_keys(store):
    """An older service stored them with the keys of the first one."""
    rows = [
        {"name": "a", "score": 1},
        {"ratio": 2.5, "name": "b"},
        {"name": "c", "done": True, "body": "text"},
    ]
    assert await store.insert("items", rows) == {"ids": [1, 2, 3], "created": 3}
    found = (await store.search("items"))["rows"]
    assert [(one["name"], one["score"], one["ratio"], one["done"], one["body"]) for one in found] == [
        ("a", 1, None, None, None),
        ("b", 0, 2.5, None, None),
        ("c", 0, None, True, "text"),
    ]


WRONG_ROWS = [
    ({"name": "x", "nope": 1}, "Unknown field: nope"),
    ({}, "Missing required field: name"),
    ({"score": 1}, "Missing required field: name"),
    ({"name": None}, "Field 'name' cannot be null"),
    ({"name": "x" * 21}, "Field 'name': 21 characters are more than 20"),
    ({"name": "x", "id": 7}, "Field 'id' is set by the service"),
    ({"name": "x", "created_at": "2026-01-01"}, "Field 'created_at' is set by the service"),
    ({"name": "a\0b"}, "The text holds a NUL character"),
    ({"name": "\ud800"}, "The text holds a lone surrogate"),
    ({"name": ["x"]}, "Field 'name': Cannot convert value to string: a list is no text"),
    (
        {"name": "x", "score": "12a"},
        "Field 'score': Cannot convert value to integer: '12a' is no whole number",
    ),
    ({"name": "x", "score": 1.5}, "Field 'score': Cannot convert value to integer: 1.5 is no whole number"),
    (
        {"name": "x", "score": True},
        "Field 'score': Cannot convert value to integer: a boolean is no whole number",
    ),
    (
        {"name": "x", "score": 2**63},
        "Field 'score': Cannot convert value to integer: 9223372036854775808 does not",
    ),
    ({"name": "x", "ratio": "fast"}, "Field 'ratio': Cannot convert value to float: 'fast' is no number"),
    (
        {"name": "x", "ratio": float("nan")},
        "Field 'ratio': Cannot convert value to float: nan is no finite number",
    ),
    ({"name": "x", "ratio": 10**400}, "Field 'ratio': Cannot convert value to float: "),
    (
        {"name": "x", "done": "maybe"},
        "Field 'done': Cannot convert value to boolean: 'maybe' is neither true nor",
    ),
    ({"name": "x", "done": 2}, "Field 'done': Cannot convert value to boolean: 2 is neither true nor false"),
    (
        {"name": "x", "due": "soon"},
        "Field 'due': Cannot convert value to datetime: 'soon' is no moment in ISO 8601",
    ),
    (
        {"name": "x", "due": 1_700_000_000},
        "Field 'due': Cannot convert value to datetime: a number is no moment",
    ),
    ({"name": "x", "due": "0001-01-01T00:00:00+10:00"}, "Field 'due': Cannot convert value to datetime: "),
    ("text", "The data must be an object, not text"),
    ([], "A list of 0 rows cannot be inserted"),
    ({3: "x"}, "The data has the key 3"),
]


async def test_a_row_that_does_not_fit_is_refused(store, subtests):
    for data, message in WRONG_ROWS:
        with subtests.test(message[:60]):
            assert (await refused(store.insert("items", data))).startswith(message)
            assert (await store.search("items"))["count"] == 0


async def test_nothing_of_a_batch_is_stored_when_one_row_does_not_fit(store):
    rows = [{"name": "a"}, {"name": "b"}, {"name": "c", "score": "x"}]
    message = await refused(store.insert("items", rows))
    assert message == "Row 2: Field 'score': Cannot convert value to integer: 'x' is no whole number"
    assert (await store.search("items"))["count"] == 0


async def test_data_and_table_have_to_be_there(store):
    assert await refused(store.insert("items", None), "MISSING_FIELD") == "Required field 'data' is missing"
    assert await refused(store.insert(None, {}), "MISSING_FIELD") == "Required field 'table' is missing"
    assert (await refused(store.insert(7, {}))).startswith("Invalid table name: 7")


CONVERTED = [
    ("name", 5, "5"),
    ("name", 1.5, "1.5"),
    ("name", True, "true"),
    ("body", False, "false"),
    ("name", "", ""),
    ("score", "42", 42),
    ("score", "-7", -7),
    ("score", 3.0, 3),
    ("score", "+5", 5),
    ("score", 2**63 - 1, 2**63 - 1),
    ("score", -(2**63), -(2**63)),
    ("ratio", 3, 3.0),
    ("ratio", "2.5e3", 2500.0),
    ("ratio", -0.0, 0.0),
    ("ratio", 1e308, 1e308),
    ("ratio", 0.1, 0.1),
    ("done", "YES", True),
    ("done", "on", True),
    ("done", 1, True),
    ("done", "1", True),
    ("done", "true", True),
    ("done", "no", False),
    ("done", "Off", False),
    ("done", 0, False),
    ("done", "0", False),
    ("done", "False", False),
    ("due", "2026-01-31T09:30:00+02:00", "2026-01-31T07:30:00.000000+00:00"),
    ("due", "2026-01-31T09:30:00Z", "2026-01-31T09:30:00.000000+00:00"),
    ("due", "2026-01-31T09:30:00.123456", "2026-01-31T09:30:00.123456+00:00"),
    ("due", "2026-01-31", "2026-01-31T00:00:00.000000+00:00"),
    (
        "due",
        datetime(2026, 1, 31, 9, tzinfo=timezone(timedelta(hours=1))),
        "2026-01-31T08:00:00.000000+00:00",
    ),
    ("due", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999+00:00"),
    ("due", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000+00:00"),
    ("body", "Größe ☃ \U0001d518 'quoted' \"double\" ; --", "Größe ☃ \U0001d518 'quoted' \"double\" ; --"),
]


async def test_a_value_is_converted_when_it_is_inserted_updated_and_looked_for(store, subtests):
    for field, given, kept in CONVERTED:
        with subtests.test(f"{field} {given!r:.40}"):
            row_id = (await store.insert("items", {"name": "x", field: given}))["id"]
            found = await row(store, row_id)
            assert found[field] == kept
            assert type(found[field]) is type(kept)
            await store.update("items", row_id, {field: given})
            assert (await row(store, row_id))[field] == kept
            assert (await store.search("items", {field: given}))["count"] == 1
            await store.delete("items", row_id)


async def test_a_unique_value_is_taken_only_once(db):
    store = db.rows.for_plugin("quotes")
    fields = {"a": {"type": "string"}, "b": {"type": "integer"}, "xmin": {"type": "string"}}
    await store.register({"table": "t", "fields": fields, "unique": [["a", "b"], ["xmin"]]})
    await store.insert("t", [{"a": "x", "b": 1}, {"a": "x", "b": 2}, {"a": "x"}, {"a": "x"}])
    with pytest.raises(RowConflictError, match="A row with the same a, b exists already"):
        await store.insert("t", [{"a": "y"}, {"a": "x", "b": 1}])
    with pytest.raises(RowConflictError, match="A row with the same a, b exists already"):
        await store.update("t", 2, {"b": 1})
    await store.insert("t", {"xmin": "z"})
    with pytest.raises(RowConflictError, match="A row with the same xmin exists already"):
        await store.insert("t", {"xmin": "z"})
    assert (await store.search("t"))["count"] == 5


async def test_the_same_request_again_gets_the_first_answer_and_does_nothing(db, store):
    first = await store.insert("items", {"name": "x"}, request_id="r-1")
    assert await store.insert("items", {"name": "x"}, request_id="r-1") == first
    many = await store.insert("items", [{"name": "x"}, {"name": "y"}], request_id="r-2")
    assert await store.insert("items", [{"name": "x"}, {"name": "y"}], request_id="r-2") == many
    added = {"score": {"$inc": 1}}
    one = await store.update("items", 1, operations=added, request_id="r-3")
    assert await store.update("items", 1, operations=added, request_id="r-3") == one
    assert (await row(store, 1))["score"] == 1
    gone = await store.delete("items", 1, request_id="r-4")
    assert await store.delete("items", 1, request_id="r-4") == gone == {"deleted": True}
    other = db.rows.for_plugin("other")
    await other.register({"table": "items", "fields": FIELDS})
    assert await other.insert("items", {"name": "x"}, request_id="r-1") == {"id": 1, "created": True}
    assert (await store.search("items"))["count"] == 2


async def test_a_request_id_is_free_again_after_a_day(db, store):
    await store.insert("items", {"name": "x"}, request_id="r-1")
    await pass_time(db, 24 * 3600 - 60)
    assert await store.insert("items", {"name": "x"}, request_id="r-1") == {"id": 1, "created": True}
    await pass_time(db, 120)
    assert await store.insert("items", {"name": "x"}, request_id="r-1") == {"id": 2, "created": True}
    assert await store.insert("items", {"name": "x"}, request_id="r-1") == {"id": 2, "created": True}


async def test_a_request_id_for_something_else_is_a_conflict(store):
    await store.insert("items", {"name": "x"}, request_id="r-1")
    message = await refused(store.insert("items", {"name": "y"}, request_id="r-1"), "CONFLICT")
    assert message == "The request_id 'r-1' was used for another request"
    await refused(store.delete("items", 1, request_id="r-1"), "CONFLICT")
    assert (await store.search("items"))["count"] == 1


async def test_a_refused_request_is_not_remembered(store):
    await refused(store.insert("items", {"score": 1}, request_id="r-1"))
    assert (await store.insert("items", {"name": "x"}, request_id="r-1"))["id"] == 1
    for wrong in (7, "", "x" * 201, ["r"]):
        assert (await refused(store.insert("items", {"name": "x"}, request_id=wrong))).startswith(
            "request_id must be"
        )
    await refused(store.insert("items", {"name": "x"}, request_id="a\0b"))


async def test_a_row_is_read_by_its_id_or_by_filters(store):
    await store.insert("items", [{"name": f"n{n}", "score": n} for n in range(5)])
    assert await store.select("items", 99) == {"exists": False}
    assert await store.select("items", -1) == {"exists": False}
    assert (await store.select("items", "2"))["data"]["name"] == "n1"
    answer = await store.select("items", filters={"score": {"$gte": 3}})
    assert ([one["name"] for one in answer["rows"]], answer["count"], answer["truncated"]) == (
        ["n3", "n4"],
        2,
        False,
    )
    for wrong in ("x", 1.5, [1], {}, True, 2**70):
        assert (await refused(store.select("items", wrong))).startswith(
            "Field 'id': Cannot convert value to integer"
        )
    assert await refused(store.select("items"), "MISSING_FIELD") == "Required field 'id' is missing"
    assert await refused(store.select("items", 1, {"score": 1})) == "There are both id and filters"


async def test_a_row_is_deleted_once(db, store):
    await store.insert("items", [{"name": f"n{n}", "score": n} for n in range(5)])
    assert await store.delete("items", 1) == {"deleted": True}
    assert await store.delete("items", 1) == {"deleted": False}
    assert await store.delete("items", filters={"score": {"$gt": 2}}) == {"deleted": True, "deleted_count": 2}
    assert await store.delete("items", filters={"score": {"$gt": 2}}) == {
        "deleted": False,
        "deleted_count": 0,
    }
    assert [one["id"] for one in (await store.search("items"))["rows"]] == [2, 3]
    assert (await store.insert("items", {"name": "next"}))["id"] == 6
    await refused(store.delete("items"), "MISSING_FIELD")
    await refused(store.delete("items", filters={}))


async def test_the_trail_tells_of_schemas_and_of_deleted_rows(db, store):
    await store.insert("items", [{"name": "a"}, {"name": "b"}])
    await store.delete("items", filters={"name": {"$in": ["a", "b"]}})
    await store.delete("items", 7)
    await db.rows.for_plugin("quotes", actor="moderator").unregister("items")
    told = [(entry.action, entry.actor) for entry in await db.audit.list()]
    assert told == [
        ("rows.registered", "plugin:quotes"),
        ("rows.deleted", "plugin:quotes"),
        ("rows.unregistered", "moderator"),
    ]
    entry = (await db.audit.list())[1]
    assert entry.data == {"plugin": "quotes", "table": "items", "rows": 2, "ids": [1, 2]}
