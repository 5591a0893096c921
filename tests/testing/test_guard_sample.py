"""The suite that once emptied its development database: all ten of its files are caught now."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.testing.project import PLUGIN

SAMPLE = Path(__file__).parent / "sample"
FILES = {path.stem for path in (SAMPLE / "tests").glob("test_*.py")}


@pytest.fixture
def application(tmp_path):
    """A copy of the application with its development database."""
    root = tmp_path / "dances"
    shutil.copytree(SAMPLE, root, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "app.seed"], cwd=root, check=True)
    return root


def run(root, *arguments):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-rA",
            "--tb=line",
            "-W",
            "ignore",
            "-p",
            PLUGIN,
            "-p",
            "xdist",
            *arguments,
        ],
        cwd=root,
        env={
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": "",
            "PYTHONPATH": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    caught = {Path(line.split()[1].partition("::")[0]).stem for line in lines}
    return done, caught


def count(database):
    with closing(sqlite3.connect(database)) as connection:
        return [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("users", "dancers")
        ]


@pytest.mark.parametrize("workers", ["0", "4"])
def test_each_of_ten_ways_to_import_the_session_is_caught_and_the_database_is_byte_identical(
    application, workers
):
    database = application / "dancers.db"
    before = database.read_bytes()
    assert len(FILES) == 10
    done, caught = run(application, f"-n{workers}")
    assert caught == FILES, done.stdout
    assert done.returncode == 1
    assert database.read_bytes() == before
    assert count(database) == [3, 40]


def test_through_the_web_client_which_answers_with_a_status_the_test_fails_at_its_teardown(application):
    done, caught = run(application, "tests/test_web_client.py")
    assert "PASSED tests/test_web_client.py::test_it" in done.stdout
    assert caught == {"test_web_client"}
    assert "This test reached for a database that is no test's" in done.stdout


def test_without_the_guard_the_same_tests_pass_and_the_rows_are_gone(application):
    done, caught = run(application, "--abathur-guard=off", "tests/test_web_client.py")
    assert (done.returncode, caught) == (0, set()), done.stdout
    assert count(application / "dancers.db") == [3, 0]
