"""The clock never goes back, whatever the host's does, and leases still expire meanwhile."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from abathur import Database
from abathur.engines import clock as module
from abathur.engines.clock import Clock

HOUR = 3_600_000_000


class Host:
    """A host whose two clocks are set by the test; nanoseconds inside, microseconds outside."""

    def __init__(self):
        self.wall = 1_700_000_000_000_000
        self.mono = 5_000_000

    def time_ns(self):
        return self.wall * 1000

    def monotonic_ns(self):
        return self.mono * 1000

    def pass_(self, micros, wall=None):
        self.mono += micros
        self.wall += micros if wall is None else wall


@pytest.fixture
def host(monkeypatch):
    host = Host()
    monkeypatch.setattr(module, "time", host)
    return host


def test_it_shows_the_hosts_time(host):
    clock = Clock()
    assert clock.now() == host.wall
    host.pass_(123)
    assert clock.now() == host.wall


def test_an_hour_back_does_not_turn_it_back_and_time_goes_on(host):
    clock = Clock()
    before = clock.now()
    host.pass_(0, wall=-HOUR)
    assert clock.now() == before
    for _ in range(10):
        host.pass_(1_000_000)
    assert clock.now() == before + 10_000_000
    host.pass_(2 * HOUR)
    assert clock.now() == before + 10_000_000 + 2 * HOUR, "it goes on until the wall clock has caught up"
    host.pass_(0, wall=2 * HOUR)
    assert clock.now() == host.wall


def test_an_hour_ahead_is_believed_and_not_taken_back(host):
    clock = Clock()
    host.pass_(0, wall=HOUR)
    ahead = clock.now()
    assert ahead == host.wall
    host.pass_(0, wall=-HOUR)
    assert clock.now() == ahead


def test_jitter_never_turns_it_back(host):
    import random

    draw = random.Random(1)
    clock = Clock()
    last = clock.now()
    for _ in range(2_000):
        host.pass_(draw.randrange(3), wall=draw.randrange(-5_000, 5_000))
        now = clock.now()
        assert now >= last
        last = now


def test_it_starts_no_earlier_than_what_the_database_has_recorded(host):
    clock = Clock()
    clock.at_least(host.wall + HOUR)
    assert clock.now() == host.wall + HOUR
    host.pass_(7)
    assert clock.now() == host.wall + HOUR
    clock.at_least(5)
    assert clock.now() == host.wall + HOUR


def test_no_thread_sees_it_go_back(monkeypatch):
    """Readers and the writer ask from threads of their own while the wall clock is behind."""
    monkeypatch.setattr(module, "time", Behind())
    clock = Clock()
    clock.at_least(time.time_ns() // 1000)
    switch = sys.getswitchinterval()
    wrong = []
    go = threading.Barrier(5)

    def ask():
        last = 0
        go.wait()
        for _ in range(20_000):
            now = clock.now()
            if now < last:
                wrong.append((last, now))
            last = now

    threads = [threading.Thread(target=ask) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        sys.setswitchinterval(1e-6)  # not before they run: a tracer cannot start two threads in one moment
        go.wait()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert not wrong


async def test_a_lease_that_was_given_by_a_wrong_clock_ends_for_those_who_did_not_see_it(
    host, monkeypatch, tmp_path
):
    """The host's clock is an hour ahead for a moment, in which one process claims and another sleeps."""
    monkeypatch.setattr(module, "time", host)
    path = tmp_path / "agents.db"
    async with Database(path) as sleeper:
        await sleeper.tasks.enqueue("x", agent_type="first")
        await sleeper.tasks.enqueue("x")
        host.pass_(0, wall=HOUR)
        async with Database(path) as dying:
            (claim,) = await dying.tasks.claim("dying", agent_types=["general"], lease=10)
        host.pass_(0, wall=-HOUR)
        assert await sleeper.tasks.claim("sleeper", agent_types=["general"]) == []
        host.pass_(11_000_000)
        (again,) = await sleeper.tasks.claim("sleeper", agent_types=["general"])
        assert again.fence == claim.fence + 1
        assert await sleeper.tasks.claim("sleeper", agent_types=["general"]) == []


class Behind:
    """A host whose wall clock is an hour behind what the database has recorded."""

    @staticmethod
    def time_ns():
        return time.time_ns() - HOUR * 1000

    @staticmethod
    def monotonic_ns():
        return time.monotonic_ns()
