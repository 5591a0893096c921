"""Schemas of plugins: every form of the contract, what widens one, what is a conflict, and isolation."""

from __future__ import annotations

import pytest

from abathur import script
from abathur.errors import (
    RowSchemaConflictError,
    RowValidationError,
    UnknownTableError,
)
from abathur.rows import registry
from tests.conformance.rows import FIELDS, ONE, refused, row


async def test_a_plugin_has_a_store(db):
    for name in ("q", "quotes", "a_b", "a-b", "8ball", "x" * 48):
        store = db.rows.for_plugin(name)
        assert store.plugin == name
        assert (await store.list_schemas())["count"] == 0


HOSTILE = [
    "",
    "*",
    ">",
    "a.b",
    "a b",
    " a",
    "a ",
    "A",
    "a\n",
    "a\r",
    "a\0",
    "../a",
    "a'b",
    'a"b',
    "a;b",
    "_a",
    "-a",
    "x" * 49,
    "x" * 10_000,
    "\u0430bc",
    "\uff41",
    "\ufb01",
    "a\u202e",
    "a\u0301",
    "\u0661",
    "a%",
    "a/b",
    "\ud800",
    None,
    3,
    True,
    ["a"],
    {},
]


async def test_what_is_no_name_of_a_plugin_gets_no_store(db, subtests):
    for name in HOSTILE:
        with subtests.test(ascii(name)[:20]):
            with pytest.raises(RowValidationError, match="Invalid plugin name") as caught:
                db.rows.for_plugin(name)
            assert len(str(caught.value)) < 400
            assert str(caught.value).isascii()


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
]


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
    (
        {"table": "t", "fields": [{"name": "id", "type": "integer"}]},
        "VALIDATION_ERROR",
        "Field 'id' is reserved",
    ),
    (
        {"table": "t", "schema": {"id": {"type": "string"}, "a": {"type": "string"}}},
        "VALIDATION_ERROR",
        "Field 'id' is reserved, and its type is integer",
    ),
    ({"table": "t", "fields": [{"type": "string"}]}, "MISSING_FIELD", "Required field 'name' is missing"),
    ({"table": "t", "fields": [{"name": "a"}]}, "MISSING_FIELD", "Required field 'type' is missing"),
    (
        {"table": "t", "fields": [{"name": "A", "type": "string"}]},
        "VALIDATION_ERROR",
        "Invalid field name: 'A'",
    ),
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
    (
        {"table": "t", "fields": ONE, "indexes": [["a", "a"]]},
        "VALIDATION_ERROR",
        "indexes: a, a names a field twice",
    ),
    (
        {"table": "t", "fields": ONE, "immutable_fields": ["b"]},
        "VALIDATION_ERROR",
        "immutable_fields: Unknown field: b",
    ),
]


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
]


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
]


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


async def test_a_plugin_has_so_many_tables_at_most(db, monkeypatch):
    monkeypatch.setattr(registry, "MOST_TABLES", 2)
    store = db.rows.for_plugin("quotes")
    for table in ("a", "b"):
        await store.register({"table": table, "fields": ONE})
    assert (await refused(store.register({"table": "c", "fields": ONE}))).startswith(
        "Plugin 'quotes' has 2 tables"
    )
    await db.rows.for_plugin("other").register({"table": "c", "fields": ONE})


async def test_a_registration_leaves_nothing_in_memory_but_its_schema(db):
    store = db.rows.for_plugin("quotes")
    await store.register({"table": "a", "fields": ONE})
    before = script.takes_now.cache_info().currsize
    for n in range(5):
        await store.register({"table": f"b{n}", "fields": ONE})
    assert script.takes_now.cache_info().currsize == before, "a function was made for each, and is remembered"


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
    "order",
    "select",
    "group",
    "table",
    "rowid",
    "oid",
    "ctid",
    "xmin",
    "tableoid",
    "sqlite_x",
    "field_0",
    "field_1",
    "primary",
    "desc",
    "default",
    "null",
    "x" * 63,
    "user",
    "_rowid"[1:],
]


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


OF_THE_LIBRARY = [
    "tasks",
    "audit",
    "abathur_meta",
    "abathur_row_tables",
    "abathur_row_heads",
    "abathur_row_keys",
    "r_000001",
    "sqlite_master",
]


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
