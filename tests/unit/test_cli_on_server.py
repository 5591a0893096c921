"""Every command works on a PostgreSQL server, and none of them ever says its password."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest
from click.testing import CliRunner, Result

from abathur import Database
from abathur.cli import main
from tests.unit.test_cli_every_command import AGENTS, CALLS, words

EXITS = {"backup": 1, "doctor": None, "drop": None}
"""Commands that end otherwise than on a file: None is for what depends on the server's settings, or cannot be
done twice."""
OFF = {
    "demo": "it works on a file of its own",
    "completion": "it has no database",
    "check-isolation": "it has no database",
    "serve nats": "tests/service has a NATS server for it",
    "move": "it has two, see below",
}


@pytest.fixture
def secret(postgres_url) -> str:
    """The password in `url`. A server that asks for none does not look at it."""
    return urlsplit(postgres_url).password or "hunter2-is-planted"


@pytest.fixture
def url(postgres_url, secret) -> str:
    return postgres_url if urlsplit(postgres_url).password else f"{postgres_url}&password={secret}"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ABATHUR_DATABASE", "ABATHUR_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "agents.py").write_text(AGENTS)
    (tmp_path / "work").mkdir()


@pytest.fixture
def task(url) -> Iterator[str]:
    """The id of the one task. There is a project, too; the stores of projects are removed at the end."""

    async def make() -> str:
        async with Database(url, environment="test") as db:  # under pytest no other one can be dropped
            await db.projects.create("known")
            stores.extend([one.database_name for one in await db.projects.list()])
            return (await db.tasks.enqueue("x")).id

    async def made() -> None:
        async with Database(url, environment="test") as db:
            stores.extend([one.database_name for one in await db.projects.list()])

    stores: list[str] = []
    yield asyncio.run(make())
    asyncio.run(made())
    execute(url, *(f'DROP SCHEMA IF EXISTS "{store}" CASCADE' for store in sorted(set(stores))))


def abathur(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def execute(url: str, *statements: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(url.partition("&schema=")[0].partition("?schema=")[0])
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(work())


def schema_of(url: str) -> str:
    return re.search(r"[?&]schema=(\w+)", url)[1]


# ------------------------------------------------------------------------------------- every command


@pytest.mark.parametrize("command", sorted(set(CALLS) - set(OFF)))
def test_a_command_works_on_a_server_and_keeps_its_password(command, url, secret, task, caplog):
    caplog.set_level("DEBUG")
    call = CALLS[command]
    for arguments in (
        [*words(command, call.good, task), "--json", "--database", url],
        ["--database", url, *words(command, call.good, task)],
    ):
        result = abathur(*arguments)
        wanted = EXITS.get(command, call.code)
        assert wanted is None or result.exit_code == wanted, result.output
        assert result.exit_code in (0, 1)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert secret not in result.output + result.stderr + caplog.text + repr(result.exception)


def test_the_database_is_found_in_the_environment_and_in_the_configuration(url, task, monkeypatch, tmp_path):
    (tmp_path / "abathur.toml").write_text(f"database = {json.dumps(url)}\n")
    assert task in abathur("list").output
    (tmp_path / "abathur.toml").unlink()
    monkeypatch.setenv("ABATHUR_DATABASE", url)
    assert task in abathur("list").output


def test_an_error_is_told_without_the_password(url, secret):
    name = urlsplit(url).path
    for other in (
        url.replace(f"{name}?", "/there_is_none?"),
        f"{url}&options=nonsense",
        f"{url}&sslmode=nonsense",
    ):
        for more in ((), ("--json",)):
            result = abathur("list", "--database", other, *more)
            assert result.exit_code == 1, result.output
            assert result.stderr.startswith(("Error: ", '{"error"'))
            assert secret not in result.output + result.stderr


# ------------------------------------------------------------------------------- what is not there yet


@pytest.mark.parametrize("command", ["list", "stats", "show x", "audit verify", "prune --completed 1d"])
def test_a_command_that_looks_makes_no_schema(command, url, secret):
    result = abathur(*command.split(), "--database", url)
    assert result.exit_code == 1
    assert "Run `abathur init` to make it" in result.stderr
    assert abathur("doctor", "--database", url).output.count("MissingDatabaseError") == 1
    assert abathur("migrate", "--plan", "--database", url).exit_code == 0
    execute(url, f"CREATE SCHEMA {schema_of(url)}")  # which fails if there is one


def test_init_makes_it_once_and_enqueue_makes_it_too(url):
    assert "Made postgresql://" in abathur("init", "--database", url).output
    assert "is up to date" in abathur("init", "--database", url).output
    execute(url, f"DROP SCHEMA {schema_of(url)} CASCADE")
    assert abathur("enqueue", "x", "--database", url).exit_code == 0
    assert abathur("list", "--database", url, "--json").output.count('"prompt"') == 1


def test_a_schema_with_tables_of_somebody_else_is_left_alone(url):
    schema = schema_of(url)
    execute(url, f"CREATE SCHEMA {schema}", f"CREATE TABLE {schema}.notes (id integer)")
    result = abathur("enqueue", "x", "--database", url)
    assert (result.exit_code, "none of abathur's" in result.stderr) == (1, True)
    assert abathur("init", "--database", url).exit_code == 0
    assert abathur("enqueue", "x", "--database", url).exit_code == 0


def test_a_database_that_the_server_does_not_have_is_made_by_createdb_only(url):
    name = urlsplit(url).path
    result = abathur("init", "--database", url.replace(f"{name}?", "/there_is_none?"))
    assert result.exit_code == 1
    assert "createdb" in result.stderr


def test_a_role_that_may_not_use_the_schema_is_told_so(url, task):
    schema = schema_of(url)
    execute(url, f"REVOKE ALL ON SCHEMA {schema} FROM CURRENT_USER")
    for command in ("list", "init"):
        refused = abathur(command, "--database", url)
        assert (refused.exit_code, f"permission denied for schema {schema}" in refused.stderr) == (1, True)
    assert "It may not use the schema" in abathur("doctor", "--database", url).output
    execute(url, f"GRANT USAGE ON SCHEMA {schema} TO CURRENT_USER")
    assert task in abathur("list", "--database", url).output
    assert "It may use the tables, and not alter them" in abathur("doctor", "--database", url).output


def test_a_database_is_moved_to_a_server_and_back(url, secret):
    assert abathur("enqueue", "x", "--database", "here.db").exit_code == 0
    for arguments in (("here.db", url), (url, "back.db"), (url, "other.db", "--json")):
        result = abathur("move", *arguments)
        assert result.exit_code == 0, result.output
        assert secret not in result.output + result.stderr
    again = abathur("move", url, "back.db")
    assert again.exit_code == 1
    assert secret not in again.output + again.stderr


def test_an_altered_schema_is_a_finding_and_is_made_whole(url, task):
    execute(url, f"DROP INDEX {schema_of(url)}.tasks_due")
    found = json.loads(abathur("doctor", "--json", "--database", url).output)["findings"]
    assert "schema-altered" in {one["code"] for one in found if one["level"] == "problem"}
    assert "create index tasks_due" in abathur("migrate", "--plan", "--database", url).output
    assert abathur("migrate", "--database", url).exit_code == 0
    found = json.loads(abathur("doctor", "--json", "--database", url).output)["findings"]
    assert "schema" in {one["code"] for one in found if one["level"] == "ok"}


def test_nothing_is_completed_on_a_server_and_nothing_is_said(url, task):
    environment = {
        **os.environ,
        "ABATHUR_DATABASE": url,
        "_ABATHUR_COMPLETE": "bash_complete",
        "COMP_WORDS": f"abathur show {task[:4]}",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-m", "abathur"], env=environment, capture_output=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (b"", b"")


def test_a_command_agent_works_on_the_same_database(url, task, tmp_path):
    command = [sys.executable, "-m", "abathur", "enqueue", "from the agent", "--agent-type", "another"]
    config = f"database = {json.dumps(url)}\n[agents.general]\ncommand = {json.dumps(command)}\n"
    (tmp_path / "abathur.toml").write_text(config + 'output = "text"\n')
    result = abathur("run", "--until-idle")
    assert result.exit_code == 0, result.output
    listed = json.loads(abathur("list", "--json").output)
    assert {(one["prompt"], one["status"]) for one in listed} == {
        ("x", "completed"),
        ("from the agent", "ready"),
    }
