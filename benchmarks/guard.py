"""What the pytest plugin costs: the start of a session, a connect, an open, a statement, a child process.

A session of one empty test is run by fresh processes with warm bytecode: without the plugin, with it, and
with one protected database, which is then fingerprinted at the start and the end. They take turns. It is CPU
time, children included, and the least of the rounds: what else the machine does only adds to it. The other
costs are those of loops in two processes, one of which has the guard: the least of several rounds each.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.harness import Bench, interleave

LOOPS = """
import json, os, sqlite3, subprocess, sys, tempfile, time
place, has_guard, n = os.path.realpath(sys.argv[1]), sys.argv[2] == "yes", int(sys.argv[3])
if has_guard:
    from abathur.testing.guard import Guard, Settings, install
    own = {"report": place + "/report", "owner": str(os.getpid())}
    install(Guard(Settings(root="/nowhere", temporary=(place,), **own)))

def best(fn, n):
    times = []
    for round in range(5):
        began = time.perf_counter()
        for number in range(n):
            fn(round * n + number)
        times.append((time.perf_counter() - began) / n)
    return min(times) * 1e6

path = place + "/there.db"
kept = sqlite3.connect(path)
kept.execute("CREATE TABLE IF NOT EXISTS t (a, b, c, d, e, f, g, h)")
found = {
    "connect to a file that is there": best(lambda _: sqlite3.connect(path).close(), n),
    "connect to a new file": best(lambda i: sqlite3.connect(f"{place}/{os.getpid()}-{i}.db").close(), n),
    "connect to memory": best(lambda _: sqlite3.connect(":memory:").close(), n),
    "open() for reading": best(lambda _: open(path).close(), n),
    "open() for writing": best(lambda _: open(place + "/log", "a").close(), n),
    "prepare and run a SELECT of 8 columns": best(
        lambda i: kept.execute(f"SELECT * FROM t WHERE a = {i}"), n
    ),
    "start a Python process": best(
        lambda _: subprocess.run([sys.executable, "-c", "pass"], check=True), max(n // 100, 1)
    ),
}
print(json.dumps(found))
"""


def run(bench: Bench) -> None:
    with bench.place() as place:
        sessions = _sessions(place)
        found = interleave(bench.pick(15, 1), {name: partial(_cpu, *call) for name, call in sessions.items()})
        bare = found["without the plugin"]
        rows = [[name, min(times), min(times) - min(bare)] for name, times in found.items()]
        bench.table(["a session of one empty test", "ms of CPU", "more"], rows)
        bench.goal("the plugin at the start of pytest", float(rows[1][2]), "<=", 30, " ms")
    with bench.place() as place:
        n = bench.pick(2_000, 20)
        rounds = interleave(
            bench.pick(3, 1), {guarded: partial(_loops, place, guarded, n) for guarded in ("no", "yes")}
        )
        without, having = (
            {name: min(one[name] for one in found) for name in found[0]} for found in rounds.values()
        )
        costs = {name: having[name] - without[name] for name in without}
        bench.table(
            ["", "us without", "us with", "more"],
            [[name, without[name], having[name], costs[name]] for name in without],
        )
        for name in list(costs)[:3]:
            bench.goal(name, costs[name], "<=", 25, " us")


def _sessions(place: Path) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """{what is measured: (a project, options of pytest)}."""
    for name in ("bare", "protected"):
        (place / name).mkdir()
        (place / name / "pytest.ini").write_text("[pytest]\n")
        (place / name / "test_it.py").write_text("def test_it():\n    pass\n")
    with sqlite3.connect(place / "protected" / "dev.db") as connection:
        connection.execute("CREATE TABLE users (name)")
    connection.close()
    return {
        "without the plugin": (place / "bare", ()),
        "with it": (place / "bare", ("-p", "abathur.testing.plugin")),
        "with it and one protected database": (place / "protected", ("-p", "abathur.testing.plugin")),
        "with --abathur-guard=off": (place / "bare", ("-p", "abathur.testing.plugin", "--abathur-guard=off")),
    }


def _cpu(project: Path, options: tuple[str, ...]) -> float:
    """Milliseconds of CPU that a session takes, with its children."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", *options],
        cwd=project,
        # Bytecode is written, so that it is warm, also where whoever runs this has said otherwise.
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": ""},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    assert status == 0
    return (usage.ru_utime + usage.ru_stime) * 1000


def _loops(place: Path, guarded: str, n: int) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-c", LOOPS, str(place), guarded, str(n)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found
