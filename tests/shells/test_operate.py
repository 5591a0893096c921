"""`abathur backup` and `abathur doctor`, and the bar that long work shows."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import pty
import re
import sqlite3
import stat
import subprocess
import sys
import termios
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from abathur import Database
from abathur.cli import main
from tests.older import contents, first

HIDE_RICH = (
    "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n: None if n == 'rich' else f(n)"
)
AT_ONCE = "import abathur.cli.progress as p; p.DELAY = p.EVERY = 0"


def abathur(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def on_terminal(code: str, *arguments: str, rich: bool, stdout: int | None = None) -> tuple[int, str]:
    """(exit code, what a terminal shows) of Python code, with or without rich installed."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (40, 100))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", f"{'' if rich else HIDE_RICH}\n{code}", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        env={**environment, "TERM": "xterm-256color"},
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65_536):
            shown += chunk
    except OSError as error:
        if error.errno != errno.EIO:  # how Linux says that the other end is closed
            raise
    finally:
        os.close(ours)
        code_ = process.wait(30)
    return code_, shown.decode().replace("\r\n", "\n")


MAIN = "import sys; from abathur.cli import main; main(sys.argv[1:], 'abathur')"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("ABATHUR_DATABASE", "ABATHUR_ENVIRONMENT", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def database(here) -> Path:
    """`abathur.db` in this directory, with 5 MB of tasks."""

    async def make() -> None:
        async with Database(here / "abathur.db") as db:
            await db.tasks.enqueue_many([{"prompt": "x", "input": {"x": "y" * 5_000}} for _ in range(1_000)])

    asyncio.run(make())
    return here / "abathur.db"


# -- backup --------------------------------------------------------------------------------------


def test_a_backup_is_made_and_told(database, here):
    result = abathur("backup", "copy.db")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"Copied {database}, and checked the copy." in result.stdout
    assert str(here / "copy.db") in result.stdout
    assert stat.S_IMODE((here / "copy.db").stat().st_mode) == 0o600
    assert abathur("list", "--json", "--database", "copy.db").exit_code == 0


def test_a_backup_into_a_directory_gets_a_dated_name(database, here):
    (here / "copies").mkdir()
    answer = json.loads(abathur("backup", "copies", "--json").stdout)
    (copy,) = (here / "copies").iterdir()
    assert re.fullmatch(r"abathur-\d{8}T\d{6}Z\.db", copy.name)
    assert answer["backup"] == str(copy)
    assert answer["database"] == str(database)
    assert answer["bytes"] == copy.stat().st_size
    assert answer["took_ms"] > 0


def test_a_backup_overwrites_nothing(database, here):
    (here / "copy.db").write_text("precious")
    result = abathur("backup", "copy.db")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "copy.db exists already." in result.stderr
    assert (here / "copy.db").read_text() == "precious"
    assert json.loads(abathur("backup", "copy.db", "--json").stderr)["error"]["type"] == "TargetExistsError"


def test_a_backup_of_nothing_is_an_error_and_makes_nothing(here):
    result = abathur("backup", "copy.db", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stderr)["error"]["type"] == "MissingDatabaseError"
    assert list(here.iterdir()) == []


def test_a_backup_of_an_older_database_is_not_migrated(here):
    first(here / "abathur.db")
    before = contents(here / "abathur.db")
    assert abathur("backup", "copy.db").exit_code == 0
    assert contents(here / "abathur.db") == before == contents(here / "copy.db")


@pytest.mark.parametrize("rich", [True, False])
def test_a_backup_shows_on_a_terminal_how_far_it_is(database, rich):
    code, shown = on_terminal(f"{AT_ONCE}; {MAIN}", "backup", "copy.db", rich=rich)
    assert code == 0, shown
    assert re.search(r"Copying abathur\.db", shown)
    assert re.search(r"\d+ ?%", shown)
    assert ("\x1b[" in shown) is rich
    assert "and checked the copy." in shown.splitlines()[-4]


def test_a_backup_with_json_shows_no_bar(database, here):
    with (here / "answer").open("w") as answer:
        code, shown = on_terminal(
            f"{AT_ONCE}; {MAIN}", "backup", "copy.db", "--json", rich=True, stdout=answer.fileno()
        )
    assert (code, shown) == (0, "")
    assert json.loads((here / "answer").read_text())["backup"]


# -- the bar -------------------------------------------------------------------------------------

WORK = """
import time
from abathur.cli.progress import progress
with progress("Checking [the] trail") as bar:
    for done in range(0, 101, 20):
        bar(done, 100)
        time.sleep(0.06)
print("done")
"""


@pytest.mark.parametrize("rich", [True, False])
def test_a_bar_is_drawn_with_rich_and_told_without(rich):
    code, shown = on_terminal(f"{AT_ONCE}\n{WORK}", rich=rich)
    assert code == 0, shown
    assert "Checking [the] trail" in shown
    if rich:
        assert "━" in shown
        assert shown.endswith("done\n")
        assert "\x1b[2K" in shown, "it is gone when it is done"
    else:
        assert "Checking [the] trail: 40 %\n" in shown
        assert "\x1b" not in shown


@pytest.mark.parametrize("rich", [True, False])
def test_quick_work_shows_no_bar(rich):
    slow = "import abathur.cli.progress as p; p.DELAY = 60"
    assert on_terminal(f"{slow}\n{WORK}", rich=rich) == (0, "done\n")


def test_without_a_terminal_there_is_no_bar():
    done = subprocess.run(
        [sys.executable, "-c", f"{AT_ONCE}\n{WORK}"], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_a_bar_is_gone_when_the_work_fails():
    code, shown = on_terminal(
        f"{AT_ONCE}\n{WORK.replace('bar(done, 100)', 'bar(done, 100); done and 1 / 0')}", rich=True
    )
    assert code == 1
    assert "ZeroDivisionError" in shown
    assert shown.count("\x1b[?25h") == shown.count("\x1b[?25l") == 1, "the cursor is back"


def test_a_bar_of_nothing_is_no_error():
    code, shown = on_terminal(f"{AT_ONCE}\n{WORK.replace('bar(done, 100)', 'bar(0, 0)')}", rich=False)
    assert (code, shown) == (0, "done\n")
    assert on_terminal(f"{AT_ONCE}\n{WORK.replace('bar(done, 100)', 'bar(0, 0)')}", rich=True)[0] == 0


# -- doctor --------------------------------------------------------------------------------------


def test_a_sound_database_exits_with_0(database):
    result = abathur("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == str(database)
    assert re.search(r"^ok +schema: what is declared$", result.stdout, re.MULTILINE)
    assert re.fullmatch(r"(\d+ notes?, )?\d+ ok", result.stdout.splitlines()[-1])
    assert "audit trail" not in result.stdout
    assert re.search(r"^ok +audit trail: intact", abathur("doctor", "--deep").stdout, re.MULTILINE)


def test_a_warning_exits_with_0_and_a_problem_with_1(database):
    database.chmod(0o644)
    result = abathur("doctor")
    assert result.exit_code == 0
    assert f"         -> chmod 600 {database}" in result.stdout.splitlines()
    assert "1 warning, " in result.stdout.splitlines()[-1]
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP INDEX idx_audit_task")
    result = abathur("doctor")
    assert result.exit_code == 1
    assert re.search(r"^problem +schema: Somebody has altered it", result.stdout, re.MULTILINE)
    assert result.stdout.splitlines()[-1].startswith("1 problem, 1 warning, ")


def test_doctor_as_json(database):
    answer = json.loads(abathur("doctor", "--json").stdout)
    assert (answer["database"], answer["ok"]) == (str(database), True)
    for finding in answer["findings"]:
        assert set(finding) == {"code", "level", "what", "found", "remedy"}
        assert finding["level"] in ("ok", "note", "warning", "problem")


@pytest.mark.parametrize("make", ["garbage", "missing", "directory"])
def test_doctor_says_what_is_wrong_with_a_file_that_cannot_be_opened(here, make):
    path = here / "abathur.db"
    if make == "garbage":
        path.write_bytes(b"no database at all, but text\n" * 100)
    elif make == "directory":
        path.mkdir()
    before = sorted(here.iterdir())
    result = abathur("doctor", "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    answer = json.loads(result.stdout)
    assert answer["ok"] is False
    assert answer["findings"][-1]["code"] == "cannot-open"
    assert sorted(here.iterdir()) == before
    assert abathur("doctor").exit_code == 1


def test_doctor_does_not_migrate(here):
    first(here / "abathur.db")
    before = (here / "abathur.db").read_bytes()
    result = abathur("doctor", "--deep")
    assert result.exit_code == 0
    assert "It is of an older version." in result.stdout
    assert (here / "abathur.db").read_bytes() == before


def test_a_database_in_memory_cannot_be_looked_at():
    result = abathur("doctor", "--database", ":memory:", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stderr)["error"]["type"] == "InvalidUrlError"


@pytest.mark.parametrize("rich", [True, False])
def test_doctor_on_a_terminal_has_colours_with_rich_and_wraps_its_lines(database, rich):
    database.chmod(0o644)
    code, shown = on_terminal(MAIN, "doctor", rich=rich)
    assert code == 0, shown
    assert ("\x1b[33m\x1b[1mwarning" in shown) is rich
    bare = re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert re.search(r"^warning +modes of the files: Others may read them", bare, re.MULTILINE)
    long = [line for line in bare.splitlines() if len(line) > 100]
    assert all(" " not in line.strip().removeprefix("-> chmod 600 ") for line in long), long


def test_stored_control_characters_do_not_reach_the_terminal(here):
    path = here / "a\x1b[31mb.db"

    async def make() -> None:
        async with Database(path):
            pass

    asyncio.run(make())
    result = abathur("doctor", "--database", str(path))
    assert "\x1b" not in result.stdout
    assert "a\\x1b[31mb.db" in result.stdout
