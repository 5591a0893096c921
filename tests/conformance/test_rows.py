"""Row storage: schemas, rows and what is refused, in the words of the contract."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from abathur.errors import (
    MissingFieldError,
    RowConflictError,
    RowSchemaConflictError,
    RowsError,
    RowValidationError,
    UnknownTableError,
    ValueTooLargeError,
)
from tests.conformance.checks import pass_time

FIELDS = [
    {"name": "name", "type": "string", "required": True, "max_length": 20},
    {"name": "body", "type": "text"},
    {"name": "score", "type": "integer", "default": 0},
    {"name": "ratio", "type": "float"},
    {"name": "done", "type": "boolean"},
    {"name": "due", "type": "datetime"},
]


@pytest.fixture
async def store(db):
    store = db.rows.for_plugin("quotes")
    await store.register({"table": "items", "schema": {"fields": FIELDS}})
    return store


async def row(store, row_id, table="items"):
    answer = await store.select(table, row_id)
    assert answer["exists"], row_id
    return answer["data"]


async def refused(call, code="VALIDATION_ERROR"):
    """The message of a call that is refused with this code."""
    with pytest.raises(RowsError) as caught:
        await call
    assert caught.value.code == code, caught.value
    return caught.value.message


# -- plugins ---------------------------------------------------------------------------------------


async def test_a_plugin_has_a_store(db):
    for name in ("q", "quotes", "a_b", "a-b", "8ball", "x" * 48):
        store = db.rows.for_plugin(name)
        assert store.plugin == name
        assert (await store.list_schemas())["count"] == 0


HOSTILE = [
    "", "*", ">", "a.b", "a b", " a", "a ", "A", "a\n", "a\r", "a\0", "../a", "a'b", 'a"b', "a;b", "_a", "-a",
    "x" * 49, "x" * 10_000, "аbc", "ａ", "ﬁ", "a\u202e", "a\u0301", "١", "a%", "a/b", "\ud800", None, 3, True, ["a"], {},
]  # fmt: skip


async def test_what_is_no_name_of_a_plugin_gets_no_store(db, subtests):
    for name in HOSTILE:
        with subtests.test(ascii(name)[:20]):
            with pytest.raises(RowValidationError, match="Invalid plugin name") as caught:
                db.rows.for_plugin(name)
            assert len(str(caught.value)) < 400
            assert str(caught.value).isascii()


# -- schemas ---------------------------------------------------------------------------------------


FORMS = [
        {"table": "t", "schema": {"fields": [{"name": "a", "type": "string", "required": True}]}},
        {"table": "t", "fields": [{"name": "a", "type": "string", "required": True}]},
        {"table": "t", "schema": [{"name": "a", "type": "string", "required": True}]},
        {"table": "t", "fields": {"a": {"type": "string", "required": True}}},
        {"table": "t", "schema": {"fields": {"a": {"type": "string", "required": True}}}},
        {"table": "t", "schema": {"a": {"type": "string", "required": True}}},
        {"plugin": "quotes", "table": "t", "schema": {"a": {"type": "string", "required": True}}},
        {
            "table": "t",
            "schema": {
                "id": {"type": "integer", "required": True},
                "a": {"type": "string", "required": True},
                "created_at": {"type": "datetime", "required": True},
                "updated_at": {"type": "datetime"},
            },
        },
    ]  # fmt: skip


async def test_a_schema_is_taken_in_every_form_of_the_contract(db, subtests):
    store = db.rows.for_plugin("quotes")
    for place, form in enumerate(FORMS):
        with subtests.test(str(form)[:60]):
            body = form | {"table": (table := f"t{place}")}
            assert await store.register(body) == {"table": table, "created": True, "changed": True}
            assert await store.register(body) == {"table": table, "created": False, "changed": False}
            assert (await store.insert(table, {"a": "x"}))["id"] == 1
            schema = (await store.get_schema(table))["schema"]
            assert schema["fields"] == [{"name": "a", "type": "string", "required": True}]


async def test_a_field_may_be_called_fields(db):
    store = db.rows.for_plugin("quotes")
    await store.register(
        {"table": "t", "schema": {"fields": {"type": "string"}, "unique": {"type": "boolean"}}}
    )
    await store.insert("t", {"fields": "x", "unique": True})
    assert (await row(store, 1, "t"))["fields"] == "x"


async def test_options_stand_beside_the_table_or_under_schema(db):
    store = db.rows.for_plugin("quotes")
    fields = {"a": {"type": "string"}, "b": {"type": "integer"}}
    await store.register({"table": "t", "schema": fields, "unique": ["a"], "indexes": [["b", "a"]]})
    inner = {
        "fields": fields,
        "unique": [["a"]],
        "indexes": [{"fields": ["b", "a"]}],
        "immutable_fields": ["b"],
    }
    answer = await store.register({"table": "t", "schema": inner})
    assert answer["changed"] is True
    assert (await store.get_schema("t"))["schema"] == {
        "fields": [
            {"name": "a", "type": "string", "required": False},
            {"name": "b", "type": "integer", "required": False},
        ],
        "immutable_fields": ["b"],
        "indexes": [["b", "a"]],
        "unique": [["a"]],
    }


ONE = [{"name": "a", "type": "string"}]


WRONG_SCHEMAS = [
        ([], "VALIDATION_ERROR", "The request must be an object, not a list"),
        ({}, "MISSING_FIELD", "Required field 'table' is missing"),
        ({"table": "t"}, "MISSING_FIELD", "Required field 'schema' is missing"),
        ({"table": 3, "fields": ONE}, "VALIDATION_ERROR", "Invalid table name: 3"),
        ({"table": "T", "fields": ONE}, "VALIDATION_ERROR", "Invalid table name: 'T'"),
        ({"table": "x" * 101, "fields": ONE}, "VALIDATION_ERROR", "Invalid table name: "),
        ({"table": "t", "plugin": "other", "fields": ONE}, "VALIDATION_ERROR", "Field 'plugin' is 'other'"),
        ({"table": "t", "fields": []}, "VALIDATION_ERROR", "A schema needs 1 to 200 fields, not 0"),
        ({"table": "t", "fields": {}}, "VALIDATION_ERROR", "A schema needs 1 to 200 fields, not 0"),
        ({"table": "t", "schema": {"id": {"type": "integer"}}}, "VALIDATION_ERROR", "A schema needs"),
        ({"table": "t", "fields": "a"}, "VALIDATION_ERROR", "The fields must be an object, not text"),
        ({"table": "t", "fields": [3]}, "VALIDATION_ERROR", "Field 0 must be an object, not a number"),
        ({"table": "t", "fields": [*ONE, *ONE]}, "VALIDATION_ERROR", "Field 'a' is declared twice"),
        ({"table": "t", "fields": [{"name": "id", "type": "integer"}]}, "VALIDATION_ERROR", "Field 'id' is reserved"),
        (
            {"table": "t", "schema": {"id": {"type": "string"}, "a": {"type": "string"}}},
            "VALIDATION_ERROR",
            "Field 'id' is reserved, and its type is integer",
        ),
        ({"table": "t", "fields": [{"type": "string"}]}, "MISSING_FIELD", "Required field 'name' is missing"),
        ({"table": "t", "fields": [{"name": "a"}]}, "MISSING_FIELD", "Required field 'type' is missing"),
        ({"table": "t", "fields": [{"name": "A", "type": "string"}]}, "VALIDATION_ERROR", "Invalid field name: 'A'"),
        (
            {"table": "t", "fields": [{"name": "a", "type": "json"}]},
            "VALIDATION_ERROR",
            "Field 'a': Unknown type: 'json'. Known types: string, text, integer, float, boolean, datetime",
        ),
        (
            {"table": "t", "fields": [{"name": "a", "type": "string", "reqired": True}]},
            "VALIDATION_ERROR",
            "Field 'a': Unknown key: 'reqired'",
        ),
        (
            {"table": "t", "fields": [{"name": "a", "type": "string", "required": "yes"}]},
            "VALIDATION_ERROR",
            "Field 'a': required must be true or false, not 'yes'",
        ),
        (
            {"table": "t", "fields": [{"name": "a", "type": "integer", "max_length": 3}]},
            "VALIDATION_ERROR",
            "Field 'a': max_length is for text, not for integer",
        ),
        (
            {"table": "t", "fields": [{"name": "a", "type": "integer", "default": "x"}]},
            "VALIDATION_ERROR",
            "Field 'a': Cannot convert value to integer: 'x' is no whole number",
        ),
        ({"table": "t", "fields": ONE, "unique": ["b"]}, "VALIDATION_ERROR", "unique: Unknown field: b"),
        ({"table": "t", "fields": ONE, "indexes": "a"}, "VALIDATION_ERROR", "indexes must be a list, not text"),
        ({"table": "t", "fields": ONE, "indexes": [["a", "a"]]}, "VALIDATION_ERROR", "indexes: a, a names a field twice"),
        ({"table": "t", "fields": ONE, "immutable_fields": ["b"]}, "VALIDATION_ERROR", "immutable_fields: Unknown field: b"),
    ]  # fmt: skip


async def test_a_schema_that_is_none_is_refused(db, subtests):
    store = db.rows.for_plugin("quotes")
    for body, code, message in WRONG_SCHEMAS:
        with subtests.test(message):
            assert (await refused(store.register(body), code)).startswith(message)
            assert (await store.list_schemas())["tables"] == []


async def test_a_wider_schema_takes_the_rows_along(db, store):
    await store.insert("items", {"name": "old"})
    more = [*FIELDS, {"name": "tag", "type": "string"}]
    answer = await store.register({"table": "items", "fields": more, "indexes": ["tag"], "unique": ["name"]})
    assert answer == {"table": "items", "created": False, "changed": True}
    assert (await row(store, 1))["tag"] is None
    await store.insert("items", {"name": "new", "tag": "x"})
    assert (await store.search("items", {"tag": "x"}))["count"] == 1
    assert await refused(store.insert("items", {"name": "old"}), "CONFLICT") == (
        "A row with the same name exists already"
    )


CONFLICTS = [
        ({"score": {"type": "string"}}, ("score", "integer, optional", "string, optional")),
        ({"score": {"type": "float"}}, ("score", "integer, optional", "float, optional")),
        ({"body": {"type": "string"}}, ("body", "text, optional", "string, optional")),
        ({"body": {"type": "text", "required": True}}, ("body", "text, optional", "text, required")),
        ({"body": None}, ("body", "text, optional", "not declared")),
        ({"extra": {"type": "text", "required": True}}, ("extra", "not declared", "text, required")),
        (
            {"name": {"type": "string", "required": True, "max_length": 19}},
            ("name", "string, required, at most 20 characters", "string, required, at most 19 characters"),
        ),
    ]  # fmt: skip


def changed_fields(change):
    """FIELDS as an object, with other fields; None leaves one out."""
    fields = {one["name"]: {key: one[key] for key in one if key != "name"} for one in FIELDS} | change
    return {name: one for name, one in fields.items() if one is not None}


async def test_a_schema_that_rows_may_not_fit_is_a_conflict(store, subtests):
    for change, told in CONFLICTS:
        with subtests.test(str(change)):
            with pytest.raises(RowSchemaConflictError) as caught:
                await store.register({"table": "items", "fields": changed_fields(change)})
            error = caught.value
            assert (error.field, error.old, error.new) == told
            assert (
                error.message
                == f"Table 'items' cannot change: {told[0]} is {told[1]}, and would be {told[2]}"
            )
            assert (await store.register({"table": "items", "fields": FIELDS}))["changed"] is False


WIDER = [
        {"name": {"type": "string", "max_length": 20}},
        {"name": {"type": "string", "required": True, "max_length": 40}},
        {"name": {"type": "text", "required": True}},
        {"score": {"type": "integer", "default": 5}},
        {"extra": {"type": "datetime"}},
    ]  # fmt: skip


async def test_what_fits_all_rows_is_no_conflict(db, subtests):
    store = db.rows.for_plugin("quotes")
    for place, change in enumerate(WIDER):
        with subtests.test(str(change)):
            table = f"items{place}"
            await store.register({"table": table, "fields": FIELDS})
            await store.insert(table, {"name": "before"})
            assert (await store.register({"table": table, "fields": changed_fields(change)}))[
                "changed"
            ] is True
            assert (await row(store, 1, table))["name"] == "before"


async def test_a_unique_that_rows_contradict_is_a_conflict(store):
    await store.insert("items", [{"name": "same"}, {"name": "same"}])
    with pytest.raises(RowSchemaConflictError, match="name is stored in rows that are equal there"):
        await store.register({"table": "items", "fields": FIELDS, "unique": ["name"]})
    assert (await store.get_schema("items"))["schema"]["unique"] == []
    assert (await store.insert("items", {"name": "same"}))["id"] == 3


async def test_a_unique_that_is_left_out_is_a_conflict(db):
    store = db.rows.for_plugin("quotes")
    await store.register({"table": "t", "fields": ONE, "unique": ["a"]})
    with pytest.raises(RowSchemaConflictError, match="a is unique, and would be not unique"):
        await store.register({"table": "t", "fields": ONE})


async def test_text_that_no_index_takes_is_too_large_for_an_indexed_field(store):
    await store.insert("items", {"name": "x", "body": "b" * 2_601})
    with pytest.raises(
        RowSchemaConflictError, match=r"body is without an index, with text of more than 2,600 bytes"
    ):
        await store.register({"table": "items", "fields": FIELDS, "indexes": ["body"]})
    await store.update("items", 1, {"body": "b" * 2_600})
    await store.register({"table": "items", "fields": FIELDS, "indexes": ["body"]})
    assert "2,600 that an index takes" in await refused(
        store.insert("items", {"name": "y", "body": "b" * 2_601}), "VALUE_TOO_LARGE"
    )


async def test_an_unregistered_table_is_gone_and_its_rows_come_back_with_a_schema_that_they_fit(store):
    await store.insert("items", {"name": "kept"})
    assert await store.unregister("items") == {"table": "items", "unregistered": True}
    assert await store.unregister("items") == {"table": "items", "unregistered": False}
    for call in (
        store.insert("items", {"name": "x"}),
        store.select("items", 1),
        store.update("items", 1, {"name": "x"}),
        store.delete("items", 1),
        store.search("items"),
        store.get_schema("items"),
    ):
        with pytest.raises(UnknownTableError, match="Table 'items' is not registered for plugin 'quotes'"):
            await call
    with pytest.raises(RowSchemaConflictError):
        await store.register({"table": "items", "fields": [{"name": "name", "type": "integer"}]})
    assert (await store.register({"table": "items", "fields": FIELDS}))["created"] is True
    assert (await row(store, 1))["name"] == "kept"


async def test_an_unregistered_table_without_rows_makes_room_for_any_other(store):
    await store.unregister("items")
    other = [{"name": "name", "type": "integer"}]
    assert (await store.register({"table": "items", "fields": other}))["created"] is True
    assert (await store.insert("items", {"name": 7}))["id"] == 1


async def test_schemas_are_listed_by_name(db):
    store = db.rows.for_plugin("quotes")
    await store.register({"table": "b", "fields": ONE})
    await store.register({"table": "a", "fields": ONE})
    await db.rows.for_plugin("other").register({"table": "c", "fields": ONE})
    answer = await store.list_schemas()
    assert answer["tables"] == ["a", "b"]
    assert answer["count"] == 2
    assert answer["schemas"]["a"]["fields"] == [{"name": "a", "type": "string", "required": False}]


SYSTEM = [
    "order", "select", "group", "table", "rowid", "oid", "ctid", "xmin", "tableoid", "sqlite_x", "field_0", "field_1",
    "primary", "desc", "default", "null", "x" * 63, "user", "_rowid"[1:],
]  # fmt: skip


async def test_a_field_may_have_a_name_that_a_database_keeps_for_itself(db):
    store = db.rows.for_plugin("quotes")
    names = list(dict.fromkeys(SYSTEM))
    await store.register({"table": "t", "fields": {name: {"type": "string"} for name in names[:9]}})
    await store.register(
        {
            "table": "t",
            "fields": {name: {"type": "string"} for name in names},
            "indexes": [[name] for name in names],
        }
    )
    await store.insert("t", {name: name for name in names})
    found = await row(store, 1, "t")
    assert {name: found[name] for name in names} == {name: name for name in names}
    for name in names:
        assert (await store.search("t", {name: name}, {"field": name}))["count"] == 1
    await store.update("t", 1, dict.fromkeys(names, "new"))
    assert set((await row(store, 1, "t")).values()) >= {"new", 1}


# -- isolation -------------------------------------------------------------------------------------


async def test_plugin_a_with_table_b_c_is_not_plugin_a_b_with_table_c(db):
    """An older service called both tables a_b_c."""
    one, other = db.rows.for_plugin("a"), db.rows.for_plugin("a_b")
    await one.register({"table": "b_c", "fields": {"x": {"type": "string"}}})
    await other.register({"table": "c", "fields": {"x": {"type": "integer"}}})
    await one.insert("b_c", {"x": "text"})
    assert (await other.search("c"))["rows"] == []
    await other.insert("c", {"x": 5})
    assert (await row(one, 1, "b_c"))["x"] == "text"
    with pytest.raises(UnknownTableError):
        await one.search("c")
    await other.unregister("c")
    assert (await one.search("b_c"))["count"] == 1


OF_THE_LIBRARY = ["tasks", "audit", "abathur_meta", "row_tables", "row_heads", "row_keys", "r_000001", "sqlite_master"]  # fmt: skip


async def test_no_name_leads_to_a_table_of_the_library(db, subtests):
    store = db.rows.for_plugin("quotes")
    for table in OF_THE_LIBRARY:
        with subtests.test(table):
            with pytest.raises(UnknownTableError):
                await store.search(table)
            await store.register({"table": table, "fields": ONE})
            assert (await store.search(table))["rows"] == []
            await store.insert(table, {"a": "x"})
            assert await db.tasks.list() == []


# -- insert ----------------------------------------------------------------------------------------


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
        ({"name": "x", "score": "12a"}, "Field 'score': Cannot convert value to integer: '12a' is no whole number"),
        ({"name": "x", "score": 1.5}, "Field 'score': Cannot convert value to integer: 1.5 is no whole number"),
        ({"name": "x", "score": True}, "Field 'score': Cannot convert value to integer: a boolean is no whole number"),
        ({"name": "x", "score": 2**63}, "Field 'score': Cannot convert value to integer: 9223372036854775808 does not"),
        ({"name": "x", "ratio": "fast"}, "Field 'ratio': Cannot convert value to float: 'fast' is no number"),
        ({"name": "x", "ratio": float("nan")}, "Field 'ratio': Cannot convert value to float: nan is no finite number"),
        ({"name": "x", "ratio": 10**400}, "Field 'ratio': Cannot convert value to float: "),
        ({"name": "x", "done": "maybe"}, "Field 'done': Cannot convert value to boolean: 'maybe' is neither true nor"),
        ({"name": "x", "done": 2}, "Field 'done': Cannot convert value to boolean: 2 is neither true nor false"),
        ({"name": "x", "due": "soon"}, "Field 'due': Cannot convert value to datetime: 'soon' is no moment in ISO 8601"),
        ({"name": "x", "due": 1_700_000_000}, "Field 'due': Cannot convert value to datetime: a number is no moment"),
        ({"name": "x", "due": "0001-01-01T00:00:00+10:00"}, "Field 'due': Cannot convert value to datetime: "),
        ("text", "The data must be an object, not text"),
        ([], "A list of 0 rows cannot be inserted"),
        ({3: "x"}, "The data has the key 3"),
    ]  # fmt: skip


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
        ("name", 5, "5"), ("name", 1.5, "1.5"), ("name", True, "true"), ("body", False, "false"), ("name", "", ""),
        ("score", "42", 42), ("score", "-7", -7), ("score", 3.0, 3), ("score", "+5", 5),
        ("score", 2**63 - 1, 2**63 - 1), ("score", -(2**63), -(2**63)),
        ("ratio", 3, 3.0), ("ratio", "2.5e3", 2500.0), ("ratio", -0.0, 0.0), ("ratio", 1e308, 1e308), ("ratio", 0.1, 0.1),
        ("done", "YES", True), ("done", "on", True), ("done", 1, True), ("done", "1", True), ("done", "true", True),
        ("done", "no", False), ("done", "Off", False), ("done", 0, False), ("done", "0", False), ("done", "False", False),
        ("due", "2026-01-31T09:30:00+02:00", "2026-01-31T07:30:00.000000+00:00"),
        ("due", "2026-01-31T09:30:00Z", "2026-01-31T09:30:00.000000+00:00"),
        ("due", "2026-01-31T09:30:00.123456", "2026-01-31T09:30:00.123456+00:00"),
        ("due", "2026-01-31", "2026-01-31T00:00:00.000000+00:00"),
        ("due", datetime(2026, 1, 31, 9, tzinfo=timezone(timedelta(hours=1))), "2026-01-31T08:00:00.000000+00:00"),
        ("due", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999+00:00"),
        ("due", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000+00:00"),
        ("body", "Größe ☃ 𝔘 'quoted' \"double\" ; --", "Größe ☃ 𝔘 'quoted' \"double\" ; --"),
    ]  # fmt: skip


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


# -- request ids -----------------------------------------------------------------------------------


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


# -- select, delete --------------------------------------------------------------------------------


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


# -- update ----------------------------------------------------------------------------------------


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
    ]  # fmt: skip


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
        ("score", 5, {"$set": "7"}, 7), ("score", 5, {"$set": None}, None),
        ("score", 5, {"$inc": 2}, 7), ("score", None, {"$inc": 2}, 2), ("score", 5, {"$inc": -7.0}, -2),
        ("score", 5, {"$dec": 2}, 3), ("score", None, {"$dec": 2}, -2),
        ("score", 5, {"$mul": 3}, 15), ("score", None, {"$mul": 3}, 0), ("score", 5, {"$mul": -1}, -5),
        ("ratio", 1.5, {"$inc": 1}, 2.5), ("ratio", 1.5, {"$mul": 0.5}, 0.75), ("ratio", None, {"$mul": -2}, 0.0),
        ("score", 5, {"$max": 7}, 7), ("score", 5, {"$max": 3}, 5), ("score", None, {"$max": 3}, 3),
        ("score", 5, {"$min": 3}, 3), ("score", 5, {"$min": 7}, 5), ("score", None, {"$min": 7}, 7),
        ("ratio", 1.5, {"$max": 2}, 2.0), ("ratio", 1.5, {"$min": 2}, 1.5),
        ("due", "2026-01-02", {"$max": "2026-01-03"}, "2026-01-03T00:00:00.000000+00:00"),
        ("due", "2026-01-02", {"$min": "2026-01-01T22:00:00-02:00"}, "2026-01-02T00:00:00.000000+00:00"),
        ("score", 2**63 - 2, {"$inc": 1}, 2**63 - 1), ("score", -(2**63) + 1, {"$dec": 1}, -(2**63)),
        ("score", 2**62, {"$mul": -2}, -(2**63)), ("score", 2**62 - 1, {"$mul": 2}, 2**63 - 2),
    ]  # fmt: skip


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
        ({"score": {}}, "The operation 'score' is empty"),
        ({"score": 5}, "Field 'score' must be an object, not a number"),
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
        ({"score": {"$set": "seven"}}, "Field 'score': Cannot convert value to integer: 'seven' is no whole number"),
        ({"name": {"$set": None}}, "Field 'name' cannot be null"),
        ({"name": {"$set": "x" * 21}}, "Field 'name': 21 characters are more than 20"),
        ({"score": {"$dec": -(2**63)}}, "Field 'score': $dec by -9223372036854775808 is out of range"),
    ]  # fmt: skip


async def test_an_operation_that_does_not_fit_is_refused(store, subtests):
    """`$set` of a wrong type was stored by an older service."""
    await store.insert("items", {"name": "x", "score": 3})
    before = await row(store, 1)
    for operations, message in WRONG_OPERATIONS:
        with subtests.test(message):
            assert (await refused(store.update("items", 1, operations=operations))).startswith(message)
            assert await row(store, 1) == before


TOO_LARGE = [
        ("score", 2**63 - 1, {"$inc": 1}), ("score", -(2**63), {"$dec": 1}), ("score", 2**62, {"$mul": 2}),
        ("score", -(2**63), {"$mul": -1}), ("score", 2**62 + 1, {"$mul": -2}),
        ("ratio", 1e308, {"$inc": 1e308}), ("ratio", 1e200, {"$mul": 1e200}), ("ratio", 1e-200, {"$mul": 1e-200}),
    ]  # fmt: skip


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
