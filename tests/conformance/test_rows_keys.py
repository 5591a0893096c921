"""Keys and values of plugins."""

from __future__ import annotations

import asyncio
import json

from tests.conformance.checks import pass_time
from tests.conformance.rows import refused


async def test_a_value_is_kept_under_its_key(db):
    kv = db.rows.for_plugin("quotes").kv
    values = [None, True, 0, -1.5, "text", "", [], {"a": [1, {"b": None}]}, "ünïcode 🦋", 2**62]
    for value in values:
        assert await kv.set("key", value) == {}
        assert await kv.get("key") == {"exists": True, "value": value}
    assert await kv.get("other") == {"exists": False}
    assert await kv.delete("key") == {"deleted": True}
    assert await kv.delete("key") == {"deleted": False}
    assert await kv.get("key") == {"exists": False}


async def test_a_value_ends_with_its_time(db):
    kv = db.rows.for_plugin("quotes").kv
    await kv.set("short", 1, ttl_seconds=10)
    await kv.set("kept", 1, ttl_seconds=10)
    await kv.set("gone", 1, ttl_seconds=0.5)
    await kv.set("kept", 2)
    await pass_time(db, 9)
    assert (await kv.list())["keys"] == ["kept", "short"]
    assert await kv.delete("gone") == {"deleted": False}
    await pass_time(db, 2)
    assert await kv.get("short") == {"exists": False}
    assert await kv.get("kept") == {"exists": True, "value": 2}
    assert await kv.delete("short") == {"deleted": False}
    await kv.set("short", 3)
    assert await kv.get("short") == {"exists": True, "value": 3}


async def test_keys_are_listed_in_order_by_a_prefix_that_is_taken_literally(db):
    kv = db.rows.for_plugin("quotes").kv
    keys = [
        "a",
        "a%",
        "a%b",
        "a_b",
        "aXb",
        "b",
        "A",
        "ä",
        "a\U0010ffff",
        "a\U0010ffffz",
        "\U0010ffff",
        "\ud7ff",
        "\ue000",
    ]
    for key in keys:
        await kv.set(key, key)
    await db.rows.for_plugin("other").kv.set("a", 1)
    assert await kv.list() == {"keys": sorted(keys), "count": len(keys), "truncated": False}
    for prefix in ("a", "a%", "a_", "%", "A", "ä", "b", "a\U0010ffff", "\U0010ffff", "\ud7ff", "c", "aa"):
        wanted = sorted(key for key in keys if key.startswith(prefix))
        assert await kv.list(prefix) == {"keys": wanted, "count": len(wanted), "truncated": False}, prefix
    assert await kv.list("a", limit=2) == {"keys": ["a", "a%"], "count": 2, "truncated": True}
    assert (await kv.list("a", limit=9_000))["truncated"] is False


async def test_plugins_have_keys_of_their_own(db):
    one, other = db.rows.for_plugin("a").kv, db.rows.for_plugin("a_b").kv
    await one.set("b_c", 1)
    assert await other.get("c") == {"exists": False}
    assert await other.get("b_c") == {"exists": False}
    assert await other.delete("b_c") == {"deleted": False}
    assert (await other.list())["keys"] == []
    assert await one.get("b_c") == {"exists": True, "value": 1}


async def test_a_value_may_have_64_kib_of_json(db):
    kv = db.rows.for_plugin("quotes").kv
    await kv.set("key", "x" * 65_534)
    message = await refused(kv.set("key", "x" * 65_535), "VALUE_TOO_LARGE")
    assert message == "The value has 65,537 bytes of JSON"
    await refused(kv.set("key", "x" * 300_000), "VALUE_TOO_LARGE")
    await refused(kv.set("key", "ü" * 33_000), "VALUE_TOO_LARGE")
    assert len((await kv.get("key"))["value"]) == 65_534
    await refused(kv.set("k" * 1_025, 1), "VALUE_TOO_LARGE")
    await kv.set("k" * 1_024, 1)


async def test_what_is_no_key_value_or_time_is_refused(db, subtests):
    kv = db.rows.for_plugin("quotes").kv
    wrong = {
        "key": [kv.set(key, 1) for key in ("", 3, ["a"], "a\0b", "\ud800", True)],
        "value": [
            kv.set("k", value)
            for value in (float("nan"), {1: 2}, b"x", "a\0", {"k": {"\0": 1}}, "\ud800", object())
        ],
        "ttl_seconds": [
            kv.set("k", 1, ttl) for ttl in (0, -1, "5", True, float("inf"), float("nan"), 1e300, 10**400)
        ],
        "get": [kv.get(key) for key in ("", 3, "a\0")],
        "limit": [kv.list("", limit) for limit in (0, -1, "5", 1.5, None, True)],
        "prefix": [kv.list(prefix) for prefix in (3, "a\0", ["a"])],
    }
    for what, calls in wrong.items():
        for place, call in enumerate(calls):
            with subtests.test(f"{what} {place}"):
                await refused(call)
    await refused(kv.get(None), "MISSING_FIELD")
    deep: object = 1
    for _ in range(70):
        deep = [deep]
    await refused(kv.set("k", deep))
    assert (await kv.list())["keys"] == []


async def test_many_values_at_once_are_all_kept(db):
    kv = db.rows.for_plugin("quotes").kv
    await asyncio.gather(*[kv.set(f"k{n % 50:02}", n) for n in range(300)])
    assert (await kv.list())["count"] == 50
    found = [(await kv.get(f"k{n:02}"))["value"] for n in range(50)]
    assert found == list(range(250, 300)), "the last one that was asked for"
    assert json.dumps(found)
