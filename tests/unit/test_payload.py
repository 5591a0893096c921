"""Payloads as text: canonical, so that equal values have equal digests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abathur import payload, times
from abathur.errors import InvalidInputError, InvalidPayloadError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def holds_what_is_refused(value):
    """Whether a NUL or a lone surrogate is in one of its texts."""
    if isinstance(value, str):
        return "\0" in value or any("\ud800" <= one <= "\udfff" for one in value)
    if isinstance(value, dict):
        return any(map(holds_what_is_refused, [*value, *value.values()]))
    return isinstance(value, list) and any(map(holds_what_is_refused, value))


@given(JSON)
def test_a_value_is_encoded_and_decoded_or_refused_for_a_reason(value):
    if holds_what_is_refused(value):
        with pytest.raises(InvalidPayloadError):
            payload.encode(value, "it")
        return
    text = payload.encode(value, "it")
    assert payload.decode(text) == value
    assert "\\u0000" not in text.replace("\\\\", "")
    text.encode()


@given(st.dictionaries(st.text("abc", max_size=3), st.integers(), max_size=5))
def test_the_order_of_keys_does_not_matter(value):
    backwards = dict(reversed(value.items()))
    assert payload.encode(value, "it") == payload.encode(backwards, "it")


@given(
    st.lists(st.none() | st.text("a:-0n1", max_size=4), max_size=4),
    st.lists(st.none() | st.text("a:-0n1", max_size=4), max_size=4),
)
def test_two_lists_of_parts_have_one_digest_only_if_they_are_equal(one, other):
    assert (payload.digest(*one) == payload.digest(*other)) == (one == other)


def test_an_escaped_backslash_before_u0000_is_no_nul():
    assert payload.decode(payload.encode("\\u0000", "it")) == "\\u0000"
    with pytest.raises(InvalidPayloadError, match="NUL"):
        payload.encode(["\\u0000", {"\0": 1}], "it")


def test_older_text_that_is_no_json_is_given_as_it_is():
    assert payload.decode_stored("not json") == "not json"
    assert payload.decode_stored('{"a": 1}') == {"a": 1}
    assert payload.decode_stored(None) is None


@pytest.mark.parametrize("value", ["", "  ", "a\0", "x" * 11, "\ud800", 5, None])
def test_a_short_text_is_checked(value):
    with pytest.raises(InvalidInputError, match="it "):
        payload.plain(value, "it", longest=10)
    assert payload.plain("x" * 10, "it", longest=10) == "x" * 10
    assert payload.plain("", "it", empty=True) == ""


@pytest.mark.parametrize("stored", [41, 1.5, None])
def test_what_is_stored_and_no_text_stays_as_it_is(stored):
    assert payload.decode_stored(stored) == stored


@pytest.mark.parametrize("stored", ["soon", b"", 1 << 62, -(1 << 62), float("inf")])
def test_a_stored_moment_of_a_damaged_row_is_none(stored):
    assert times.moment(stored) is None
