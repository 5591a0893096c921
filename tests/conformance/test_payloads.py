"""Payloads: any JSON value comes back equal; anything else is refused before a transaction."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from abathur.errors import InvalidPayloadError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def same(one, other):
    """Equal, and of the same types: 1, 1.0 and True are three different JSON values."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON, JSON)
@example({"": "\u2028</script>\\u0000 \x7f"}, "\\u0000")
@example(-0.0, 5e-324)
@example(2**63, -(10**300))
async def test_any_json_value_comes_back_equal(db, value, result):
    task = await db.tasks.enqueue("x", input=value)
    (claim,) = await db.tasks.claim("w")
    expected = {} if value is None else value
    assert same(expected, task.input)
    assert same(expected, claim.task.input)
    await db.tasks.complete(claim, result)
    found = await db.tasks.get(task.id)
    assert same(expected, found.input)
    assert same(result, found.result)
    if isinstance(value, float):
        assert math.copysign(1, found.input) == math.copysign(1, value)


def nested(depth):
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


class Color(enum.Enum):
    RED = "red"


BAD = {
    "NaN": float("nan"),
    "infinity": {"a": [float("-inf")]},
    "bytes": b"x",
    "a set": {1, 2},
    "a key that is a number": {1: "x"},
    "a key that is None": {"a": [{None: 1}]},
    "a datetime": {"at": dt.datetime.now(dt.UTC)},
    "a decimal": decimal.Decimal(1),
    "an enum": [Color.RED],
    "an object": object(),
    "NUL in a value": {"a": "x\0y"},
    "NUL in a key": {"a\0": 1},
    "a lone surrogate": ["\ud83d"],
    "a lone surrogate in a key": {"\udc00": 1},
    "257 KiB": "x" * 257 * 1024,
    "256 KiB and a byte, in bytes and not in characters": "é" * (128 * 1024 - 1) + "x",
    "65 levels": nested(65),
    "10,000 levels": nested(10_000),
    "an integer of 5,000 digits": 10**5_000,
}


@pytest.mark.parametrize("name", BAD)
async def test_a_payload_that_is_not_json_or_too_large_is_refused_everywhere(db, name):
    with pytest.raises(InvalidPayloadError, match="input"):
        await db.tasks.enqueue("x", input=BAD[name])
    assert await db.tasks.list() == []
    await db.tasks.enqueue("x")
    (claim,) = await db.tasks.claim("w")
    with pytest.raises(InvalidPayloadError, match="result"):
        await db.tasks.complete(claim, BAD[name])
    found = await db.tasks.get(claim.task.id)
    assert (found.status, found.result) == ("running", None)
    await db.tasks.complete(claim, "good")


async def test_the_largest_and_deepest_payloads_that_are_allowed_are_kept(db):
    for value in ("x" * (256 * 1024 - 2), nested(64), {"a": nested(63)}):
        task = await db.tasks.enqueue("x", input=value)
        assert (await db.tasks.get(task.id)).input == value


async def test_a_payload_that_holds_itself_is_refused_at_once(db):
    once: list[object] = []
    once.append(once)
    twice: list[object] = []
    twice += [twice, twice]
    wide: list[object] = []
    for _ in range(40):
        wide = [wide, wide]
    began = time.monotonic()
    for value in (once, twice, wide):
        with pytest.raises(InvalidPayloadError):
            await db.tasks.enqueue("x", input=value)
    assert time.monotonic() - began < 5


async def test_a_payload_is_kept_as_it_was_at_the_call(db):
    value = {"steps": [1]}
    task = await db.tasks.enqueue("x", input=value)
    value["steps"].append(2)
    assert (await db.tasks.get(task.id)).input == {"steps": [1]}


async def test_what_enqueue_returns_has_the_value_that_is_stored(db):
    """A tuple is stored as a list, and the caller's own object may change afterwards."""
    value = {"steps": (1, 2)}
    task = await db.tasks.enqueue("x", input=value)
    value["more"] = True
    assert task.input == (await db.tasks.get(task.id)).input == {"steps": [1, 2]}
