"""R3: `initialize()` is killed at each of its statements; the next one converges and loses nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import older
from tests.faults import checking
from tests.faults.test_older_databases import LEGACY

STARTS: dict[str, Callable[[Path], None]] = {
    "new": older.empty,
    "first": older.first,
    "edges": older.edges,
    "crashed": older.crashed,
}


@pytest.mark.row("R3")
@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("start", [*STARTS, *LEGACY])
def test_an_initialize_that_is_killed_at_any_statement_is_finished_by_the_next_one(
    start, request, children, fast, budget, figure
):
    place = fast / "place"
    place.mkdir()
    path = place / "agents.db"
    make = STARTS.get(start)
    if make is None:
        source = request.getfixturevalue("legacy_databases") / f"{start}.db"

        def make(target: Path) -> None:
            shutil.copyfile(source, target)

    def anew() -> None:
        checking.empty_directory(place)
        make(path)

    anew()
    before = older.contents(path) if path.exists() else {}
    end = children.run("initialize_until", path, statement=0)
    assert end.code == 0, end.errors
    ((statements,),) = end.of("statements")
    whole = checking.converged(path, before)
    for number in budget(quick=statements if start == "new" else min(statements, 30), long=statements):
        at = checking.spread(number, statements) + 1
        anew()
        end = children.run("initialize_until", path, statement=at)
        assert end.code == -9, (start, at, end)
        for copy in place.glob("*.before-*.db"):
            assert older.lost(before, copy) == [], f"{start}, killed at {at}: a backup that is not whole"
        assert checking.converged(path, before) == whole, (start, at)
        checking.sound(path)
    figure(f"R3: {start}: killed at {budget.done} of {statements} statements: converged, no row lost")
