"""`abathur init`, `abathur migrate` and what happens where there is no database."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from abathur.cli import main
from abathur.errors import MissingDatabaseError, OpenError


def abathur(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ABATHUR_DATABASE", raising=False)
    monkeypatch.delenv("ABATHUR_ENVIRONMENT", raising=False)
    return tmp_path


def test_init_makes_the_database_and_run_again_changes_nothing(here):
    first = abathur("init")
    assert (first.exit_code, first.stdout) == (0, f"Made {here}/abathur.db (development).\n")
    before = (here / "abathur.db").read_bytes()
    second = abathur("init")
    assert (second.exit_code, second.stdout) == (0, f"{here}/abathur.db (development) is up to date.\n")
    assert (here / "abathur.db").read_bytes() == before


def test_init_as_json_says_what_was_done():
    first = json.loads(abathur("init", "--json").stdout)
    again = json.loads(abathur("--json", "init").stdout)
    assert first["created"]
    assert first["steps"]
    assert (again["created"], again["steps"], again["backup"]) == (False, [], None)
    assert again["database_id"] == first["database_id"]


def test_the_environment_is_written_in_the_database_and_checked(monkeypatch):
    assert abathur("init", "--environment", "production").exit_code == 0
    monkeypatch.setenv("ABATHUR_ENVIRONMENT", "test")
    result = abathur("list", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stderr)["error"]["type"] == "EnvironmentMismatchError"


@pytest.mark.parametrize(
    "place", [("--database", "a.db", "init"), ("init", "--database", "a.db"), ("init", "--database=a.db")]
)
def test_the_database_may_be_named_before_or_after_the_command(here, place):
    assert abathur(*place).exit_code == 0
    assert (here / "a.db").exists()


def test_the_option_goes_before_the_environment_and_the_last_option_wins(here, monkeypatch):
    monkeypatch.setenv("ABATHUR_DATABASE", "environment.db")
    abathur("init")
    abathur("--database", "outer.db", "init")
    abathur("--database", "outer.db", "init", "--database", "sqlite:///inner.db")
    assert {path.name for path in here.glob("*.db")} == {"environment.db", "outer.db", "inner.db"}


def test_an_empty_environment_variable_is_none(here, monkeypatch):
    monkeypatch.setenv("ABATHUR_DATABASE", "")
    abathur("init")
    assert (here / "abathur.db").exists()


@pytest.mark.parametrize("command", [("list",), ("show", "1"), ("audit", "verify")])
@pytest.mark.parametrize("is_empty_file", [False, True])
def test_looking_makes_no_database(here, command, is_empty_file):
    if is_empty_file:
        (here / "abathur.db").touch()
    result = abathur(*command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        f"Error: There is no database at {here}/abathur.db.",
        "Expected one that `abathur init` or a program of yours has made.",
        "Run `abathur init` to make it, or name another one with --database or ABATHUR_DATABASE.",
    ]
    assert [path.stat().st_size for path in here.iterdir()] == [0] * is_empty_file


def test_enqueue_makes_the_database(here):
    assert abathur("enqueue", "x").exit_code == 0
    assert (here / "abathur.db").exists()


def test_a_missing_database_is_a_missing_file_too():
    assert issubclass(MissingDatabaseError, (FileNotFoundError, OpenError))


def test_the_plan_of_a_new_database_shows_sql_rows_and_locks_and_makes_no_file(here):
    text = abathur("migrate", "--plan")
    found = json.loads(abathur("migrate", "--plan", "--json").stdout)
    assert text.exit_code == 0
    assert "CREATE TABLE IF NOT EXISTS" in text.stdout
    assert "write lock" in text.stdout
    assert "rows" in text.stdout
    assert {"step", "table", "sql", "rows", "lock"} <= found["steps"][0].keys()
    assert not found["empty"]
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("command", [("init",), ("migrate",), ("migrate", "--plan")])
def test_a_plan_is_refused_where_the_migration_would_be_and_the_remedy_is_an_option(here, command):
    with closing(sqlite3.connect("foreign.db")) as db:
        db.execute("PRAGMA application_id = 7")
        db.execute("CREATE TABLE theirs (a)")
    abathur("init", "--database", "ours.db", "--environment", "production")
    before = {path.name: path.read_bytes() for path in here.glob("*.db")}
    foreign = abathur(*command, "--database", "foreign.db")
    assert (foreign.exit_code, foreign.stdout) == (1, "")
    assert "belongs to another application" in foreign.stderr
    assert "`--adopt`" in foreign.stderr
    ours = abathur(*command, "--database", "ours.db", "--environment", "test")
    assert (ours.exit_code, ours.stdout) == (1, "")
    assert "is a production database, and test was asked for" in ours.stderr
    assert "`--environment production`" in ours.stderr
    assert {path.name: path.read_bytes() for path in here.glob("*.db")} == before
    # What the remedies say works.
    assert abathur(*command, "--database", "foreign.db", "--adopt").exit_code == 0
    assert abathur(*command, "--database", "ours.db", "--environment", "production").exit_code == 0


def test_the_plan_of_a_database_of_a_newer_library_is_refused(here):
    abathur("init")
    with closing(sqlite3.connect("abathur.db", isolation_level=None)) as db:
        db.execute("UPDATE abathur_meta SET value = '99.0' WHERE key = 'min_reader_version'")
    for command in (("migrate", "--plan"), ("migrate",)):
        result = abathur(*command, "--json")
        assert (result.exit_code, result.stdout) == (1, "")
        assert json.loads(result.stderr)["error"]["type"] == "NewerSchemaError"


def test_the_plan_of_a_current_database_is_empty():
    abathur("init")
    assert abathur("migrate", "--plan").stdout == "Nothing to do: the database is what is declared.\n"
    assert json.loads(abathur("migrate", "--plan", "--json").stdout)["empty"]


def older(path: Path) -> bytes:
    """A database with tasks of an application that knew little."""
    with sqlite3.connect(path) as db:
        db.execute(
            "CREATE TABLE tasks (id TEXT PRIMARY KEY, prompt TEXT NOT NULL, status TEXT NOT NULL,"
            " input_data TEXT NOT NULL, submitted_at TIMESTAMP NOT NULL, last_updated_at TIMESTAMP NOT NULL)"
        )
        at = "2025-01-01T00:00:00+00:00"
        db.execute("INSERT INTO tasks VALUES ('t1', 'old work', 'completed', '{}', ?, ?)", (at, at))
    db.close()
    return path.read_bytes()


def test_the_plan_of_an_older_database_changes_nothing(here):
    before = older(here / "abathur.db")
    found = json.loads(abathur("migrate", "--plan", "--json").stdout)
    assert "AddColumn" in {step["step"] for step in found["steps"]}
    assert (here / "abathur.db").read_bytes() == before


def test_migrate_copies_an_older_database_first(here):
    before = older(here / "abathur.db")
    result = json.loads(abathur("migrate", "--json").stdout)
    assert not result["created"]
    assert Path(result["backup"]).parent == here
    assert (here / "abathur.db").read_bytes() != before
    assert json.loads(abathur("list", "--json").stdout)[0]["id"] == "t1"
    assert json.loads(abathur("migrate", "--verify", "--json").stdout)["steps"] == []


def test_migrate_says_its_steps_and_where_the_copy_is(here):
    older(here / "abathur.db")
    result = abathur("migrate")
    assert result.stdout.startswith(f"Brought {here}/abathur.db (development) to today's schema:\n")
    assert "  add column tasks." in result.stdout
    assert "backup" in result.stdout.splitlines()[-1]


def test_migrate_without_backup_makes_none(here):
    older(here / "abathur.db")
    assert json.loads(abathur("migrate", "--no-backup", "--json").stdout)["backup"] is None
    assert not list(here.glob("*.before-*"))


def test_a_command_that_migrates_an_older_database_says_so_beside_its_answer(here):
    older(here / "abathur.db")
    result = abathur("list")
    assert "was brought to today's schema" in result.stderr
    assert "t1" in result.stdout
    assert abathur("list").stderr == ""


def test_a_conflict_is_shown_by_the_plan_and_refused_by_migrate(here):
    with sqlite3.connect("abathur.db") as db:
        db.execute("CREATE VIEW tasks AS SELECT 1 AS id")
    db.close()
    plan = abathur("migrate", "--plan", "--json")
    assert plan.exit_code == 1
    assert json.loads(plan.stdout)["conflicts"][0]["table"] == "tasks"
    result = abathur("migrate", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stderr)["error"]["type"] == "SchemaConflictError"


def test_another_applications_file_is_adopted_only_when_asked(here):
    with sqlite3.connect("abathur.db") as db:
        db.execute("CREATE TABLE theirs (x)")
        db.execute("PRAGMA application_id = 77")
    db.close()
    result = abathur("init", "--json")
    assert json.loads(result.stderr)["error"]["type"] == "ForeignDatabaseError"
    assert abathur("init", "--adopt").exit_code == 0


@pytest.mark.parametrize(
    ("database", "error"),
    [
        ("nowhere/a.db", "MissingDirectoryError"),
        ("text.db", "NotADatabaseError"),
        (".", "NotADatabaseError"),
        (":memory:", "InvalidUrlError"),
        ("sqlite:///:memory:", "InvalidUrlError"),
        ("mysql://host/db", "InvalidUrlError"),
        ("", "InvalidUrlError"),  # the variable of a script that is not set
    ],
)
@pytest.mark.parametrize("command", [("init",), ("migrate", "--plan"), ("enqueue", "x")])
def test_what_cannot_be_a_database_is_refused_in_three_sentences(here, database, error, command):
    (here / "text.db").write_text("this is no database, whatever its name says\n" * 100)
    result = abathur("--json", *command, "--database", database)
    assert (result.exit_code, result.stdout) == (1, "")
    found = json.loads(result.stderr)["error"]
    assert found["type"] == error
    assert found["message"] == f"{found['problem']} {found['expected']} {found['remedy']}"
    assert all(found[part] for part in ("problem", "expected", "remedy"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_to_is_a_typed_error(here):
    here.chmod(0o500)
    try:
        result = abathur("init", "--json")
    finally:
        here.chmod(0o700)
    assert json.loads(result.stderr)["error"]["type"] == "ReadOnlyDatabaseError"


def test_the_trail_is_verified():
    abathur("enqueue", "x")
    result = abathur("audit", "verify")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "The audit trail is intact.")
    found = json.loads(abathur("--json", "audit", "verify").stdout)
    assert (found["ok"], found["rows"], found["first_bad"]) == (True, 1, None)


@pytest.mark.parametrize("where", [("audit", "--json", "verify"), ("audit", "verify", "--json")])
def test_a_row_that_was_altered_is_named_and_the_exit_code_says_so(where):
    for prompt in "abc":
        abathur("enqueue", prompt)
    with sqlite3.connect("abathur.db") as db:
        db.execute("DROP TRIGGER audit_keeps_values")
        db.execute("UPDATE audit SET actor = 'somebody\x1b[2Jelse' WHERE id = 2")
    db.close()
    text = abathur("audit", "verify")
    assert text.exit_code == 1
    assert "NOT intact" in text.stdout
    assert "first bad row  2" in text.stdout
    found = abathur(*where)
    assert found.exit_code == 1
    assert json.loads(found.stdout)["first_bad"] == 2
