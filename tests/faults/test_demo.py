"""`abathur demo` as people run it: it kills a worker, and the database proves that nothing was lost."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

DEMO = [sys.executable, "-W", "error", "-m", "abathur", "demo"]
FILES = 24

needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc tells which workers run")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABATHUR_ENVIRONMENT", "production")  # not the demo's, which has its own database
    for number in range(FILES - 2):
        package = tmp_path / f"p{number % 3}"
        package.mkdir(exist_ok=True)
        (package / f"m{number}.py").write_text(
            f"import os\n\ndef f{number}():\n    return {number}  # TODO\n"
        )
    (tmp_path / "query.sql").write_text("-- all\nSELECT 1\n")
    (tmp_path / "Makefile").write_text("all:\n\ttrue\n")
    return tmp_path


def workers_of(output: Path) -> list[str]:
    """The command lines of worker processes that still run for this demo."""
    found = []
    for entry in Path("/proc").glob("*"):
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
            except OSError:  # it has ended meanwhile
                continue
            if "demo-worker" in line and str(output) in line:
                found.append(line)
    return found


def scalar(database: Path, query: str) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchone()[0]


@pytest.mark.slow
def test_the_demo_kills_a_worker_and_loses_nothing(here):
    done = subprocess.run(
        [*DEMO, "--pace", "0.4", "--workers", "3"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr + done.stdout
    database = here / "abathur-demo" / "demo.db"

    # The table, against the tables.
    table = dict(re.findall(r"^(\w+(?: \w+)?)  +(\S+)", done.stdout, re.MULTILINE))
    assert int(table["tasks"]) == FILES + 4 == scalar(database, "SELECT count(*) FROM tasks")
    assert int(table["completed"]) == FILES + 4
    assert (table["killed"], table["lost"], table["completed twice"]) == ("1", "0", "0")
    expired = scalar(database, "SELECT count(*) FROM task_attempts WHERE outcome = 'expired'")
    assert int(table["rescued"]) == expired >= 1
    claims = scalar(database, "SELECT count(*) FROM audit WHERE action_type = 'task.running'")
    assert int(table["attempts"]) == claims == FILES + 4 + expired
    assert table["audit trail"] == "valid"
    assert scalar(database, "SELECT count(*) FROM tasks WHERE status = 'completed'") == FILES + 4

    # The kill: it was said while it happened, and the trail has two claims of the same task.
    said = re.search(r'kill -9 (\d+): (demo-worker-\d), in the middle of "(Analyse [^"]+)"', done.stderr)
    assert said, done.stderr
    pid, name, summary = said.groups()
    assert f"{name} (pid {pid})" in done.stdout
    with closing(sqlite3.connect(database)) as db:
        query = (
            "SELECT actor FROM audit WHERE action_type = 'task.running' AND task_id ="
            " (SELECT id FROM tasks WHERE summary = ?) ORDER BY id"
        )
        first, second = (actor for (actor,) in db.execute(query, (summary,)))
    assert first == name != second

    # What it leaves behind.
    report = (here / "abathur-demo" / "report.md").read_text()
    assert f"{FILES} source files" in report
    assert re.search(rf"^report +{len(report.split())} words", done.stdout, re.MULTILINE)
    assert "| os | 22 |" in report
    assert "--database abathur-demo/demo.db list" in done.stdout
    assert "--database abathur-demo/demo.db audit verify" in done.stdout
    assert workers_of(database) == []
    environment = {**os.environ, "ABATHUR_ENVIRONMENT": ""}
    check = [*DEMO[:-1], "audit", "verify", "--database", str(database)]
    assert (
        subprocess.run(check, capture_output=True, check=False, env=environment, timeout=60).returncode == 0
    )


@pytest.mark.slow
def test_the_demo_as_json_is_one_document_and_runs_again_in_its_own_directory(here):
    (here / "one").mkdir()
    (here / "one" / "only.py").write_text("pass\n")
    for _ in range(2):
        done = subprocess.run(
            [*DEMO, "one", "--pace", "0.5", "--workers", "2", "--output", "out", "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        found = json.loads(done.stdout)
        assert found["good"]
        assert (found["tasks"], found["killed_in"], found["lost"], found["twice"]) == (5, 1, 0, 0)
        assert found["attempts"] == 5 + found["rescued"]
        assert found["rescued_after"] >= 2.9


@needs_proc
def test_an_interrupted_demo_stops_its_workers(here, heeds_ctrl_c):
    process = subprocess.Popen([*DEMO, "--pace", "5"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    database = here / "abathur-demo" / "demo.db"
    try:
        deadline = time.monotonic() + 20
        while len(workers_of(database)) < 4:
            assert time.monotonic() < deadline, "the workers were started"
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert workers_of(database) == []


@needs_proc
def test_workers_end_when_their_demo_is_killed(here):
    process = subprocess.Popen([*DEMO, "--pace", "5"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    database = here / "abathur-demo" / "demo.db"
    deadline = time.monotonic() + 20
    try:
        while len(workers_of(database)) < 4:
            assert time.monotonic() < deadline, "the workers were started"
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    while workers_of(database):
        assert time.monotonic() < deadline, "the workers ended"
        time.sleep(0.1)
