"""Rows over NATS, row by row of the contract's tables, in both forms of subject, on both engines."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.service.conftest import Served

FIELDS: list[dict[str, Any]] = [
    {"name": "text", "type": "text", "required": True},
    {"name": "score", "type": "integer"},
    {"name": "rate", "type": "float"},
    {"name": "shown", "type": "boolean", "default": True},
    {"name": "at", "type": "datetime"},
    {"name": "author", "type": "string", "max_length": 20},
]
AS_OBJECT = {
    field["name"]: {"type": field["type"], "required": field.get("required", False)} for field in FIELDS
}


class Table:
    """A registered table, asked in one of the two forms of subject."""

    def __init__(self, served: Served, plugin: str, form: str) -> None:
        self.served, self.plugin, self.form = served, plugin, form

    def request(self, op: str, body: Any) -> tuple[str, Any]:
        if self.form == "in the body":
            body = {"table": "items", "data": body} if op == "insert" else {"table": "items", **body}
            return f"db.row.{self.plugin}.{op}", body
        return f"db.row.{self.plugin}.items.{op}", body

    async def ok(self, op: str, body: Any) -> dict[str, Any]:
        return await self.served.ok(*self.request(op, body))

    async def refused(self, op: str, body: Any) -> tuple[str, str]:
        return await self.served.refused(*self.request(op, body))

    async def texts(self, **search: Any) -> list[str]:
        return [row["text"] for row in (await self.ok("search", search))["rows"]]


@pytest.fixture(params=["in the body", "in the subject"])
async def table(request: pytest.FixtureRequest, served: Served) -> Table:
    plugin = served.plugin("quotes")
    await served.ok(
        f"db.schema.{plugin}.register", {"table": "items", "fields": FIELDS, "immutable_fields": ["author"]}
    )
    return Table(served, plugin, request.param)


async def test_a_row_is_inserted_selected_updated_and_deleted(table: Table) -> None:
    made = await table.ok("insert", {"text": "hello", "score": 3, "at": "2026-01-02T03:04:05+02:00"})
    assert made["created"] is True
    assert made["id"] > 0
    found = await table.ok("select", {"id": made["id"]})
    assert found["exists"] is True
    row = found["data"]
    assert (row["text"], row["score"], row["shown"], row["rate"]) == ("hello", 3, True, None)
    assert row["at"].startswith("2026-01-02T01:04:05")
    assert row["created_at"]
    assert await table.ok("update", {"id": made["id"], "data": {"score": 4}}) == {
        "id": made["id"],
        "updated": True,
    }
    changed = (await table.ok("select", {"id": made["id"]}))["data"]
    assert changed["score"] == 4
    assert changed["updated_at"] >= row["updated_at"]
    assert await table.ok("delete", {"id": made["id"]}) == {"deleted": True}
    assert await table.ok("delete", {"id": made["id"]}) == {"deleted": False}
    assert await table.ok("select", {"id": made["id"]}) == {"exists": False}
    gone = await table.ok("update", {"id": made["id"], "data": {"score": 5}})
    assert gone == {"exists": False, "updated": False}


async def test_many_rows_go_in_with_one_request_and_come_back_by_filters(table: Table) -> None:
    rows = [{"text": f"t{n}", "score": n} if n % 2 else {"text": f"t{n}", "rate": n / 2} for n in range(6)]
    made = await table.ok("insert", rows)
    assert made["created"] == 6
    assert len(set(made["ids"])) == 6
    found = await table.ok("select", {"filters": {"score": {"$gte": 3}}})
    assert (found["count"], found["truncated"]) == (2, False)
    assert [row["text"] for row in found["rows"]] == ["t3", "t5"]
    done = await table.ok("update", {"filters": {"score": {"$gte": 3}}, "data": {"shown": False}})
    assert done == {"updated": True, "updated_count": 2}
    assert await table.ok("delete", {"filters": {"shown": False}}) == {"deleted": True, "deleted_count": 2}
    assert await table.texts() == ["t0", "t1", "t2", "t4"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"score": 2}, "b"),
        ({"score": None}, "d"),
        ({"score": {"$eq": 2}}, "b"),
        ({"score": {"$ne": 2}}, "ac"),
        ({"score": {"$gt": 1, "$lt": 3}}, "b"),
        ({"score": {"$in": [1, 3]}}, "ac"),
        ({"score": {"$nin": [1, 3]}}, "b"),
        ({"text": {"$like": "a%"}}, "a"),
        ({"text": {"$ilike": "A%"}}, "a"),
        ({"score": {"$exists": False}}, "d"),
        ({"score": {"$null": True}}, "d"),
        ({"$or": [{"score": 1, "text": "b"}, {"score": 3}]}, "c"),
        ({"$and": [{"score": {"$gte": 1}}, {"score": {"$lte": 2}}], "text": "a"}, "a"),
        ({"$not": {"score": {"$in": [1, 2]}}, "score": {"$null": False}}, "c"),
        ({"id": {"$gt": 0}, "created_at": {"$gt": "2020-01-01T00:00:00Z"}, "score": 1}, "a"),
    ],
)
async def test_filters_find_what_they_say(served: Served, filters: dict[str, Any], expected: str) -> None:
    plugin = f"filters-{served.prefix}"
    await served.ok(f"db.schema.{plugin}.register", {"table": "items", "fields": FIELDS})
    table = Table(served, plugin, "in the subject")
    if not await table.texts():
        rows = [
            {"text": "a", "score": 1},
            {"text": "b", "score": 2},
            {"text": "c", "score": 3},
            {"text": "d"},
        ]
        await table.ok("insert", rows)
    found = "".join(await table.texts(filters=filters))
    # Whether null is unlike a value is the rows' own question, and tested there.
    assert found.replace("d", "") == expected.replace("d", "")
    assert found == expected or "$ne" in str(filters) or "$n" in str(filters)


async def test_a_search_sorts_pages_and_aggregates(table: Table) -> None:
    await table.ok("insert", [{"text": f"t{n}", "score": n, "author": "ab"[n % 2]} for n in range(5)])
    assert await table.texts(sort={"field": "score", "order": "desc"}, limit=2) == ["t4", "t3"]
    page = await table.ok("search", {"limit": 2, "offset": 1})
    assert ([row["text"] for row in page["rows"]], page["truncated"]) == (["t1", "t2"], True)
    assert (await table.ok("search", {"limit": 5_000}))["count"] == 5
    told = await table.ok("search", {"aggregates": {"n": {"$count": "*"}, "best": {"$max": "score"}}})
    assert (told["n"], told["best"]) == (5, 4)


async def test_operations_are_atomic(table: Table) -> None:
    made = await table.ok("insert", {"text": "x", "score": 1})
    up = {"id": made["id"], "operations": {"score": {"$inc": 1}}}
    await asyncio.gather(*(table.ok("update", up) for _ in range(20)))
    assert (await table.ok("select", {"id": made["id"]}))["data"]["score"] == 21
    await table.ok("update", {"id": made["id"], "operations": {"score": {"$max": 5}, "rate": {"$inc": 0.5}}})
    row = (await table.ok("select", {"id": made["id"]}))["data"]
    assert (row["score"], row["rate"]) == (21, 0.5)


async def test_a_request_that_is_repeated_with_its_id_is_done_once(table: Table) -> None:
    served, plugin = table.served, table.plugin
    if table.form == "in the body":
        body = {"table": "items", "data": {"text": "once"}, "request_id": "r-1"}
        answers = [await served.ok(f"db.row.{plugin}.insert", body) for _ in range(3)]
    else:
        headers = {"Nats-Msg-Id": "r-1"}
        subject = f"db.row.{plugin}.items.insert"
        answers = [await served.ok(subject, {"text": "once"}, headers) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert await table.texts() == ["once"]
    up = {"id": answers[0]["id"], "operations": {"score": {"$inc": 1}}, "request_id": "r-2"}
    for _ in range(3):
        await table.ok("update", up)
    assert (await table.ok("select", {"id": answers[0]["id"]}))["data"]["score"] == 1
    gone = [await table.ok("delete", {"id": answers[0]["id"], "request_id": "r-3"}) for _ in range(2)]
    assert gone == [{"deleted": True}] * 2


@pytest.mark.parametrize(
    ("op", "body", "code", "word"),
    [
        ("insert", {"score": 1}, None, "text"),
        ("insert", {"text": "x", "odd": 1}, "VALIDATION_ERROR", "Unknown field: odd"),
        ("insert", {"text": None}, "VALIDATION_ERROR", "Field 'text' cannot be null"),
        ("insert", {"text": "x", "score": "many"}, "VALIDATION_ERROR", "Field 'score'"),
        ("insert", {"text": "x", "score": 2**63}, "VALIDATION_ERROR", "Field 'score'"),
        ("insert", {"text": "x", "shown": "perhaps"}, "VALIDATION_ERROR", "Field 'shown'"),
        ("insert", {"text": "x", "author": "y" * 21}, None, "author"),
        ("insert", [{"text": "x"}, {"score": 1}], None, "1"),
        ("insert", [], "VALIDATION_ERROR", ""),
        ("insert", [1], "VALIDATION_ERROR", ""),
        ("select", {}, "MISSING_FIELD", "id"),
        ("select", {"id": "x"}, "VALIDATION_ERROR", "id"),
        ("select", {"id": 1, "filters": {}}, "VALIDATION_ERROR", "filters"),
        ("select", {"filters": {"odd": 1}}, "VALIDATION_ERROR", "odd"),
        ("select", {"filters": {"score": {}}}, "VALIDATION_ERROR", ""),
        ("select", {"filters": {"score": {"$odd": 1}}}, "VALIDATION_ERROR", "$odd"),
        ("select", {"filters": {"$or": []}}, "VALIDATION_ERROR", "$or"),
        ("select", {"filters": [1]}, "VALIDATION_ERROR", "filter"),
        ("update", {"id": 1}, "MISSING_FIELD", "data"),
        ("update", {"id": 1, "data": {"score": 1}, "operations": {}}, "VALIDATION_ERROR", ""),
        ("update", {"id": 1, "data": {"id": 2}}, "VALIDATION_ERROR", "id"),
        ("update", {"id": 1, "data": {"author": "z"}}, "VALIDATION_ERROR", "author"),
        ("update", {"id": 1, "operations": {"score": {"$inc": "1x"}}}, "VALIDATION_ERROR", "score"),
        ("update", {"id": 1, "operations": {"text": {"$inc": 1}}}, "VALIDATION_ERROR", "text"),
        ("update", {"id": 1, "operations": {"score": {"$set": "many"}}}, "VALIDATION_ERROR", "score"),
        ("update", {"data": {"score": 1}}, "MISSING_FIELD", "id"),
        ("delete", {}, "MISSING_FIELD", "id"),
        ("delete", {"id": [1]}, "VALIDATION_ERROR", "id"),
        ("search", {"limit": 0}, "VALIDATION_ERROR", "limit"),
        ("search", {"offset": -1}, "VALIDATION_ERROR", "offset"),
        ("search", {"sort": {"field": "odd"}}, "VALIDATION_ERROR", "odd"),
        ("search", {"filter": {}}, "VALIDATION_ERROR", "filter"),
        ("search", {"aggregates": {"n": {"$odd": "*"}}}, "VALIDATION_ERROR", "$odd"),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_is_stored(
    table: Table, op: str, body: Any, code: str | None, word: str
) -> None:
    found, message = await table.refused(op, body)
    assert found == (code or found)
    assert found in ("VALIDATION_ERROR", "MISSING_FIELD", "VALUE_TOO_LARGE")
    assert word in message
    assert await table.texts() == []


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("fields", [FIELDS, AS_OBJECT], ids=["list", "object"])
@pytest.mark.parametrize("subject", ["db.schema.{}.register", "db.row.{}.schema.register"])
async def test_a_schema_is_registered_in_every_form(
    served: Served, subject: str, fields: Any, wrapped: bool
) -> None:
    plugin = served.plugin("forms")
    body = {"table": "items", "plugin": plugin}
    body |= {"schema": {"fields": fields}} if wrapped else {"fields": fields}
    first = await served.ok(subject.format(plugin), body)
    again = await served.ok(subject.format(plugin), body)
    assert (first["created"], again["created"], again["changed"]) == (True, False, False)
    listed = await served.ok(f"db.schema.{plugin}.list")
    assert (listed["tables"], listed["count"]) == (["items"], 1)
    told = await served.ok(f"db.schema.{plugin}.get", {"table": "items"})
    assert {"text", "score"} <= {field["name"] for field in told["schema"]["fields"]}
    await served.ok(f"db.row.{plugin}.items.insert", {"text": "x"})
    assert (await served.ok(f"db.schema.{plugin}.unregister", {"table": "items"}))["unregistered"] is True
    assert (await served.refused(f"db.row.{plugin}.items.select", {"id": 1}))[0] == "VALIDATION_ERROR"


async def test_a_schema_grows_and_what_does_not_fit_is_a_conflict(served: Served) -> None:
    plugin = served.plugin("grows")
    subject = f"db.schema.{plugin}.register"
    await served.ok(subject, {"table": "items", "fields": [{"name": "a", "type": "string"}]})
    made = await served.ok(f"db.row.{plugin}.items.insert", {"a": "x"})
    wider = [{"name": "a", "type": "string"}, {"name": "b", "type": "integer"}]
    assert (await served.ok(subject, {"table": "items", "fields": wider}))["changed"] is True
    assert (await served.ok(f"db.row.{plugin}.items.select", {"id": made["id"]}))["data"]["b"] is None
    other = [{"name": "a", "type": "integer"}, {"name": "b", "type": "integer"}]
    code, message = await served.refused(subject, {"table": "items", "fields": other})
    assert code == "SCHEMA_CONFLICT"
    assert "'a'" in message or " a" in message


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "MISSING_FIELD"),
        ({"table": "items"}, "MISSING_FIELD"),
        ({"table": "items", "fields": []}, "VALIDATION_ERROR"),
        ({"table": "items", "fields": {}}, "VALIDATION_ERROR"),
        ({"table": "Items", "fields": FIELDS}, "VALIDATION_ERROR"),
        ({"table": "items", "fields": [{"name": "a"}]}, None),
        ({"table": "items", "fields": [{"name": "a", "type": "json"}]}, "VALIDATION_ERROR"),
        ({"table": "items", "fields": [{"name": "A", "type": "text"}]}, "VALIDATION_ERROR"),
        ({"table": "items", "fields": [{"name": "id", "type": "integer"}]}, "VALIDATION_ERROR"),
        ({"table": "items", "fields": [FIELDS[0], FIELDS[0]]}, "VALIDATION_ERROR"),
        ({"table": "items", "fields": FIELDS, "plugin": "another"}, "VALIDATION_ERROR"),
        ({"table": "items", "fields": 5}, "VALIDATION_ERROR"),
    ],
)
async def test_a_schema_that_is_wrong_is_refused(served: Served, body: Any, code: str | None) -> None:
    found, message = await served.refused("db.schema.wrong.register", body)
    assert found == (code or found)
    assert message


async def test_a_schema_in_the_form_of_an_object_may_name_the_fields_that_are_added(served: Served) -> None:
    plugin = served.plugin("legacy")
    fields = {"id": {"type": "integer", "required": True}, "text": {"type": "text", "required": True}}
    await served.ok(f"db.schema.{plugin}.register", {"table": "items", "schema": {"fields": fields}})
    assert (await served.ok(f"db.row.{plugin}.items.insert", {"text": "x"}))["id"] > 0


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["in the body", "in the subject"])
async def test_keys_are_set_read_listed_and_deleted(served: Served, form: str) -> None:
    plugin = served.plugin("keys")

    async def ask(op: str, **body: Any) -> dict[str, Any]:
        if form == "in the body":
            answer = await served.ok(f"db.kv.{op}", {"plugin_name": plugin, **body})
            assert set(answer) == {"data"}
            return answer["data"]
        answer = await served.ok(f"db.kv.{plugin}.{op}", body)
        assert {**answer, **answer["data"]} == answer  # flat as well
        return answer["data"]

    for key, value in (("a", {"n": [1, None]}), ("b", None), ("a%", "x"), ("ab", 0)):
        assert await ask("set", key=key, value=value) == {}
        assert await ask("get", key=key) == {"exists": True, "value": value}
    assert await ask("get", key="nobody") == {"exists": False}
    listed = await ask("list")
    assert (listed["keys"], listed["count"], listed["truncated"]) == (["a", "a%", "ab", "b"], 4, False)
    assert (await ask("list", prefix="a%"))["keys"] == ["a%"]
    assert (await ask("list", prefix="a", limit=1))["truncated"] is True
    assert await ask("delete", key="a") == {"deleted": True}
    assert await ask("delete", key="a") == {"deleted": False}
    await ask("set", key="short", value=1, ttl_seconds=0.05)
    await asyncio.sleep(0.1)
    assert await ask("get", key="short") == {"exists": False}


@pytest.mark.parametrize(
    ("op", "body", "code"),
    [
        ("set", {"value": 1}, "MISSING_FIELD"),
        ("set", {"key": "a"}, "MISSING_FIELD"),
        ("set", {"key": 5, "value": 1}, "VALIDATION_ERROR"),
        ("set", {"key": "a", "value": "x" * 65_536}, "VALUE_TOO_LARGE"),
        ("set", {"key": "a", "value": 1, "ttl_seconds": -1}, "VALIDATION_ERROR"),
        ("set", {"key": "a", "value": 1, "ttl": 5}, "VALIDATION_ERROR"),
        ("get", {}, "MISSING_FIELD"),
        ("delete", {"key": None}, None),
        ("list", {"limit": 0}, "VALIDATION_ERROR"),
        ("list", {"prefix": 1}, "VALIDATION_ERROR"),
    ],
)
async def test_what_is_wrong_with_a_key_is_said(
    served: Served, op: str, body: dict[str, Any], code: str | None
) -> None:
    for subject, more in ((f"db.kv.wrong.{op}", {}), (f"db.kv.{op}", {"plugin_name": "wrong"})):
        found, message = await served.refused(subject, {**more, **body})
        assert found == (code or found)
        assert message
    assert (await served.refused(f"db.kv.{op}", {"key": "a"}))[0] == "MISSING_FIELD"
    assert (await served.refused(f"db.kv.{op}", {"plugin_name": "A.*", "key": "a"}))[0] == "VALIDATION_ERROR"
    both = {"plugin_name": "other", "key": "a", "value": 1}
    assert (await served.refused(f"db.kv.wrong.{op}", both))[0] == "VALIDATION_ERROR"
