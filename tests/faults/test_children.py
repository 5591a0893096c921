"""The processes of the fault tests end with the test that started them, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.conftest import new_database

TEST = """
import sys, time
from pathlib import Path
from tests.faults.children import Child
place = Path(sys.argv[1])
child = Child(place, 0, "producer", place / "agents.db", "p")
child.line(0)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_test_that_is_killed_leaves_no_process_behind(tmp_path):
    new_database(tmp_path / "agents.db")
    test = subprocess.Popen(
        [sys.executable, "-c", TEST, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    child = int(test.stdout.readline())
    os.kill(child, 0)
    test.kill()
    test.communicate()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError(f"{child} is still there")
