"""The table of moves."""

from __future__ import annotations

import pytest

from abathur.errors import IllegalMoveError
from abathur.states import MOVES, NEW, STATUSES, TERMINAL, check_move


def test_every_move_is_between_known_statuses():
    assert set(MOVES) == {NEW, *STATUSES}
    assert set().union(*MOVES.values()) <= set(STATUSES)


def test_nothing_leads_to_pending_or_out_of_completed():
    assert not any("pending" in to for to in MOVES.values())
    assert MOVES["completed"] == frozenset()
    assert frozenset({"completed", "failed", "cancelled"}) == TERMINAL


def test_every_status_but_pending_can_be_reached_and_left():
    reached = {NEW}
    while more := set().union(*(MOVES[one] for one in reached)) - reached:
        reached |= more
    assert reached == {NEW, *STATUSES} - {"pending"}
    for status in STATUSES:
        assert MOVES[status] or status == "completed"


def test_only_running_completes():
    assert [status for status, to in MOVES.items() if "completed" in to] == ["running"]
    assert [status for status, to in MOVES.items() if "running" in to] == ["ready"]


@pytest.mark.parametrize("found", [*MOVES, "no such status"])
@pytest.mark.parametrize("wanted", STATUSES)
def test_a_move_is_allowed_exactly_when_the_table_has_it(found, wanted):
    if wanted in MOVES.get(found, ()):
        check_move("t", found, wanted)
        return
    with pytest.raises(IllegalMoveError, match=f"is {found} and cannot become {wanted}") as caught:
        check_move("t", found, wanted)
    assert (caught.value.task_id, caught.value.found, caught.value.wanted) == ("t", found, wanted)
