"""`abathur audit` and `abathur prune`."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from abathur import Database
from abathur.cli import main


def abathur(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def in_database(body: Callable[[Database], Any]) -> Any:
    async def run() -> Any:
        async with Database("abathur.db") as db:
            return await body(db)

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of four tasks, in a database in this directory: two completed, one failed, one ready."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ABATHUR_DATABASE", raising=False)
    monkeypatch.delenv("ABATHUR_ENVIRONMENT", raising=False)

    async def work(db: Database) -> list[str]:
        made = await db.tasks.enqueue_many({"prompt": f"{n}"} for n in range(4))
        first, second, third = await db.tasks.claim("host-1", limit=3)
        await db.tasks.complete(first)
        await db.tasks.complete(second)
        await db.tasks.fail(third, "broken", retry=False)
        return [task.id for task in made]

    return in_database(work)


def test_the_trail_is_listed(ids):
    lines = abathur("audit", "list").stdout.splitlines()
    assert lines[0].split() == ["ROW", "AT", "ACTION", "TASK", "BY", "DATA"]
    assert len(lines) == 1 + 4 + 3 + 3
    assert "task.failed" in lines[-1]
    assert "from running, fence 1, attempt 1, outcome failed" in lines[-1]


def test_the_trail_is_filtered_by_task_and_action_and_goes_on_page_by_page(ids):
    found = json.loads(abathur("audit", "list", "--task", ids[2], "--json").stdout)
    assert [row["action"] for row in found] == ["task.ready", "task.running", "task.failed"]
    assert {row["task_id"] for row in found} == {ids[2]}
    found = json.loads(
        abathur("audit", "list", "--action", "task.completed", "--limit", "1", "--json").stdout
    )
    assert [row["task_id"] for row in found] == [ids[0]]
    after = str(found[0]["id"])
    found = json.loads(
        abathur("audit", "list", "--action", "task.completed", "--after", after, "--json").stdout
    )
    assert [row["task_id"] for row in found] == [ids[1]]
    nothing = abathur("audit", "list", "--action", "task.nothing")
    assert (nothing.exit_code, nothing.stdout, nothing.stderr) == (0, "", "No rows.\n")


def test_a_head_is_printed_pinned_and_proved():
    head = abathur("audit", "head").stdout.strip()
    assert head.startswith("abathur-trail-1:")
    told = json.loads(abathur("audit", "head", "--json").stdout)
    assert (told["head"], told["last_row"]) == (head, 10)
    abathur("enqueue", "later")
    proof = abathur("audit", "verify", "--head", head)
    assert proof.exit_code == 0
    assert "pinned head   it is in the history" in proof.stdout


def test_a_history_without_the_pinned_head_is_bad_news():
    head = abathur("audit", "head").stdout.strip()
    other = head[:-1] + ("0" if head[-1] != "0" else "1")
    proof = abathur("audit", "verify", "--head", other)
    assert proof.exit_code == 1
    assert "is not in the history" in proof.stdout
    refused = abathur("audit", "verify", "--head", "nonsense")
    assert refused.exit_code == 1
    assert "is no head of a trail" in refused.stderr


def test_a_dry_run_of_prune_removes_nothing():
    told = abathur("prune", "--completed", "0s", "--failed", "30d", "--dry-run")
    assert told.exit_code == 0
    assert told.stdout.split() == [
        "2",
        "tasks",
        "would",
        "be",
        "removed.",
        "completed",
        "2",
        "rows",
        "of",
        "the",
        "trail",
        "6",
    ]
    assert len(json.loads(abathur("list", "--json").stdout)) == 4


def test_prune_removes_what_is_old_enough_and_the_trail_stays_good(ids):
    told = json.loads(abathur("prune", "--completed", "0s", "--json").stdout)
    assert (told["tasks"], told["by_status"], told["audit_rows"]) == (2, {"completed": 2}, 6)
    assert {task["id"] for task in json.loads(abathur("list", "--json").stdout)} == set(ids[2:])
    proof = abathur("audit", "verify")
    assert proof.exit_code == 0
    assert "rows pruned   6" in proof.stdout
    told = abathur("prune", "--failed", "0s", "--keep-space")
    assert told.stdout.splitlines()[:2] == ["1 tasks were removed.", "  failed             1"]


@pytest.mark.parametrize("arguments", [(), ("--completed", "soon"), ("--completed", "-1d"), ("--dry-run",)])
def test_prune_wants_to_know_what(arguments):
    told = abathur("prune", *arguments)
    assert told.exit_code == 2
    assert len(json.loads(abathur("list", "--json").stdout)) == 4


def test_sql_from_a_shell_is_refused_by_the_trail():
    with closing(sqlite3.connect("abathur.db")) as connection:
        for sql in ("DELETE FROM audit", "UPDATE audit SET actor = 'x'", "DELETE FROM audit_seals"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(sql)
    assert abathur("audit", "verify").exit_code == 0


def test_an_age_has_a_unit():
    told = abathur("prune", "--completed", "30")
    assert told.exit_code == 2
    assert "Write it with its unit: 30d" in told.stderr
    assert len(json.loads(abathur("list", "--json").stdout)) == 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_answer_that_cannot_be_written_is_an_error_that_says_what_was_done():
    command = [sys.executable, "-m", "abathur", "enqueue", "x"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "The answer could not be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(json.loads(abathur("list", "--json").stdout)) == 5
