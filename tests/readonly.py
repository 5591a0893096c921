"""Directories that cannot be written to, also by root, whom modes do not hold up; and one by two paths."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import require


@contextmanager
def read_only(request: pytest.FixtureRequest, place: Path) -> Iterator[None]:
    """Nobody can write in `place`: by its mode, or for root by a mount that is read-only."""
    if os.geteuid() != 0:
        place.chmod(0o555)
        try:
            yield
        finally:
            place.chmod(0o755)
        return
    with mounted(request, place, place):
        _run(request, "mount", "-o", "remount,bind,ro", str(place))
        with pytest.raises(OSError, match="Read-only"):
            (place / "written").touch()
        yield


@contextmanager
def mounted(request: pytest.FixtureRequest, place: Path, target: Path) -> Iterator[None]:
    """`target`, a directory, shows `place`."""
    if os.geteuid() != 0:
        require(request, "mount", "only root may mount")
    _run(request, "mount", "--bind", str(place), str(target))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(target)], check=True)


def _run(request: pytest.FixtureRequest, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        require(request, "mount", f"mounting is not allowed here: {done.stderr.strip()}")
