"""R6: one system call on the files fails once, or from there on for ever, under many callers at once."""

from __future__ import annotations

import errno
from collections import Counter

import pytest
from attrs import evolve

from tests.faults import checking
from tests.faults.nursery import ALL, SHORT, End, Fault

SPACE = ("open", "write", "sync", "size", "map")
NOT_LOCKS = tuple(kind for kind in ALL if kind != "lock")
"""Not for ever: SQLite asks for a lock for ten seconds each time, so that would show little but patience."""

FAULTS = {
    "EIO once": Fault(),
    "ENOSPC once": Fault(error=errno.ENOSPC, kinds=SPACE),
    "EINTR once": Fault(error=errno.EINTR),
    "EMFILE once": Fault(error=errno.EMFILE, kinds=("open",)),
    "EIO for ever": Fault(for_ever=True, kinds=NOT_LOCKS),
    "half a write, then ENOSPC for ever": Fault(
        what=SHORT, error=errno.ENOSPC, for_ever=True, kinds=("write", "size")
    ),
    "no sync for ever": Fault(for_ever=True, kinds=("sync",)),
}


def may_come_back(fault: Fault, end: End) -> bool:
    """The one case in which what was refused may be there later: the log took the COMMIT and did not sync
    it, and from then on took nothing, so that nothing could be written over it.
    """
    return fault.for_ever and "write" in fault.kinds and end.hit.startswith(("fsync", "fdatasync"))


def test_a_commit_that_could_not_be_synced_is_not_there_after_a_kill_either(nursery, fast):
    """SQLite leaves it in the log, whole, where the next process would take it for committed."""
    path = fast / "agents.db"
    refused = 0
    for at in range(8, 32, 3):
        checking.empty_directory(fast)
        fault = Fault(at=at, for_ever=True, kinds=("sync",))
        end = nursery.run("work", path, fault, killed=True)
        checking.told_the_truth(end, path)
        refused += len(end.of("refused"))
    assert refused > 8


@pytest.mark.row("R6")
@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_call_that_fails_is_a_typed_error_and_all_or_nothing_and_work_goes_on(
    nursery, fast, budget, figure
):
    path = fast / "agents.db"
    calls = {}
    for name, fault in FAULTS.items():
        checking.empty_directory(fast)
        end = nursery.run("work", path, fault)
        assert end.code == 0, end.errors
        checking.told_the_truth(end, path)
        calls[name] = end.calls
    names = list(FAULTS)
    kinds: Counter[str] = Counter()
    hit = refusals = came_back = 0
    for number in budget(quick=150, long=2 * sum(calls.values())):
        name = names[number % len(names)]
        at = 1 + checking.spread(number // len(names), calls[name])
        killed = number // len(names) % 2 == 1
        fault = evolve(FAULTS[name], at=at)
        checking.empty_directory(fast)
        end = nursery.run("work", path, fault, killed=killed)
        case = f"{name} at call {at}, killed: {killed}: {end.errors} {end.said[-3:]}"
        assert end.code in ((0, -9) if killed else (0,)), case
        if not fault.for_ever:
            assert not end.of("refused again"), case
        try:
            if may_come_back(fault, end):
                came_back += checking.lost_nothing(end, path)
            else:
                checking.told_the_truth(end, path)
        except Exception as error:
            raise AssertionError(case) from error
        hit += end.hit != ""
        refusals += len(end.of("refused"))
        kinds.update(kind for _, kind, _ in end.of("refused"))
    figure(
        f"R6: {hit:,} of {sum(calls.values()):,} calls failed, {refusals:,} callers refused with "
        f"{len(kinds)} kinds of typed errors; 0 lost, 0 by halves, {came_back} unsynced ones found later"
    )
