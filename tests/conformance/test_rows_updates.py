"""Rows of plugins are updated by data and by operators, all of a call or none."""

from __future__ import annotations

import asyncio

from abathur.errors import (
    MissingFieldError,
    RowsError,
    RowValidationError,
    UnknownTableError,
    ValueTooLargeError,
)
from tests.conformance.checks import pass_time
from tests.conformance.rows import refused, row


async def test_an_update_changes_what_it_names_and_when_it_was(db, store):
    await store.insert("items", {"name": "x", "score": 3})
    before = await row(store, 1)
    await pass_time(db, 5)
    assert await store.update("items", 1, {"score": "4"}) == {"id": 1, "updated": True}
    after = await row(store, 1)
    assert after["updated_at"] > before["updated_at"]
    assert after == before | {"score": 4, "updated_at": after["updated_at"]}
    assert await store.update("items", 9, {"score": 4}) == {"exists": False, "updated": False}
    assert await store.update("items", filters={"score": 4}, data={"done": True}) == {
        "updated": True,
        "updated_count": 1,
    }
    assert await store.update("items", filters={"score": 5}, data={"done": True}) == {
        "updated": False,
        "updated_count": 0,
    }


WRONG_UPDATES = [
    ({}, "The data is empty"),
    ({"nope": 1}, "Unknown field: nope"),
    ({"name": None}, "Field 'name' cannot be null"),
    ({"id": 5}, "Field 'id' cannot be changed"),
    ({"created_at": "2026-01-01"}, "Field 'created_at' cannot be changed"),
    ({"updated_at": "2026-01-01"}, "Field 'updated_at' cannot be changed"),
    ({"score": "x"}, "Field 'score': Cannot convert value to integer: 'x' is no whole number"),
    ([{"score": 1}], "The data must be an object, not a list"),
]


async def test_an_update_that_does_not_fit_is_refused(store, subtests):
    await store.insert("items", {"name": "x", "score": 3})
    before = await row(store, 1)
    for data, message in WRONG_UPDATES:
        with subtests.test(message):
            assert (await refused(store.update("items", 1, data))).startswith(message)
            assert (await refused(store.update("items", filters={"score": 3}, data=data))).startswith(message)
            assert await row(store, 1) == before


async def test_data_or_operations_and_an_id_or_filters(store):
    assert await refused(store.update("items", 1), "MISSING_FIELD") == "Required field 'data' is missing"
    both = store.update("items", 1, {"score": 1}, {"score": {"$inc": 1}})
    assert await refused(both) == "There are both data and operations"
    assert (
        await refused(store.update("items", data={"score": 1}), "MISSING_FIELD")
        == "Required field 'id' is missing"
    )


async def test_an_immutable_field_is_given_once(db):
    store = db.rows.for_plugin("quotes")
    fields = {"a": {"type": "integer"}, "b": {"type": "integer"}}
    await store.register({"table": "t", "fields": fields, "immutable_fields": ["a"]})
    await store.insert("t", {"a": 1, "b": 1})
    assert await refused(store.update("t", 1, {"a": 2})) == "Field 'a' cannot be changed"
    assert await refused(store.update("t", 1, operations={"a": {"$inc": 2}})) == "Field 'a' cannot be changed"
    await store.update("t", 1, {"b": 2})


OPERATED = [
    ("score", 5, {"$set": "7"}, 7),
    ("score", 5, {"$set": None}, None),
    ("score", 5, {"$inc": 2}, 7),
    ("score", None, {"$inc": 2}, 2),
    ("score", 5, {"$inc": -7.0}, -2),
    ("score", 5, {"$dec": 2}, 3),
    ("score", None, {"$dec": 2}, -2),
    ("score", 5, {"$mul": 3}, 15),
    ("score", None, {"$mul": 3}, 0),
    ("score", 5, {"$mul": -1}, -5),
    ("ratio", 1.5, {"$inc": 1}, 2.5),
    ("ratio", 1.5, {"$mul": 0.5}, 0.75),
    ("ratio", None, {"$mul": -2}, 0.0),
    ("score", 5, {"$max": 7}, 7),
    ("score", 5, {"$max": 3}, 5),
    ("score", None, {"$max": 3}, 3),
    ("score", 5, {"$min": 3}, 3),
    ("score", 5, {"$min": 7}, 5),
    ("score", None, {"$min": 7}, 7),
    ("ratio", 1.5, {"$max": 2}, 2.0),
    ("ratio", 1.5, {"$min": 2}, 1.5),
    ("due", "2026-01-02", {"$max": "2026-01-03"}, "2026-01-03T00:00:00.000000+00:00"),
    ("due", "2026-01-02", {"$min": "2026-01-01T22:00:00-02:00"}, "2026-01-02T00:00:00.000000+00:00"),
    ("score", 2**63 - 2, {"$inc": 1}, 2**63 - 1),
    ("score", -(2**63) + 1, {"$dec": 1}, -(2**63)),
    ("score", 2**62, {"$mul": -2}, -(2**63)),
    ("score", 2**62 - 1, {"$mul": 2}, 2**63 - 2),
]


async def test_an_operator_makes_a_new_value_of_the_old_one(store, subtests):
    for field, before, operation, after in OPERATED:
        with subtests.test(f"{field} {before} {operation}"):
            ids = (await store.insert("items", [{"name": "x", field: before}, {"name": "y", field: before}]))[
                "ids"
            ]
            assert await store.update("items", ids[0], operations={field: operation}) == {
                "id": ids[0],
                "updated": True,
            }
            assert (await row(store, ids[0]))[field] == after
            ((operator, operand),) = operation.items()
            await store.update("items", filters={"id": ids[1]}, operations={operator: {field: operand}})
            assert (await row(store, ids[1]))[field] == after


WRONG_OPERATIONS = [
    ({}, "The operations are empty"),
    ({"score": {}}, "The operation score is empty"),
    ({"score": 5}, "The operation score must be an object, not a number"),
    ({"score": {"$push": 1}}, "Field 'score': Unknown operator: '$push'. Known operators: $set, $inc"),
    ({"score": {"$inc": 1, "$mul": 2}}, "Field 'score' has two operators"),
    ({"score": {"$inc": 1}, "$set": {"score": 2}}, "Field 'score' has two operators"),
    ({"nope": {"$inc": 1}}, "Unknown field: nope"),
    ({"id": {"$inc": 1}}, "Field 'id' cannot be changed"),
    ({"name": {"$inc": 1}}, "Field 'name': $inc is for numbers, not for string"),
    ({"due": {"$inc": 1}}, "Field 'due': $inc is for numbers, not for datetime"),
    ({"name": {"$max": "x"}}, "Field 'name': $max is for numbers and datetimes, not for string"),
    ({"done": {"$max": True}}, "Field 'done': $max is for numbers and datetimes, not for boolean"),
    ({"score": {"$inc": None}}, "Field 'score': $inc needs a value, not null"),
    ({"score": {"$inc": "x"}}, "Field 'score': Cannot convert value to integer: 'x' is no whole number"),
    ({"score": {"$inc": 0.5}}, "Field 'score': Cannot convert value to integer: 0.5 is no whole number"),
    (
        {"score": {"$set": "seven"}},
        "Field 'score': Cannot convert value to integer: 'seven' is no whole number",
    ),
    ({"name": {"$set": None}}, "Field 'name' cannot be null"),
    ({"name": {"$set": "x" * 21}}, "Field 'name': 21 characters are more than 20"),
    ({"score": {"$dec": -(2**63)}}, "Field 'score': $dec by -9223372036854775808 is out of range"),
]


async def test_an_operation_that_does_not_fit_is_refused(store, subtests):
    """`$set` of a wrong type was stored by an older service."""
    await store.insert("items", {"name": "x", "score": 3})
    before = await row(store, 1)
    for operations, message in WRONG_OPERATIONS:
        with subtests.test(message):
            assert (await refused(store.update("items", 1, operations=operations))).startswith(message)
            assert await row(store, 1) == before


TOO_LARGE = [
    ("score", 2**63 - 1, {"$inc": 1}),
    ("score", -(2**63), {"$dec": 1}),
    ("score", 2**62, {"$mul": 2}),
    ("score", -(2**63), {"$mul": -1}),
    ("score", 2**62 + 1, {"$mul": -2}),
    ("ratio", 1e308, {"$inc": 1e308}),
    ("ratio", 1e200, {"$mul": 1e200}),
    ("ratio", 1e-200, {"$mul": 1e-200}),
]


async def test_a_result_that_no_field_can_hold_is_refused_and_changes_no_row(store, subtests):
    for place, (field, before, operation) in enumerate(TOO_LARGE):
        with subtests.test(f"{field} {before} {operation}"):
            name = f"n{place}"
            ids = (await store.insert("items", [{"name": name, field: 1}, {"name": name, field: before}]))[
                "ids"
            ]
            message = await refused(
                store.update("items", filters={"name": name}, operations={field: operation})
            )
            assert message == f"Field '{field}': The result is out of range for row {ids[1]}"
            assert await refused(store.update("items", ids[1], operations={field: operation})) == message
            found = (await store.search("items", {"name": name}))["rows"]
            assert [one[field] for one in found] == [1, before]


async def test_a_value_that_is_too_long_for_any_field_is_too_large(store):
    await refused(store.insert("items", {"name": "x", "body": "b" * (1024 * 1024 + 1)}), "VALUE_TOO_LARGE")
    await store.insert("items", {"name": "x", "body": "b" * 1024 * 1024})
    assert len((await row(store, 1))["body"]) == 1024 * 1024


async def test_the_classes_of_errors_say_what_they_are():
    assert issubclass(UnknownTableError, LookupError)
    assert issubclass(RowValidationError, ValueError)
    assert issubclass(MissingFieldError, ValueError)
    assert issubclass(ValueTooLargeError, RowsError)


async def test_of_many_at_once_only_the_one_that_is_wrong_is_refused(db):
    store = db.rows.for_plugin("quotes")
    fields = {"n": {"type": "integer"}, "a": {"type": "string"}}
    await store.register({"table": "t", "fields": fields, "unique": ["a"]})
    await store.insert("t", [{"n": n, "a": f"a{n}"} for n in range(6)])
    answers = await asyncio.gather(
        store.update("t", 1, operations={"n": {"$inc": 1}}),
        store.update("t", 2, operations={"n": {"$mul": 2**62}}),
        store.update("t", 3, operations={"n": {"$mul": 2**62}}),
        store.update("t", 4, {"a": "a1"}),
        store.delete("t", 5),
        store.update("t", filters={"id": 6}, data={"a": "new"}, request_id="r"),
        store.update("t", filters={"id": 6}, data={"a": "new"}, request_id="r"),
        store.insert("t", {"a": "a1"}),
        store.insert("t", {"a": "a9"}),
        return_exceptions=True,
    )
    told = [answer.message if isinstance(answer, Exception) else answer for answer in answers]
    assert told == [
        {"id": 1, "updated": True},
        {"id": 2, "updated": True},
        "Field 'n': The result is out of range for row 3",
        "A row with the same a exists already",
        {"deleted": True},
        {"updated": True, "updated_count": 1},
        {"updated": True, "updated_count": 1},
        "A row with the same a exists already",
        told[8],
    ]
    found = (await store.search("t"))["rows"]
    assert [(one["n"], one["a"]) for one in found[:5]] == [
        (1, "a0"), (2**62, "a1"), (2, "a2"), (3, "a3"), (5, "new"),
    ]  # fmt: skip
    assert (found[5]["id"], found[5]["a"]) == (told[8]["id"], "a9")
