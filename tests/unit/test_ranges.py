"""Sets of row ids as short text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abathur.audit import ranges


@given(st.sets(st.integers(1, 200)), st.integers(0, 210), st.integers(0, 210))
def test_a_set_survives_its_way_through_text(ids: set[int], first: int, last: int) -> None:
    text = ranges.to_text(ids)
    assert list(ranges.between(text, 1, 10**17)) == sorted(ids)
    assert ranges.measure(text) == ((min(ids), max(ids), len(ids)) if ids else (0, 0, 0))
    assert list(ranges.between(text, first, last)) == sorted(one for one in ids if first <= one <= last)


def test_neighbours_are_joined() -> None:
    assert ranges.to_text([5, 1, 2, 3, 9, 10]) == "1-3,5,9-10"
    assert ranges.to_text([]) == ""


NONSENSE = ["", "x", "1-", "-1", "1,,2", "0", "01", "1 - 2", None, 7, b"1", "9" * 30, "5-3", "1-4,4", "3,1"]


@pytest.mark.parametrize("text", NONSENSE)
def test_what_is_no_such_text_holds_no_ids(text: object) -> None:
    assert list(ranges.between(text, 1, 10**17)) == []
    assert ranges.measure(text) == (0, 0, 0)
