"""What is done for each address: rows, schemas, keys and questions about the chat."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from attrs import frozen

from abathur import payload
from abathur.chat import outbound
from abathur.chat.api import LONGEST_ERROR
from abathur.chat.events import message_id_of
from abathur.database import Database
from abathur.rows.requests import once, request
from abathur.script import Script, ScriptFunction
from abathur.service.body import kind_of, only, parse, parse_object, take
from abathur.service.envelope import Refused
from abathur.service.subjects import TOKEN, Address

ID_HEADER: Final = "Nats-Msg-Id"
"""Where a request says its id when its body is the row itself."""
LONGEST_ID: Final = 200


@frozen
class Call:
    """A request that was understood."""

    db: Database
    address: Address
    body: Any
    request_id: str | None


Handler = Callable[[Call], Awaitable[dict[str, Any]]]


def read(db: Database, address: Address, raw: bytes, headers: dict[str, str] | None, largest: int) -> Call:
    """Read a request's body as its address wants it. Raises Refused."""
    said = (headers or {}).get(ID_HEADER)
    if address.kind == "rows" and address.op == "insert" and address.table is not None:
        body = parse(raw, largest=largest)
        if not isinstance(body, (dict, list)):
            raise Refused(
                "VALIDATION_ERROR", f"The body must be a row, or a list of rows, not {kind_of(body)}."
            )
        return Call(db, address, body, _request_id(said))
    may_be_empty = (address.kind, address.op) in _NEEDS_NOTHING
    fields = parse_object(raw, largest=largest, may_be_empty=may_be_empty)
    given = take(fields, "request_id", "text", None)
    return Call(db, address, fields, _request_id(given if given is not None else said))


def _request_id(given: str | None) -> str | None:
    if given is not None and (not given or len(given) > LONGEST_ID or "\0" in given):
        raise Refused("VALIDATION_ERROR", f"Field 'request_id' must have 1 to {LONGEST_ID} characters.")
    return given


async def write_once(call: Call, fn: ScriptFunction[dict[str, Any]], *args: Any) -> dict[str, Any]:
    """Run a script that changes something; for a request that has come before, its first answer."""
    # No plugin's name has a colon: these are apart from the requests of every plugin.
    asked = request(
        f"{call.address.kind}:",
        call.request_id,
        call.address.op,
        {name: value for name, value in call.body.items() if name != "request_id"},
    )
    if asked is None:
        return await call.db.run(fn, *args)
    return await call.db.run(once, asked, fn, args)


async def handle(call: Call) -> dict[str, Any]:
    """Do what was asked for. Raises Refused, or an error of the library."""
    return await HANDLERS[call.address.kind](call)


# -- rows ------------------------------------------------------------------------------------------


async def _rows(call: Call) -> dict[str, Any]:
    address, body = call.address, call.body
    store = call.db.rows.for_plugin(str(address.plugin))
    given = address.table
    if address.op == "insert":
        if given is not None:
            return await store.insert(given, body, request_id=call.request_id)
        table = _table(call, "table", "data", "request_id")
        if "data" not in body:
            raise Refused("MISSING_FIELD", "Missing required field: data", field="data")
        return await store.insert(table, body["data"], request_id=call.request_id)
    if address.op == "select":
        table = _table(call, "table", "id", "filters", "sort", "limit", "offset", "request_id")
        _one_of(body, "id", "filters")
        paging = {name: body[name] for name in ("sort", "limit", "offset") if body.get(name) is not None}
        return await store.select(table, body.get("id"), body.get("filters"), **paging)
    if address.op == "update":
        table = _table(call, "table", "id", "filters", "data", "operations", "request_id")
        _one_of(body, "id", "filters")
        _one_of(body, "data", "operations")
        return await store.update(
            table,
            body.get("id"),
            body.get("data"),
            body.get("operations"),
            body.get("filters"),
            request_id=call.request_id,
        )
    if address.op == "delete":
        table = _table(call, "table", "id", "filters", "request_id")
        _one_of(body, "id", "filters")
        return await store.delete(table, body.get("id"), body.get("filters"), request_id=call.request_id)
    known = ("filters", "sort", "limit", "offset", "aggregates", "group_by")
    table = _table(call, "table", *known, "request_id")
    return await store.search(table, **{name: body[name] for name in known if body.get(name) is not None})


def _table(call: Call, *known: str) -> str:
    """The table that is meant, by the subject or by the body."""
    only(call.body, *known, "plugin")
    if take(call.body, "plugin", "text", call.address.plugin) != call.address.plugin:
        raise Refused(
            "VALIDATION_ERROR", "Field 'plugin' differs from the plugin of the subject", field="plugin"
        )
    named = take(call.body, "table", "text", call.address.table)
    if named is None:
        raise Refused("MISSING_FIELD", "Missing required field: table", field="table")
    if call.address.table is not None and named != call.address.table:
        raise Refused(
            "VALIDATION_ERROR", "Field 'table' differs from the table of the subject", field="table"
        )
    return str(named)


def _one_of(body: dict[str, Any], first: str, second: str) -> None:
    """Refuse a body that has neither of two fields, or both."""
    has = [name for name in (first, second) if body.get(name) is not None]
    if not has:
        raise Refused("MISSING_FIELD", f"Missing required field: {first} (or {second})", field=first)
    if len(has) == 2:
        raise Refused("VALIDATION_ERROR", f"Give either '{first}' or '{second}', not both", field=second)


async def _schema(call: Call) -> dict[str, Any]:
    store = call.db.rows.for_plugin(str(call.address.plugin))
    if call.address.op == "register":
        body = {name: value for name, value in call.body.items() if name != "request_id"}
        return await store.register(body)
    if call.address.op == "list":
        return await store.list_schemas()
    only(call.body, "table", "plugin", "request_id")
    table = take(call.body, "table", "text")
    if call.address.op == "get":
        return await store.get_schema(table)
    return await store.unregister(table, request_id=call.request_id)


# -- keys ------------------------------------------------------------------------------------------


def plugin_of(call: Call) -> str:
    """The plugin whose keys are meant, by the subject or by the body. Raises Refused."""
    plugin = call.address.plugin
    if plugin is None:
        named = str(take(call.body, "plugin_name", "text"))
        if not TOKEN.fullmatch(named):
            raise Refused(
                "VALIDATION_ERROR",
                "Field 'plugin_name' must be 1 to 48 lower-case letters, digits, `_` and `-`",
                field="plugin_name",
            )
        return named
    if take(call.body, "plugin_name", "text", plugin) != plugin:
        raise Refused(
            "VALIDATION_ERROR",
            "Field 'plugin_name' differs from the plugin of the subject",
            field="plugin_name",
        )
    return plugin


async def _kv(call: Call) -> dict[str, Any]:
    plugin = plugin_of(call)
    data = await _keyed(call, plugin)
    # The older form has its answer below `data` alone; the other one flat as well.
    return {"data": data} if call.address.plugin is None else {**data, "data": data}


async def _keyed(call: Call, plugin: str) -> dict[str, Any]:
    keys, body = call.db.rows.for_plugin(plugin).kv, call.body
    if call.address.op == "list":
        only(body, "plugin_name", "prefix", "limit", "request_id")
        return await keys.list(
            take(body, "prefix", "text", ""), limit=take(body, "limit", "an integer", 1_000)
        )
    key = take(body, "key", "text")
    if call.address.op == "set":
        only(body, "plugin_name", "key", "value", "ttl_seconds", "request_id")
        if "value" not in body:
            raise Refused("MISSING_FIELD", "Missing required field: value", field="value")
        kept = take(body, "ttl_seconds", "a number", None)
        return await keys.set(key, body["value"], ttl_seconds=kept, request_id=call.request_id)
    only(body, "plugin_name", "key", "request_id")
    if call.address.op == "get":
        return await keys.get(key)
    return await keys.delete(key, request_id=call.request_id)


# -- the chat --------------------------------------------------------------------------------------


async def _query(call: Call) -> dict[str, Any]:
    if call.address.op == "channel_stats":
        return await call.db.chat.channel_stats()
    return await call.db.chat.user_stats(take(call.body, "username", "text"))


async def _outbound(call: Call) -> dict[str, Any]:
    chat, body = call.db.chat, call.body
    if call.address.op == "enqueue":
        message, retries = take(body, "message", "text"), take(body, "max_retries", "an integer", 3)
        outbound.check(message, retries)
        return await write_once(call, _enqueue, message, retries)
    if call.address.op == "get":
        found = await chat.unsent(
            take(body, "limit", "an integer", 50), max_retries=take(body, "max_retries", "an integer", None)
        )
        return {"messages": found, "count": len(found)}
    message_id, error = take(body, "message_id", "an integer"), take(body, "error", "text", "failed")
    permanent = take(body, "permanent", "true or false", False)
    message_id_of(message_id)
    payload.plain(error, "error", longest=LONGEST_ERROR)
    return await write_once(call, outbound.mark_failed, message_id, error, permanent)


def _enqueue(message: str, max_retries: int, now: int) -> Script[dict[str, Any]]:
    return {"message_id": (yield from outbound.enqueue(message, max_retries, now))}


async def _recent_chat(call: Call) -> dict[str, Any]:
    found = await call.db.chat.recent(take(call.body, "limit", "an integer", 50))
    return {"messages": found, "count": len(found)}


HANDLERS: Final[dict[str, Handler]] = {
    "rows": _rows,
    "schema": _schema,
    "kv": _kv,
    "query": _query,
    "outbound": _outbound,
    "recent_chat": _recent_chat,
}
_NEEDS_NOTHING: Final = {
    ("query", "channel_stats"),
    ("outbound", "get"),
    ("recent_chat", "get"),
    ("health", "health"),
    ("schema", "list"),
    ("tasks", "list"),
}
"""Addresses that an empty body is enough for."""
