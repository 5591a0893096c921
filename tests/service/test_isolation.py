"""R20: no name, subject or reply subject lets one plugin reach another one, or the service's insides."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from typing import Any

import nats.errors
import pytest

from abathur import Database
from tests.nats import until
from tests.service.conftest import Served

FIELDS = [{"name": "text", "type": "text"}]
HOSTILE = [
    "*", ">", "a.*", "a.>", ".", "..", "a..b", "", " ", "a b", "a\tb", "a;b", "a'b", 'a"b', "a`b", "a\\b",
    "../a", "a/../b", "A", "\uff21", "\u0430", "\uff41", "a\u200b", "a\u202e", "\u00e9", "\u00df",
    "\u0130", "\u017f", "-a", "_a", "a%", "a$", "$SYS", "%s", "{a}", "${a}", "a" * 10_000, "/*", "a\x01",
    "a\x7f",
    "\u2028", "\U0001f600", "a\0b", "a\r\nPUB x 0\r\n",
]  # fmt: skip


async def outside(db: Database) -> list[Any]:
    """What no plugin's request may change: the tasks and the trail."""
    return [await db.tasks.counts(), len(await db.audit.list(limit=10_000))]


async def test_no_hostile_name_reads_writes_or_notifies_across_namespaces(served: Served) -> None:
    victim = served.plugin("victim")
    await served.ok(f"db.schema.{victim}.register", {"table": "items", "fields": FIELDS})
    await served.ok(f"db.row.{victim}.items.insert", {"text": "mine"})
    await served.ok(f"db.kv.{victim}.set", {"key": "k", "value": "mine"})
    before = await outside(served.db)
    draw = random.Random(20)
    names = [*HOSTILE, *("".join(draw.choices("*>. \"';\\/%$a_-\u0430é", k=5)) for _ in range(60))]
    asked = 0

    async def ask(subject: str, body: Any) -> None:
        nonlocal asked
        try:
            answer = await served.ask(subject, body)
        except (nats.errors.BadSubjectError, nats.errors.NoRespondersError):
            return  # the client or the server has refused the subject: no service ever saw it
        asked += 1
        assert answer["success"] is False, (subject, body, answer)
        assert answer["error"]["code"] in ("INVALID_SUBJECT", "VALIDATION_ERROR", "MISSING_FIELD"), answer

    served.timeout = 5
    for name in names:
        if len(name) > 3_000:  # longer than a line of the protocol may be: nats-server ends the connection
            await ask("db.kv.get", {"plugin_name": name, "key": "k"})
            await ask(f"db.row.{victim}.select", {"table": name, "id": 1})
            continue
        await asyncio.gather(
            ask(f"db.row.{name}.items.select", {"id": 1}),
            ask(f"db.row.{victim}.{name}.delete", {"filters": {"id": {"$gt": 0}}}),
            ask(f"db.schema.{name}.list", {"table": "items"}),
            ask(f"db.kv.{name}.get", {"key": "k"}),
            ask("db.kv.get", {"plugin_name": name, "key": "k"}),
            ask("db.kv.list", {"plugin_name": name}),
            ask(f"db.row.{victim}.select", {"table": name, "id": 1}),
            ask(f"db.schema.{victim}.register", {"table": "t", "fields": [{"name": name, "type": "text"}]}),
            ask(f"db.row.{victim}.items.search", {"filters": {name: 1}}),
            ask(f"db.row.{victim}.items.search", {"sort": {"field": name, "order": "asc"}}),
            ask(f"db.row.{victim}.items.insert", {name: "x"}),
        )
    assert asked > 500
    assert [row["text"] for row in (await served.ok(f"db.row.{victim}.items.search"))["rows"]] == ["mine"]
    assert (await served.ok(f"db.kv.{victim}.list"))["keys"] == ["k"]
    assert await outside(served.db) == before


async def test_names_that_look_alike_when_they_are_put_together_stay_apart(served: Served) -> None:
    pairs = [("a", "b_c"), ("a_b", "c"), ("a-b", "c"), ("a", "b__c"), ("a_", "b_c")]
    for plugin, table in pairs:
        await served.ok(f"db.schema.{plugin}.register", {"table": table, "fields": FIELDS})
        await served.ok(f"db.row.{plugin}.{table}.insert", {"text": f"{plugin} {table}"})
        await served.ok(f"db.kv.{plugin}.set", {"key": table, "value": plugin})
    for plugin, table in pairs:
        (row,) = (await served.ok(f"db.row.{plugin}.{table}.search"))["rows"]
        assert row["text"] == f"{plugin} {table}"
        assert (await served.ok(f"db.kv.{plugin}.get", {"key": table}))["value"] == plugin
    keys = {plugin: sorted(table for one, table in pairs if one == plugin) for plugin, _ in pairs}
    for plugin, tables in keys.items():
        assert (await served.ok(f"db.kv.{plugin}.list"))["keys"] == tables


@pytest.mark.parametrize("table", ["tasks", "audit", "abathur_meta", "sqlite_master", "pg_class"])
async def test_the_librarys_own_tables_are_nobodys_rows(served: Served, table: str) -> None:
    code, _ = await served.refused(f"db.row.thief.{table}.search")
    assert code == "VALIDATION_ERROR"
    await served.ok("db.schema.thief.register", {"table": table, "fields": FIELDS})
    assert (await served.ok(f"db.row.thief.{table}.search"))["rows"] == []
    await served.ok("db.schema.thief.unregister", {"table": table})
    assert (await served.db.audit.verify()).ok


async def test_an_answer_goes_to_inboxes_only_and_never_becomes_a_request(served: Served) -> None:
    """Else who may ask for one plugin only could have the service delete the rows of another one."""
    victim = served.plugin("deputy")
    await served.ok(f"db.schema.{victim}.register", {"table": "items", "fields": FIELDS})
    made = await served.ok(f"db.row.{victim}.items.insert", {"text": "mine"})
    thief = served.plugin("thief")
    await served.ok(f"db.schema.{thief}.register", {"table": "items", "fields": FIELDS})
    base = served.prefix
    heard: list[str] = []

    async def hear(msg: Any) -> None:
        heard.append(msg.subject)

    wire = await served.client.subscribe(f"{base}.>", cb=hear)
    for reply in (
        f"{base}.db.row.{victim}.items.delete",
        "$JS.API.STREAM.DELETE." + base + "_events",
        "elsewhere",
    ):
        row = json.dumps({"text": "x"}).encode()
        await served.client.publish(f"{base}.db.row.{thief}.items.insert", row, reply=reply)

    async def inserted() -> bool:
        return (await served.ok(f"db.row.{thief}.items.search"))["count"] == 3

    await until(inserted)
    await wire.unsubscribe()
    assert f"{base}.db.row.{victim}.items.delete" not in heard
    assert (await served.ok(f"db.row.{victim}.items.select", {"id": made["id"]}))["exists"]
    assert (await served.service.nats.jsm().stream_info(f"{base}_events")).config.name


async def test_bytes_that_no_client_should_send_do_not_silence_the_service(served: Served) -> None:
    """nats-py stops reading for ever when a subject, a reply or a header cannot be decoded."""
    base = served.prefix.encode()

    def with_header(header: bytes) -> bytes:
        return b"HPUB %s.db.health _INBOX.x %d %d\r\n%s{}\r\n" % (base, len(header), len(header) + 2, header)

    lines = [
        b"PUB %s.db.row.\xff\xfe.insert 2\r\n{}\r\n" % base,
        b"PUB %s.db.health _INBOX.\xff\xfe 2\r\n{}\r\n" % base,
        with_header(b"NATS/1.0 \xff\xfe\xfd\r\n\r\n"),
        with_header(b"NATS/1.0\r\n\xff\xfe: \xff\xfe\xff\r\n\r\n"),
        with_header(b"NATS/1.0 503\r\n\r\n"),
        with_header(b"NATS/1.0\r\nNats-Msg-Id\r\n\r\n"),
        b"PUB %s.db.row.p.insert %s 2\r\n{}\r\n" % (base, b"_" * 900),
        b"PUB %s.db.message.log 3\r\n\xff\xfe\xfd\r\n" % base,
    ]
    with socket.create_connection((served.server.host, served.server.port)) as raw:
        raw.settimeout(5)
        raw.recv(4096)
        raw.sendall(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
        for line in lines:
            raw.sendall(line)
        raw.sendall(b"PING\r\n")
        said = b""
        while b"PONG" not in said and b"ERR" not in said:
            said += raw.recv(4096)
        assert b"ERR" not in said, said
    for _ in range(3):
        assert (await served.ok("db.health"))["status"] == "healthy"
