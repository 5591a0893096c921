"""`store.kv`: values under keys of a plugin, with an end if one is given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from abathur import payload, times
from abathur.engines.base import Engine
from abathur.errors import InvalidPayloadError, MissingFieldError, ValueTooLargeError
from abathur.rows.names import check_number, invalid, kind, shown
from abathur.rows.requests import once, request
from abathur.rows.values import plain_text
from abathur.script import Script, Statement

LARGEST: Final = 65_536
"""Bytes of a value's JSON."""
LONGEST_KEY: Final = 1_024
"""Bytes of a key."""
MOST_KEYS: Final = 1_000
"""Keys of one answer."""
LONGEST_TTL: Final = 100 * 366 * 24 * 60 * 60
"""Seconds."""
AT_ONCE: Final = 100
"""Keys whose time is over that one transaction removes at most."""

_COLUMNS: Final = ("plugin", "key", "value", "expires_at", "changed_at")
Put = tuple[str, str, str, int | None]
"""Plugin, key, JSON text of the value, and for how many microseconds."""


class Keys:
    """The keys of one plugin. No other plugin can reach them."""

    def __init__(self, engine: Engine, plugin: str) -> None:
        self._engine = engine
        self._plugin = plugin

    async def set(
        self, key: str, value: Any, ttl_seconds: float | None = None, *, request_id: str | None = None
    ) -> dict[str, Any]:
        """Keep a JSON value of at most 65,536 bytes, for so many seconds or for ever. Returns ``{}``.

        request_id: the same one again within a day does nothing. Raises MissingFieldError,
        RowValidationError, ValueTooLargeError or RowConflictError.
        """
        asked = request(self._plugin, request_id, "kv.set", key, value, ttl_seconds)
        put = (self._plugin, _key(key), _json(value), _ttl(ttl_seconds))
        if asked is None:
            await self._engine.merge(put_calls, put)
            return {}
        return await self._engine.write(once, asked, _put, (put,))

    async def get(self, key: str) -> dict[str, Any]:
        """Returns ``{"exists": True, "value": ...}`` or ``{"exists": False}``."""
        return await self._engine.read(_get, self._plugin, _key(key))

    async def delete(self, key: str, *, request_id: str | None = None) -> dict[str, Any]:
        """Returns ``{"deleted": bool}``. request_id: as for `set`."""
        asked = request(self._plugin, request_id, "kv.delete", key)
        call = (self._plugin, _key(key))
        if asked is None:
            return await self._engine.write(_delete, *call)
        return await self._engine.write(once, asked, _delete, call)

    async def list(self, prefix: str = "", limit: int = MOST_KEYS) -> dict[str, Any]:
        """Returns ``{"keys", "count", "truncated"}``: the keys that begin with `prefix`, sorted.

        Every character of the prefix means itself. Of the limit no more than 1,000 is taken.
        """
        begin = "" if prefix == "" else _key(prefix, "prefix")
        most = min(check_number(limit, "limit", 1, 2**62), MOST_KEYS)
        return await self._engine.read(_list, self._plugin, begin, most)


def put_calls(calls: Sequence[Put], now: int) -> Script[list[None]]:
    """Keep the values of many calls; of several for one key the last one."""
    rows = {
        (plugin, key): (plugin, key, text, None if kept is None else now + kept, now)
        for plugin, key, text, kept in calls
    }
    yield Statement("storage.purge_keys", now=now, limit=AT_ONCE)
    yield Statement("rows.put_key", rows=[rows[key] for key in sorted(rows)], columns=_COLUMNS)
    return [None] * len(calls)


def _put(put: Put, now: int) -> Script[dict[str, Any]]:
    yield from put_calls([put], now)
    return {}


def _get(plugin: str, key: str, now: int) -> Script[dict[str, Any]]:
    rows = yield Statement("rows.key", plugin=plugin, key=key, now=now)
    return {"exists": True, "value": payload.decode(rows[0]["value"])} if rows else {"exists": False}


def _delete(plugin: str, key: str, now: int) -> Script[dict[str, Any]]:
    rows = yield Statement("rows.delete_key", plugin=plugin, key=key)
    return {"deleted": bool(rows) and (rows[0]["expires_at"] is None or rows[0]["expires_at"] > now)}


def _list(plugin: str, prefix: str, limit: int, now: int) -> Script[dict[str, Any]]:
    rows = yield Statement(
        "rows.keys", plugin=plugin, first=prefix, before=_after(prefix), now=now, limit=limit + 1
    )
    keys = [row["key"] for row in rows[:limit]]
    return {"keys": keys, "count": len(keys), "truncated": len(rows) > limit}


def _after(prefix: str) -> str | None:
    """The first text after all that begin with the prefix, by code points; None if there is none."""
    for at in range(len(prefix) - 1, -1, -1):
        following = ord(prefix[at]) + 1
        if following == 0xD800:  # the surrogates are no characters
            following = 0xE000
        if following <= 0x10FFFF:
            return prefix[:at] + chr(following)
    return None


def _key(key: Any, what: str = "key") -> str:
    if key is None:
        raise MissingFieldError(what)
    if not isinstance(key, str) or not key:
        found = kind(key) if not isinstance(key, str) else "an empty text"
        raise invalid(
            f"{what} must be text of 1 to {LONGEST_KEY:,} bytes, not {found}", "Expected such a text."
        )
    plain_text(key, f"The {what}")
    if len(key.encode()) > LONGEST_KEY:
        raise ValueTooLargeError(
            f"The {what} has {len(key.encode()):,} bytes", f"Expected {LONGEST_KEY:,} at most.", "Shorten it."
        )
    return key


def _json(value: Any) -> str:
    try:
        text = payload.encode(value, "The value", largest=None)
    except InvalidPayloadError as error:
        raise invalid(error.problem.removesuffix("."), error.expected, error.remedy) from None
    size = len(text.encode())
    if size > LARGEST:
        raise ValueTooLargeError(
            f"The value has {size:,} bytes of JSON",
            f"Expected {LARGEST:,} at most.",
            "Store it in rows, or elsewhere, and its place here.",
        )
    return text


def _ttl(seconds: Any) -> int | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= LONGEST_TTL:
        raise invalid(
            f"ttl_seconds must be a positive number, not {shown(seconds)}", "Expected seconds, or none."
        )
    return max(math.ceil(seconds * times.SECOND), 1)
