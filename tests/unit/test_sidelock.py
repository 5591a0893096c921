"""The side lock: one holder at a time, named by its pid, let go when it dies."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time

import pytest

from abathur.engines.sidelock import SideLock
from abathur.errors import DiskIOError, LockTimeoutError, ReadOnlyDatabaseError

HOLD = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(fd, fcntl.LOCK_EX)
os.pwrite(fd, b"%-12d" % os.getpid(), 0)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def database(tmp_path):
    return tmp_path / "agents.db"


def test_the_file_stands_beside_the_database_and_stays(database):
    lock = SideLock(database, 1)
    lock.acquire()
    assert lock.path == database.parent / "agents.db-lock"
    assert int(lock.path.read_text()) == os.getpid()
    assert lock.path.stat().st_mode & 0o777 == 0o600
    lock.release()
    lock.close()
    assert lock.path.exists()


def test_a_second_holder_waits_and_is_told_who_has_it(database):
    one, two = SideLock(database, 1), SideLock(database, 0.1)
    one.acquire()
    assert not two.try_acquire()
    began = time.monotonic()
    with pytest.raises(LockTimeoutError) as caught:
        two.acquire()
    assert 0.09 < time.monotonic() - began < 1
    assert caught.value.pid == os.getpid()
    one.release()
    assert two.try_acquire()
    two.release()
    one.close()
    two.close()


def test_a_waiter_gets_it_as_soon_as_it_is_free(database):
    one, two = SideLock(database, 1), SideLock(database, 5)
    one.acquire()
    timer = threading.Timer(0.05, one.release)
    timer.start()
    began = time.monotonic()
    two.acquire()
    assert time.monotonic() - began < 1
    timer.join()
    one.close()
    two.close()


def test_a_holder_that_is_killed_lets_go(database):
    lock = SideLock(database, 5)
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock.path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    assert not lock.try_acquire()
    process.kill()
    process.communicate()
    lock.acquire()
    assert int(lock.path.read_text()) == os.getpid()
    lock.close()


def test_a_lock_file_of_nonsense_names_nobody(database):
    one, two = SideLock(database, 1), SideLock(database, 0.01)
    one.acquire()
    one.path.write_bytes(b"\xff\x00 who?")
    with pytest.raises(LockTimeoutError) as caught:
        two.acquire()
    assert caught.value.pid is None
    assert "Another process" in str(caught.value)
    one.close()
    two.close()


def test_closing_lets_go_and_may_be_done_twice(database):
    one, two = SideLock(database, 1), SideLock(database, 0.01)
    one.acquire()
    one.close()
    one.close()
    one.release()
    assert two.try_acquire()
    two.close()


def test_a_place_where_no_lock_file_can_be_made_is_a_typed_error(tmp_path):
    lock = SideLock(tmp_path / "missing" / "agents.db", 1)
    with pytest.raises(ReadOnlyDatabaseError, match=r"agents\.db-lock"):
        lock.acquire()
    lock.close()


def test_an_error_of_the_disk_is_a_typed_error_and_the_lock_is_free_after_it(tmp_path, monkeypatch):
    lock = SideLock(tmp_path / "agents.db", 1)
    flock = fcntl.flock

    def fails(fd, how):
        if how == broken:
            raise OSError(errno.EIO, "Input/output error")
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", fails)
    broken = fcntl.LOCK_EX | fcntl.LOCK_NB
    with pytest.raises(DiskIOError, match="Input/output error"):
        lock.acquire()
    broken = fcntl.LOCK_UN
    lock.acquire()
    lock.release()  # it cannot be unlocked, so its file is closed
    other = SideLock(tmp_path / "agents.db", 1)
    assert other.try_acquire()
    other.close()
    lock.close()
