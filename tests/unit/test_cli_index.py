"""`abathur index` and `abathur search`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from abathur.cli import main


def abathur(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, in whose directory the commands are called; the registry lies elsewhere."""
    place = tmp_path / "work"
    (place / ".abathur").mkdir(parents=True)
    (place / ".abathur" / "config.json").write_text(
        json.dumps({"version": "1.0", "project": {"name": "crew"}})
    )
    (place / "notes.md").write_text("# Leases\n\nA lease \x1b[31mhas expired.\n\tAnd more.\n")
    (place / "sub").mkdir()
    (place / "sub" / "code.py").write_text("def renew(lease):\n    return lease\n")
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ABATHUR_DATABASE", str(tmp_path / "registry.db"))
    monkeypatch.delenv("ABATHUR_ENVIRONMENT", raising=False)
    return place


def test_a_project_is_indexed_and_searched(here):
    done = abathur("index")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"Indexed {here}: 2 files, 2 of them new or changed, 1 skipped."
    assert "1 ignored" in done.stdout
    found = abathur("search", "lease", "expired")
    assert found.exit_code == 0
    assert found.stdout == "notes.md:3\n    A lease \\x1b[31mhas expired.\n        And more.\n"
    both = abathur("search", "leas*", "--json")
    assert sorted(hit["path"] for hit in json.loads(both.stdout)) == ["notes.md", "sub/code.py"]
    assert len(json.loads(abathur("search", "lease*", "--limit", "1", "--json").stdout)) == 1
    assert json.loads(abathur("search", '"expired lease"', "--json").stdout) == []


def test_the_answer_of_index_is_json_on_demand(here):
    first = json.loads(abathur("index", "sub", "--json").stdout)
    assert (first["status"], first["path"], first["indexed"], first["progress"]) == (
        "completed", str(here / "sub"), 1, 1.0,
    )  # fmt: skip
    again = json.loads(abathur("--json", "index", "--project", "crew").stdout)
    assert again["indexed"] == 1
    forced = json.loads(abathur("index", "--force", "--json").stdout)
    assert (forced["indexed"], forced["force"]) == (2, True)


def test_what_is_asked_for_in_the_background_is_done_by_a_runner_of_the_indexer(here):
    asked = json.loads(abathur("index", "--background", "--json").stdout)
    assert asked["status"] == "queued"
    same = abathur("index", "--background")
    assert same.stdout.startswith(f"Asked for {here}: waiting for a runner.")
    assert asked["job_id"] in same.stdout
    listed = json.loads(abathur("index", "--jobs", "--json").stdout)
    assert [(job["job_id"], job["status"]) for job in listed] == [(asked["job_id"], "queued")]
    ran = abathur("run", "abathur.indexer:runner", "--until-idle", "--json")
    assert ran.exit_code == 0, ran.stderr
    shown = abathur("index", "--jobs", "--project", "crew")
    assert "completed" in shown.stdout
    assert "100%" in shown.stdout


def test_a_job_is_cancelled(here):
    asked = json.loads(abathur("index", "--background", "--json").stdout)
    done = abathur("index", "--cancel", asked["job_id"])
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Cancelled {here}: cancelled; ")
    assert abathur("index", "--cancel", "nothing").exit_code == 1
    assert json.loads(abathur("index", "--json").stdout)["status"] == "completed"


def test_where_there_is_no_project_the_error_says_how_to_make_one(here, tmp_path, monkeypatch):
    (tmp_path / "bare").mkdir()
    monkeypatch.chdir(tmp_path / "bare")
    refused = abathur("index")
    assert refused.exit_code == 1
    assert "abathur projects create" in refused.stderr
    assert abathur("search", "x").exit_code == 1
    assert abathur("index", "nowhere").exit_code == 1
    assert abathur("index", "--jobs").stdout == ""


def test_a_store_is_moved_with_its_index(here, tmp_path):
    done = json.loads(abathur("index", "--json").stdout)
    store = tmp_path / done["database_name"]
    moved = abathur("move", str(store), str(tmp_path / "moved.db"), "--json")
    assert moved.exit_code == 0, moved.stderr
    rows = {one["name"]: one["rows"] for one in json.loads(moved.stdout)["tables"]}
    assert (rows["index_roots"], rows["index_files"], rows["index_chunks"]) == (1, 2, 2)
    for path in tmp_path.glob(f"{store.name}*"):
        path.unlink()
    (tmp_path / "moved.db").rename(store)
    assert json.loads(abathur("search", "lease expired", "--json").stdout)[0]["path"] == "notes.md"


def test_a_search_without_an_answer_says_so(here):
    abathur("index")
    assert abathur("search", "nowhere").stderr.startswith("Nothing found.")
    wrong = abathur("search", "***")
    assert wrong.exit_code == 1
    assert "no word" in wrong.stderr
    assert abathur("search").exit_code == 2
    assert abathur("search", "x", "--limit", "0").exit_code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_index_that_is_interrupted_is_finished_by_the_next_one(here, number):
    slow = (
        "import sys, time; from abathur import indexer; from abathur.cli import main;"
        " real = indexer._read_some;"
        " indexer._read_some = lambda *a: (print('reading', flush=True), time.sleep(0.5), real(*a))[2];"
        " main(sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow, "index"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=30)
    if process.returncode:  # else it was done before it had to stop
        assert process.returncode == 130
        assert "Run it again" in said
    began = time.monotonic()
    assert json.loads(abathur("index", "--json").stdout)["status"] == "completed"
    assert time.monotonic() - began < 5  # nothing waits for a lease: what was begun was given back
