"""`abathur projects`, and --project of the commands about tasks."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from abathur import Database
from abathur.cli import main
from tests.conformance.projects import config, path_of, repository, write


def abathur(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def said(*arguments: str) -> object:
    result = abathur(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ABATHUR_DATABASE", "ABATHUR_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    return Path(os.path.realpath(tmp_path))


def test_a_directory_is_resolved_from_where_one_is(here, monkeypatch):
    place = repository(here / "shop", "Shop")
    (place / "src").mkdir()
    monkeypatch.setenv("ABATHUR_DATABASE", str(here / "abathur.db"))
    monkeypatch.chdir(place / "src")
    found = said("projects", "resolve")
    assert (found["name"], found["root"], found["tier"]) == ("Shop", str(place), "directory")
    assert config(place)["project"]["id"] == found["project_id"]
    plain = abathur("projects", "resolve", "Shop")
    assert (plain.stdout, plain.stderr) == (f"{found['project_id']}\n", "")
    monkeypatch.chdir(here)
    refused = abathur("projects", "resolve")
    assert refused.exit_code == 1
    assert "abathur projects create" in refused.stderr


def test_what_is_created_is_listed_and_shown_with_what_happened_to_it(here):
    (here / "shop").mkdir()
    made = said("projects", "create", "shop", "--description", "sells things")
    assert said("projects", "create", "shop")["project_id"] == made["project_id"]
    bare = abathur("projects", "create", "--no-directory", "--name", "ideas")
    assert bare.exit_code == 0
    assert [one["name"] for one in said("projects", "list")] == ["shop", "ideas"]
    listed = abathur("projects", "list").stdout
    assert made["project_id"] in listed
    assert str(here / "shop") in listed
    shown = abathur("projects", "show", "shop").stdout
    for words in (made["database_name"], "sells things", "has the id", "created"):
        assert words in shown
    assert said("projects", "show", "shop")["events"][0]["kind"] == "created"
    assert abathur("projects", "show", "nothing").exit_code == 1


def test_a_project_is_renamed_and_given_another_directory(here):
    (here / "shop").mkdir()
    (here / "clone").mkdir()
    made = said("projects", "create", "shop")
    assert "till" in abathur("projects", "rename", "shop", "till").stdout
    assert config(here / "shop")["project"]["name"] == "till"
    assert said("projects", "adopt", "till", "clone")["project_id"] == made["project_id"]
    assert len(said("projects", "show", "till")["project"]["roots"]) == 2


def test_doctor_finds_a_store_that_is_gone_and_repair_makes_it_anew(here):
    (here / "shop").mkdir()
    made = said("projects", "create", "shop")
    assert abathur("projects", "doctor").exit_code == 0
    for path in here.glob(f"{made['database_name']}*"):
        path.unlink()
    found = abathur("projects", "doctor")
    assert found.exit_code == 1
    assert f"abathur projects repair {made['project_id']}" in found.stdout
    gone = abathur("projects", "resolve", "shop")
    assert (gone.exit_code, gone.stderr.startswith("Error: The store ")) == (1, True)
    assert "made anew, empty" in abathur("projects", "repair", "shop").stdout
    assert abathur("projects", "repair", "shop").stdout == "Nothing had to be done.\n"
    assert abathur("projects", "doctor").exit_code == 0


def test_a_dry_run_is_told_and_nothing_is_made(here):
    place = repository(here / "shop", "Shop", dry_run=True)
    result = abathur("projects", "resolve", "--directory", str(place))
    assert result.stdout == "(none yet)\n"
    assert "would be created" in result.stderr
    assert abathur("projects", "list").stderr == "No projects.\n"
    write(place, {**config(place), "dry_run": False, "strict_mode": 3})
    wrong = abathur("projects", "resolve", "--directory", str(place), "--json")
    error = json.loads(wrong.stderr)["error"]
    assert error["type"] == "ProjectConfigError"
    assert str(path_of(place)) in error["problem"]


def test_tasks_are_made_listed_and_run_by_the_name_or_the_id_of_a_project(here):
    project = said("projects", "create", "--no-directory", "--name", "shop")["project_id"]
    ours = said("enqueue", "for the shop", "--project", "shop")
    other = said("enqueue", "with a label", "--project", "mine")
    assert (ours["project"], other["project"]) == (project, "mine")
    assert [one["id"] for one in said("list", "--project", "shop")] == [ours["id"]]
    assert [one["id"] for one in said("list", "--project", project)] == [ours["id"]]
    assert [one["id"] for one in said("list", "--project", "mine")] == [other["id"]]
    (here / "agents.py").write_text(
        "from abathur import Runner\n"
        "def make(db):\n"
        "    runner = Runner(db)\n"
        "    @runner.agent('general')\n"
        "    async def general(ctx):\n"
        "        return ctx.task.project\n"
        "    return runner\n"
    )
    assert abathur("run", "agents.py:make", "--until-idle", "--project", "shop").exit_code == 0

    async def statuses() -> dict[str, str]:
        async with Database(here / "abathur.db") as db:
            return {task.id: task.status for task in await db.tasks.list()}

    assert asyncio.run(statuses()) == {ours["id"]: "completed", other["id"]: "ready"}
