"""The demo's output directory: nothing in it is deleted that no demo has made."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from abathur.errors import InvalidInputError

MARKER: Final = ".abathur-demo"
DATABASE: Final = "demo.db"
_OURS: Final = (
    "demo.db",
    "demo.db-*",
    "demo.db.before-*.db",
    "demo-worker-*.log",
    "report.md",
    "report.*.tmp",
)


@contextmanager
def prepared(directory: Path) -> Iterator[int]:
    """Empty the directory, and keep other demos out of it; gives the descriptor of the lock.

    Workers inherit the descriptor: should they outlive the demo, its database is still theirs.
    Raises InvalidInputError if the directory holds what no demo has left there, or if one runs in it.
    """
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        marker = directory / MARKER
        if not marker.exists() and any(directory.iterdir()):
            raise InvalidInputError(
                f"{directory} holds files that no demo has left there.",
                "Expected a new or empty directory, or one of an earlier demo.",
                "Name another one with --output.",
            )
        descriptor = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInputError(
            f"{directory} cannot be used: {error.strerror or error}.",
            "Expected a directory that can be made or written to, in one that exists.",
            "Name another one with --output.",
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInputError(
                f"Another demo is running in {directory}.",
                "Expected one at a time.",
                "Wait for it, or name another directory with --output.",
            ) from None
        for pattern in _OURS:
            for path in directory.glob(pattern):
                path.unlink()
        (directory / ".gitignore").write_text("*\n", encoding="utf-8")
        yield descriptor
    finally:
        os.close(descriptor)
