"""Several instances on one database: each knows what the others have registered, and none writes twice."""

from __future__ import annotations

import asyncio

import pytest

from abathur.errors import CorruptDatabaseError, RowConflictError, RowSchemaConflictError, UnknownTableError
from tests.conformance.rows import FIELDS, row

A = {"a": {"type": "string"}}
AB = {**A, "b": {"type": "integer"}}


def stores(*dbs):
    return [db.rows.for_plugin("quotes") for db in dbs]


async def test_what_one_instance_registers_every_other_knows(processes, make_db):
    one, other = stores(await make_db(), await make_db())
    await one.register({"table": "t", "fields": A})
    assert (await other.insert("t", {"a": "x"}))["id"] == 1
    assert await other.register({"table": "t", "fields": A}) == {
        "table": "t",
        "created": False,
        "changed": False,
    }
    await one.register({"table": "t", "fields": AB, "unique": ["b"]})
    # The other one remembers a schema without `b`, and finds out by itself.
    assert (await other.insert("t", {"a": "y", "b": 5}))["id"] == 2
    assert (await other.search("t", {"b": 5}))["count"] == 1
    assert (await row(other, 1, "t"))["b"] is None
    with pytest.raises(RowConflictError, match="A row with the same b"):
        await other.insert("t", {"b": 5})


@pytest.mark.parametrize("call", ["insert", "select", "search", "update", "delete"])
async def test_a_remembered_schema_is_never_taken_for_the_present_one(processes, make_db, call):
    one, other = stores(await make_db(), await make_db())
    await one.register({"table": "t", "fields": A})
    calls = {
        "insert": lambda store: store.insert("t", {"a": "x"}),
        "select": lambda store: store.select("t", 1),
        "search": lambda store: store.search("t", {"a": "x"}),
        "update": lambda store: store.update("t", 1, {"a": "x"}),
        "delete": lambda store: store.delete("t", 7),
    }
    await calls[call](other)
    await one.unregister("t")
    with pytest.raises(UnknownTableError):
        await calls[call](other)
    await one.register({"table": "t", "fields": AB})
    await calls[call](other)
    assert set((await other.get_schema("t"))["schema"]["fields"][1]) == {"name", "type", "required"}


async def test_tables_that_many_register_at_once_are_registered_once(processes, make_db):
    dbs = [await make_db() for _ in range(3)]
    answers = await asyncio.gather(
        *[
            db.rows.for_plugin("quotes").register({"table": f"t{n}", "fields": AB, "indexes": ["b"]})
            for n in range(3)
            for db in dbs
            for _ in range(2)
        ]
    )
    assert sum(answer["created"] for answer in answers) == 3
    for db in dbs:
        assert (await db.rows.for_plugin("quotes").list_schemas())["tables"] == ["t0", "t1", "t2"]
        assert (await db.initialize(verify=True)).steps == ()


async def test_schemas_that_many_widen_at_once_hold_all_of_it(processes, make_db):
    dbs = [await make_db() for _ in range(3)]
    one, *others = stores(*dbs)
    await one.register({"table": "t", "fields": A})
    wider = {f"f{n}": {"type": "string"} for n in range(3)}

    async def widen(store, name):
        """Add a field to whatever is there; somebody else may have been first."""
        while True:
            there = (await store.get_schema("t"))["schema"]["fields"]
            try:
                return await store.register(
                    {"table": "t", "fields": [*there, {"name": name, "type": "string"}]}
                )
            except RowSchemaConflictError:  # another field has come meanwhile, which ours would take away
                continue

    async def insert(store):
        for _ in range(10):
            await store.insert("t", {"a": "x"})

    await asyncio.gather(
        *[widen(store, name) for store, name in zip([one, *others], wider, strict=True)],
        *[insert(store) for store in [one, *others]],
    )
    for store in [one, *others]:
        assert (await store.insert("t", {"a": "y", **dict.fromkeys(wider, "z")}))["created"]
        assert set(await row(store, 1, "t")) >= {"a", *wider}
    assert (await one.search("t"))["count"] == 33


async def test_instances_give_every_row_an_id_of_its_own(processes, make_db):
    several = stores(await make_db(), await make_db())
    await several[0].register({"table": "t", "fields": A})
    answers = await asyncio.gather(
        *[store.insert("t", [{"a": str(n)}, {"a": str(n)}]) for n in range(20) for store in several]
    )
    ids = [one for answer in answers for one in answer["ids"]]
    assert sorted(ids) == list(range(1, 81))
    assert all(first + 1 == second for first, second in (answer["ids"] for answer in answers))
    for answer in answers[:5]:
        assert (await row(several[0], answer["ids"][0], "t"))["a"] == (
            await row(several[1], answer["ids"][1], "t")
        )["a"]


async def test_one_request_that_comes_to_many_at_once_has_one_effect(processes, make_db):
    several = stores(await make_db(), await make_db())
    await several[0].register({"table": "items", "fields": FIELDS})
    for n in range(5):
        answers = await asyncio.gather(
            *[
                store.insert("items", {"name": "x"}, request_id=f"r-{n}")
                for store in several
                for _ in range(3)
            ]
        )
        assert answers == [{"id": answers[0]["id"], "created": True}] * 6
    assert (await several[0].search("items"))["count"] == 5
    await asyncio.gather(
        *[
            store.update("items", 1, operations={"score": {"$inc": 1}}, request_id="up")
            for store in several
            for _ in range(3)
        ]
    )
    assert (await row(several[1], 1))["score"] == 1


async def test_operators_of_many_at_once_are_all_counted(processes, make_db):
    several = stores(await make_db(), await make_db())
    await several[0].register({"table": "items", "fields": FIELDS})
    await several[0].insert("items", [{"name": "a"}, {"name": "b"}, {"name": "c"}])
    await asyncio.gather(
        *[
            store.update("items", 1, operations={"score": {"$inc": 1}})
            for store in several
            for _ in range(20)
        ],
        *[
            store.update(
                "items", filters={"name": {"$in": ["c", "a", "b"]}}, operations={"ratio": {"$inc": 1}}
            )
            for store in several
            for _ in range(10)
        ],
    )
    found = (await several[1].search("items"))["rows"]
    assert [(one["score"], one["ratio"]) for one in found] == [(40, 20.0), (0, 20.0), (0, 20.0)]


async def test_rows_and_schemas_outlast_the_instance(processes, make_db):
    db = await make_db()
    (store,) = stores(db)
    await store.register({"table": "t", "fields": AB, "indexes": ["a"]})
    await store.insert("t", {"a": "kept"}, request_id="r-1")
    await store.kv.set("k", [1])
    await db.close()
    again = await make_db()
    assert (await again.initialize()).steps == ()
    assert (await again.plan()).empty
    (store,) = stores(again)
    assert (await row(store, 1, "t"))["a"] == "kept"
    assert await store.insert("t", {"a": "kept"}, request_id="r-1") == {"id": 1, "created": True}
    assert await store.kv.get("k") == {"exists": True, "value": [1]}


async def test_what_somebody_dropped_of_a_plugins_table_is_made_again(processes, make_db, outside):
    db = await make_db()
    (store,) = stores(db)
    await store.register({"table": "t", "fields": A, "unique": ["a"]})
    (index,) = (await db.declared())[-1].indexes
    await outside(f"DROP INDEX {index.name}")
    assert [name for step in (await db.plan()).inside if (name := getattr(step, "name", ""))] == [index.name]
    assert any(finding.code == "schema-altered" for finding in await db.doctor())
    # To register another table does not hide it.
    await store.register({"table": "other", "fields": A})
    await db.close()
    again = await make_db()
    assert (await again.plan()).empty, "opening it has made it"
    await again.rows.for_plugin("quotes").insert("t", {"a": "x"})
    with pytest.raises(RowConflictError):
        await again.rows.for_plugin("quotes").insert("t", {"a": "x"})


async def test_a_declaration_that_cannot_be_read_is_said_to_be_damaged(processes, make_db, outside):
    db = await make_db()
    (store,) = stores(db)
    await store.register({"table": "t", "fields": A})
    await store.register({"table": "fine", "fields": A})
    await outside("UPDATE abathur_row_tables SET declaration = '{\"fields\": 3}' WHERE name = 't'")
    with pytest.raises(CorruptDatabaseError, match="the declaration of table 1 cannot be read"):
        await store.get_schema("t")
    await store.insert("fine", {"a": "x"})
    assert (await db.initialize(verify=True)).steps == ()
