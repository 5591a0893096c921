"""R21: the server is restarted and its processes are killed while workers and producers work."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.faults.colony import Colony, Total
from tests.faults.conftest import new_database

RESTARTS = 10
"""Restarts on one database, before it is finished and proved and another is begun."""


@pytest.mark.row("R21", weight=4)
@pytest.mark.timeout(300)
def test_a_server_that_is_restarted_and_whose_processes_are_killed_loses_nothing(
    start, victim, budget, figure
):
    """Each round ends some connections, in good order or by kill -9, and then restarts the server."""
    draw = budget.draw()
    total = Total()
    began = time.monotonic()
    ended = killed = restarts = 0
    modes = itertools.cycle(["immediate", "fast"])
    colony = None
    for number in budget(quick=3, long=20):
        if colony is None:
            colony = Colony(start, new_database(victim.new_url()), total)
            colony.begin()
        for _ in range(4):
            colony.wait()
            ended += victim.terminate_one(draw)
        killed += victim.kill_one(draw)
        colony.wait()
        colony.stop_one()
        colony.wait()
        victim.restart(next(modes))
        restarts += 1
        if number % RESTARTS == RESTARTS - 1:
            colony.finish()
            colony = None
    if colony is not None:
        colony.finish()
    assert not total.lost
    assert not total.unfinished
    assert not total.twice
    assert not total.wrong
    assert ended >= restarts
    assert killed >= restarts // 2
    assert total.acknowledged > 0
    figure(
        f"R21: {restarts} restarts, {ended} connections ended, {killed} backends killed in "
        f"{time.monotonic() - began:.0f} s, {total.tasks:,} tasks ({total.acknowledged:,} acknowledged), "
        f"{total.moves:,} transitions, {total.refused:,} late writes refused: 0 lost, 0 unfinished, 0 twice"
    )


@pytest.mark.row("R21")
@pytest.mark.timeout(120)
def test_workers_on_a_server_that_are_killed_and_stopped_lose_nothing(start, postgres_url, budget, figure):
    """R1 and R2 on PostgreSQL."""
    total = Total()
    began = time.monotonic()
    colony = Colony(start, new_database(postgres_url), total)
    for number in budget(quick=40, long=1_000):
        colony.wait()
        if number % 4 == 0:
            colony.stop_one()
        colony.kill_one()
    colony.finish()
    assert total.bad == 0
    figure(
        f"R1, R2 on PostgreSQL: {total.kills:,} kills and {total.stops:,} stops in "
        f"{time.monotonic() - began:.0f} s, {total.tasks:,} tasks, {total.moves:,} transitions, "
        f"{total.refused:,} late writes refused: 0 lost, 0 unfinished, 0 twice"
    )
