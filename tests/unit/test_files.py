"""What must be true of a path before SQLite opens it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from abathur.engines import files
from abathur.errors import MissingDirectoryError, NetworkFileSystemError, NotADatabaseError


def test_a_regular_file_or_none_is_fine(tmp_path):
    files.check_place(tmp_path / "new.db")
    (tmp_path / "old.db").write_bytes(b"xy")
    files.check_place(tmp_path / "old.db")
    assert (tmp_path / "old.db").read_bytes() == b"xy"


def test_a_missing_directory_is_said(tmp_path):
    with pytest.raises(MissingDirectoryError):
        files.check_place(tmp_path / "no" / "a.db")


def test_what_is_no_file_is_said(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    for name, found in (
        ("fifo", "named pipe"),
        ("socket", "socket"),
        (".", "directory"),
        ("/dev/null", "device"),
    ):
        with pytest.raises(NotADatabaseError, match=found):
            files.check_place(tmp_path / name)


def test_a_loop_of_links_is_said(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(NotADatabaseError):
        files.check_place(tmp_path / "a")


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_file_system_is_refused(tmp_path, monkeypatch, kind):
    mounts = f"1 0 0:1 / / rw - ext4 /dev/x rw\n2 1 0:2 / {tmp_path} rw shared:1 - {kind} server:/x rw\n"
    read = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda self, **o: mounts if str(self) == "/proc/self/mountinfo" else read(self, **o),
    )
    with pytest.raises(NetworkFileSystemError, match=kind):
        files.check_place(tmp_path / "a.db")
    (tmp_path / "below").mkdir()
    with pytest.raises(NetworkFileSystemError):
        files.check_place(tmp_path / "below" / "a.db")
    files.check_place(Path("/tmp/a.db"))


def test_a_mount_with_odd_characters_in_its_name_is_found(tmp_path, monkeypatch):
    place = tmp_path / "a b"
    place.mkdir()
    escaped = str(place).replace(" ", "\\040")
    mounts = f"1 0 0:1 / / rw - ext4 /dev/x rw\n2 1 0:2 / {escaped} rw - nfs server:/x rw\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: mounts)
    assert files.file_system(place) == "nfs"
    assert files.file_system(tmp_path) == "ext4"


def test_a_new_file_is_its_owners_and_an_old_one_is_left_alone(tmp_path):
    path = tmp_path / "a.db"
    files.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"data")
    path.chmod(0o644)
    files.create(path)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"data", 0o644)
    assert files.size(path) == 4
    assert files.size(tmp_path / "none") == 0


def test_a_file_of_one_byte_is_refused_because_sqlite_takes_it_for_empty(tmp_path):
    (tmp_path / "a.db").write_bytes(b"x")
    with pytest.raises(NotADatabaseError, match="single byte"):
        files.check_place(tmp_path / "a.db")
