"""One file: its text, or the reason why it has none; never an error, and never a wait."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from abathur.projects.index.ignoring import is_binary_by_name
from abathur.projects.index.reading import UNKNOWN, decoded, open_files, read


def put(path: Path, data: bytes, *, age: float = 60) -> str:
    path.write_bytes(data)
    then = time.time_ns() - int(age * 1e9)
    os.utime(path, ns=(then, then))
    return str(path)


def test_a_text_is_read_with_what_tells_that_it_has_changed(tmp_path):
    path = put(tmp_path / "a.py", b"def f():\n    pass\n")
    found = read(path)
    assert (found.text, found.skipped, found.size) == ("def f():\n    pass\n", None, 18)
    assert found.mtime_ns == os.stat(path).st_mtime_ns
    assert found.sha256 == hashlib.sha256(b"def f():\n    pass\n").hexdigest()
    assert read(put(tmp_path / "empty", b"")).text == ""


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain", "plain"),
        ("größe 日本".encode(), "größe 日本"),
        (b"\xef\xbb\xbfbom", "bom"),
        ("größe".encode("utf-16"), "größe"),
        ("größe".encode("utf-16-be", "strict"), None),  # without its mark it is full of NUL
        (b"\xfe\xff" + "größe".encode("utf-16-be"), "größe"),
        (b"caf\xe9 au lait", "caf\ufffd au lait"),
        (b"cut off \xe6\x97", "cut off \ufffd"),
        (b"\xed\xa0\x80 surrogate", "\ufffd\ufffd\ufffd surrogate"),
        (b"nul \0 inside", None),
        (b"\x7fELF\x02\x01\x01\0\0", None),
        (b"\xff\xfe\0\0", None),
        (b"\r\nmac\rline\x0b\x0c", "\r\nmac\rline\x0b\x0c"),
    ],
)
def test_bytes_become_text_that_any_database_can_hold(data, text):
    found = decoded(data)
    assert found == text
    if found is not None:
        assert "\0" not in found
        found.encode()


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(put(tmp_path / "a", b"x"))
    began = time.monotonic()
    assert read(str(tmp_path / "pipe")).skipped == "special"
    assert read(str(tmp_path / "link")).skipped == "special"
    assert read(str(tmp_path)).skipped == "special"
    assert read(str(tmp_path / "nothing")).skipped == "gone"
    assert read(str(tmp_path / "a" / "below")).skipped == "gone"
    assert time.monotonic() - began < 5


def test_a_file_that_cannot_be_read_is_skipped(tmp_path):
    if not os.path.exists("/proc/self/mem"):
        pytest.skip("nothing here that even root cannot read")
    assert read("/proc/self/mem").skipped == "unreadable"


@pytest.mark.parametrize(
    ("code", "reason"),
    [(errno.EACCES, "unreadable"), (errno.EIO, "unreadable"), (errno.ELOOP, "special"), (2, "gone")],
)
def test_what_is_wrong_with_a_file_is_its_reason(tmp_path, monkeypatch, code, reason):
    path = put(tmp_path / "a", b"x")
    _refuse(monkeypatch, code)
    assert read(path).skipped == reason


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_this_process_lacks_is_no_reason_to_skip_a_file(tmp_path, monkeypatch, code):
    path = put(tmp_path / "a", b"x")
    _refuse(monkeypatch, code)
    with pytest.raises(OSError, match=os.strerror(code)):
        read(path)


def _refuse(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refused(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refused)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = put(tmp_path / "a", b"x" * 101)
    assert read(path, largest=100).skipped == "oversized"
    assert read(path, largest=101).text == "x" * 101
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)  # a hole of a terabyte
    assert read(str(tmp_path / "huge")).skipped == "oversized"


def test_a_change_of_this_moment_may_not_be_the_last_one_so_its_time_is_not_trusted(tmp_path):
    assert read(put(tmp_path / "a", b"x", age=0)).mtime_ns == UNKNOWN
    assert read(put(tmp_path / "b", b"x", age=-3600)).mtime_ns == UNKNOWN  # nor one of the future
    assert read(put(tmp_path / "c", b"x", age=10)).mtime_ns != UNKNOWN


def test_a_file_that_is_written_to_while_it_is_read_is_looked_at_again_next_time(tmp_path):
    path = put(tmp_path / "growing", b"start\n")
    began, stop = threading.Event(), threading.Event()

    def grow() -> None:
        with open(path, "ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"more\n")
                began.set()

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        began.wait()
        for _ in range(20):
            found = read(path, largest=1 << 30)
            assert found.mtime_ns == UNKNOWN
            assert found.text is not None
            assert found.text.startswith("start\n")
    finally:
        stop.set()
        writer.join()


def test_the_file_of_a_database_that_this_process_has_open_is_not_opened(tmp_path):
    path = tmp_path / "looks_like.txt"
    connection = sqlite3.connect(path)
    try:
        connection.execute("CREATE TABLE t (x)")
        connection.commit()
        live = open_files()
        seen = os.stat(path)
        assert (seen.st_dev, seen.st_ino) in live
        assert read(str(path), live=live).skipped == "binary"
        assert read(str(path), live=live).sha256 == ""
    finally:
        connection.close()
    assert (seen.st_dev, seen.st_ino) not in open_files()


LOCKS = """
import sqlite3, subprocess, sys
from abathur.projects.index.reading import read
path = sys.argv[1]
connection = sqlite3.connect(path, isolation_level=None)
connection.execute("CREATE TABLE t (x)")
connection.execute("BEGIN IMMEDIATE")
assert read(path).skipped == "binary"  # as if it had been opened a moment after the look at what is open
other = f"import sqlite3; sqlite3.connect({path!r}, timeout=0).execute('BEGIN IMMEDIATE')"
done = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True)
print(done.stderr.strip().splitlines()[-1])
"""


def test_even_if_a_database_is_opened_in_that_moment_its_locks_are_kept(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LOCKS, tmp_path / "a"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "sqlite3.OperationalError: database is locked\n"


@pytest.mark.parametrize("name", ["crew_1a2b3c4d-wal", "crew_1a2b3c4d-shm", "x-journal", "a.db", "A.SQLITE3"])
def test_what_sqlite_keeps_is_known_by_its_name(name):
    assert is_binary_by_name(name)
    assert not is_binary_by_name(name.rpartition("-")[0] or "db")
