"""`abathur move`: what it says, how it exits, and what it leaves alone."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from abathur import Database
from abathur.cli import main
from abathur.tasks import workers


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("ABATHUR_DATABASE", "ABATHUR_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def source(here) -> str:
    async def make() -> None:
        async with Database("agents.db") as db:
            await db.tasks.enqueue("Review the change")

    asyncio.run(make())
    return "agents.db"


def abathur(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def rows(path: str) -> list[tuple[str]]:
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute("SELECT prompt FROM tasks").fetchall()


def test_it_says_what_was_moved_and_compared(source, here):
    result = abathur("move", source, "new.db")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"Moved {here}/agents.db to {here}/new.db, and compared them: they are equal." in result.stdout
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("tasks "))
    assert line.split()[1] == "1"
    assert rows("new.db") == rows(source)


def test_json_has_every_digest(source):
    told = json.loads(abathur("move", source, "new.db", "--json").stdout)
    again = json.loads(abathur("--json", "move", "new.db", "third.db").stdout)
    assert told["tables"] == again["tables"]
    assert {"name": "audit", "rows": 1}.items() <= told["tables"][7].items()
    assert (told["left_behind"], told["resumed"], told["environment"]) == ([], False, "development")


def test_the_environment_goes_along(here):
    abathur("--database", "p.db", "init", "--environment", "production")
    assert abathur("move", "p.db", "q.db").exit_code == 0
    assert "production" in abathur("--database", "q.db", "init", "--environment", "test").stderr


def test_nothing_is_moved_over_what_is_there(source):
    abathur("--database", "new.db", "enqueue", "Mine")
    result = abathur("move", source, "new.db")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "is not empty" in result.stderr
    assert rows("new.db") == [("Mine",)]


def test_a_file_of_somebody_else_is_left_alone_on_both_sides(source, here):
    with closing(sqlite3.connect("notes.db")) as raw:
        raw.execute("CREATE TABLE notes (id)")
        raw.execute("INSERT INTO notes VALUES (1)")
        raw.commit()
    before = (here / "notes.db").read_bytes()
    result = abathur("move", source, "notes.db", "--json")
    assert json.loads(result.stderr)["error"]["type"] == "TargetNotEmptyError"
    result = abathur("move", "notes.db", "new.db", "--json")
    assert json.loads(result.stderr)["error"]["type"] == "UnrelatedDatabaseError"
    assert (here / "notes.db").read_bytes() == before
    assert not (here / "new.db").exists()


def test_tables_of_others_stay_behind_when_it_is_asked_for(source):
    with closing(sqlite3.connect(source)) as raw:
        raw.execute("CREATE TABLE notes (id)")
        raw.execute("INSERT INTO notes VALUES (1)")
        raw.commit()
    refused = abathur("move", source, "new.db")
    assert refused.exit_code == 1
    assert "notes (1 row)" in refused.stderr
    assert "--only-abathur" in refused.stderr
    result = abathur("move", source, "new.db", "--only-abathur")
    assert result.exit_code == 0
    assert "notes (1 row)" in result.stdout


def test_workers_that_were_seen_are_named(source):
    async def announce() -> None:
        who = workers.Announcement(id="1", name="host-1", agents={}, concurrency=1, host="h", pid=1)
        async with Database(source) as db:
            await db.run(workers.announce, who, True)

    asyncio.run(announce())
    refused = abathur("move", source, "new.db")
    assert (refused.exit_code, "host-1" in refused.stderr) == (1, True)
    assert abathur("move", source, "new.db", "--while-running").exit_code == 0


@pytest.mark.parametrize(
    "arguments", [("nowhere.db", "new.db"), (":memory:", "new.db"), ("agents.db", ":memory:")]
)
def test_a_database_that_is_none_is_refused(source, here, arguments):
    result = abathur("move", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert not (here / "new.db").exists()
    assert not (here / "nowhere.db").exists()


def test_a_password_is_never_shown(source):
    url = "postgresql://me:canary@/nothing?host=/nonexistent&password=canary"
    for arguments in ((source, url), (url, "new.db")):
        result = abathur("move", *arguments)
        assert result.exit_code == 1
        assert "canary" not in result.stdout + result.stderr


def test_it_moves_to_postgresql_and_back(source, postgres_url):
    there = json.loads(abathur("move", source, postgres_url, "--json").stdout)
    assert abathur("move", source, postgres_url).exit_code == 1, "it is not empty any more"
    back = json.loads(abathur("move", postgres_url, "back.db", "--json").stdout)
    assert there["tables"] == back["tables"]
    assert rows("back.db") == rows(source)
