"""A benchmark leaves nothing behind, also when it is ended before its time."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory into which the server's own user may look, unlike pytest's."""
    found = Path(tempfile.mkdtemp(prefix="abathur-bench-"))
    found.chmod(0o755)
    yield found
    shutil.rmtree(found, ignore_errors=True)


def test_a_benchmark_that_is_ended_stops_its_server_and_removes_its_files(place: Path, postgres_url: str):
    del postgres_url  # where no server can be started, none is asked for here either
    environment = {name: value for name, value in os.environ.items() if name != "ABATHUR_BENCH_POSTGRES_URL"}
    command = ["-m", "benchmarks", "postgres_pickup", "--quick", "--directory", place]
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "PostgreSQL:" in line:
                break
        (found,) = place.glob("*/data/postmaster.pid")
        server = int(found.read_text().split()[0])
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert list(place.iterdir()) == []
    deadline = time.monotonic() + 10
    while _lives(server) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _lives(server)


def _lives(pid: int) -> bool:
    try:
        return "postgres" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False
