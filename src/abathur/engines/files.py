"""What must be true of a path before SQLite opens it, and how a new file is made."""

from __future__ import annotations

import errno
import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import Final

from abathur.engines.faults import translate_os
from abathur.errors import (
    MissingDirectoryError,
    NetworkFileSystemError,
    NotADatabaseError,
    ReadOnlyDatabaseError,
    TargetExistsError,
)

NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "ncpfs",
        "ceph",
        "glusterfs",
        "fuse.sshfs",
        "fuse.glusterfs",
    }
)
_KINDS: Final = {
    stat.S_IFDIR: "it is a directory",
    stat.S_IFIFO: "it is a named pipe",
    stat.S_IFSOCK: "it is a socket",
    stat.S_IFCHR: "it is a character device",
    stat.S_IFBLK: "it is a block device",
}


def check_place(path: Path) -> None:
    """Raise the OpenError that says why there can be no database at `path`, if there can be none.

    The file itself is never opened here: closing it would drop SQLite's locks on it.
    """
    try:
        has_directory = path.parent.is_dir()
    except OSError as error:
        raise translate_os(error, str(path.parent)) from error
    if not has_directory:
        raise MissingDirectoryError(str(path.parent))
    try:
        found = path.stat()
    except FileNotFoundError:
        if not os.access(path.parent, os.W_OK):
            raise ReadOnlyDatabaseError(str(path), "its directory is read-only") from None
    except OSError as error:  # a loop of links, a name that is too long, a directory that may not be read
        if error.errno == errno.EIO:
            raise translate_os(error, str(path)) from error
        raise NotADatabaseError(str(path), error.strerror or str(error)) from error
    else:
        if not stat.S_ISREG(found.st_mode):
            kind = _KINDS.get(stat.S_IFMT(found.st_mode), "it is not a regular file")
            raise NotADatabaseError(str(path), kind)
        if found.st_size == 1:  # SQLite takes it for an empty one
            raise NotADatabaseError(str(path), "it holds a single byte")
    kind = file_system(path.parent)
    if kind in NETWORK_FILE_SYSTEMS:
        raise NetworkFileSystemError(str(path), kind)


def create(path: Path) -> None:
    """Make an empty file that only its owner can read, unless there is one."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise translate_os(error, str(path)) from error


def create_anew(path: Path) -> int:
    """Make an empty file that only its owner can read; returns its descriptor."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise translate_os(error, str(path)) from error


def publish(partial: Path, fd: int, target: Path) -> None:
    """Give a finished file its name, unless there is one of that name. It survives a power cut."""
    os.fsync(fd)
    try:
        os.link(partial, target)  # unlike a rename it replaces nothing
    except FileExistsError:
        raise TargetExistsError(str(target)) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise TargetExistsError(str(target)) from None
        partial.rename(target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def which(path: Path) -> str | None:
    """``device:inode`` of a file that has something in it, without opening it; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise translate_os(error, str(path)) from error
    return f"{found.st_dev}:{found.st_ino}" if found.st_size else None


def size(path: Path) -> int:
    """The file's size in bytes, without opening it; 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise translate_os(error, str(path)) from error


@lru_cache(maxsize=64)
def file_system(directory: Path) -> str:
    """The kind of file system that holds `directory`, or "unknown" where the system does not say."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    best, kind = "", "unknown"
    place = f"{directory}/"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        mount = before.split()[4].encode().decode("unicode_escape").rstrip("/") + "/"
        if place.startswith(mount) and len(mount) >= len(best):
            best, kind = mount, after.split()[0]
    return kind
