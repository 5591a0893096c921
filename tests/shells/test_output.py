"""What the command line is as a whole: its help, its forms of output, its errors, its imports."""

from __future__ import annotations

import errno
import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from abathur.cli import main, output
from abathur.cli.ids import shortened
from abathur.errors import AbathurError, EngineError

HIDE_RICH = (
    "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n: None if n == 'rich' else f(n)"
)
PYTHON = [sys.executable, "-W", "error"]


def abathur(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ABATHUR_DATABASE", raising=False)
    monkeypatch.delenv("ABATHUR_ENVIRONMENT", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return tmp_path


def every_command() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    todo: list[tuple[tuple[str, ...], click.Command]] = [((), main)]
    while todo:
        words, command = todo.pop()
        if isinstance(command, click.Group):
            todo += [((*words, name), inner) for name, inner in command.commands.items()]
        if not command.hidden:
            yield words, command


COMMANDS = dict(every_command())


# -- help --------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_and_takes_json(words):
    result = abathur(*words, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout
    if not isinstance(COMMANDS[words], click.Group) or not words:
        line = " ".join(("  abathur", *words))
        assert line in result.stdout.partition("Examples:")[2]


def test_help_documents_the_exit_codes():
    said = abathur("--help").stdout.partition("Exit codes:")[2]
    assert [line.split()[0] for line in said.splitlines() if line[4:5].isdigit()] == ["0", "1", "2", "130"]


def test_the_hidden_command_of_the_demo_is_hidden():
    assert "demo-worker" not in abathur("--help").stdout


def test_the_version():
    from abathur import __version__

    assert abathur("--version").stdout == f"abathur {__version__}\n"


def test_help_imports_neither_the_library_nor_rich_nor_asyncio():
    code = "import sys; from abathur.cli import main; main(['--help'], standalone_mode=False)"
    code += "; print('|', *sys.modules)"
    # Coverage, where it measures, imports things of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [*PYTHON, "-c", code], capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    loaded = set(done.stdout.partition("| ")[2].split())
    assert loaded.isdisjoint(
        {"rich", "asyncio", "anyio", "aiosqlite", "sqlite3", "attrs", "abathur.database"}
    )


def test_it_runs_as_a_module_under_its_own_name():
    done = subprocess.run(
        [*PYTHON, "-m", "abathur", "nope"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: abathur ")


# -- errors ------------------------------------------------------------------------------------


class OddError(AbathurError):
    """An error of the library's, of no special kind."""


def failing(monkeypatch, error: BaseException) -> None:
    def callback() -> None:
        raise error

    monkeypatch.setitem(main.commands, "fail", click.Command("fail", callback=callback))


def test_an_error_is_three_sentences_on_lines_of_their_own(monkeypatch):
    failing(monkeypatch, OddError("It \x1b[31mbroke.", "Expected it whole.", "Mend it."))
    result = abathur("fail")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: It \\x1b[31mbroke.\nExpected it whole.\nMend it.\n"


def test_an_error_as_json_has_its_parts(monkeypatch):
    failing(monkeypatch, OddError("It broke.", "Expected it whole.", "Mend it."))
    result = abathur("--json", "fail")
    assert (result.exit_code, result.stdout) == (1, "")
    assert json.loads(result.stderr) == {
        "error": {
            "type": "OddError",
            "message": "It broke. Expected it whole. Mend it.",
            "problem": "It broke.",
            "expected": "Expected it whole.",
            "remedy": "Mend it.",
        }
    }


def test_an_error_with_one_sentence_only(monkeypatch):
    failing(monkeypatch, OddError("It broke."))
    assert abathur("fail").stderr == "Error: It broke.\n"


def test_an_error_from_a_task_group_is_reported_like_any_other(monkeypatch):
    failing(
        monkeypatch,
        BaseExceptionGroup("g", [ExceptionGroup("h", [EngineError("Lost.", "Expected.", "Do.")])]),
    )
    result = abathur("fail")
    assert (result.exit_code, result.stderr) == (1, "Error: Lost.\nExpected.\nDo.\n")


def test_a_bug_is_shown_whole(monkeypatch):
    failing(monkeypatch, ExceptionGroup("g", [EngineError("Lost."), KeyError("bug")]))
    assert isinstance(abathur("fail").exception, ExceptionGroup)
    failing(monkeypatch, KeyError("bug"))
    assert isinstance(abathur("fail").exception, KeyError)


def test_an_interrupted_command_exits_with_130(monkeypatch):
    failing(monkeypatch, KeyboardInterrupt())
    assert abathur("fail").exit_code == 130


def test_a_reader_that_goes_away_is_no_error(here):
    for _ in range(3):
        abathur("enqueue", "x" * 50_000)
    command = f"{' '.join(PYTHON)} -m abathur list --json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[", "")


# -- forms -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x85\x9b", "\\x85\\x9b"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("\udc80", "\\udc80"),
        ("ü 日本 🧬 a\u0301", "ü 日本 🧬 a\u0301"),
        ("👩\u200d💻", "👩\u200d💻"),  # the joiner makes it one picture
    ],
)
def test_text_is_cleaned(text, expected):
    assert output.clean(text) == expected


def test_text_of_several_lines_keeps_its_lines_and_tabs():
    assert output.clean_block("a\r\n\tb\x1b\n") == "a\n    b\\x1b\n"


def test_width_counts_columns():
    assert [output.width(text) for text in ("abc", "日本", "a\u0301", "ü")] == [3, 4, 1, 1]


def test_lines_are_cut_at_the_edge_of_a_terminal(monkeypatch):
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "10")
    assert output.aligned([["a", "0123456789"], ["b", "日本語日本語"]]) == ["a  012345…", "b  日本語…"]


def test_ids_are_shortened_as_far_as_they_differ():
    ids = ["0199a1b2-c3d4-7aaa-1", "0199a1b2-c3d4-7aaa-2", "0199a1b2-ffff-7aaa-1"]
    assert shortened(ids) == ids
    assert shortened([ids[0], ids[2]]) == ["0199a1b2-c3d4", "0199a1b2-ffff"]
    assert shortened(["a", "ab", "ab"]) == ["a", "ab", "ab"]
    assert shortened([]) == []


def test_an_encoding_without_our_characters_is_no_error(here):
    abathur("enqueue", "日本 ü")
    done = subprocess.run(
        [*PYTHON, "-m", "abathur", "list"],
        capture_output=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert b"\\u65e5\\u672c \\xfc" in done.stdout


def on_terminal(*arguments: str, rich: bool, columns: int = 100) -> str:
    """What a command shows on a terminal, with or without rich installed."""
    hide = "" if rich else f"{HIDE_RICH}; "
    code = f"import sys; {hide}from abathur.cli import main; main(sys.argv[1:], 'abathur')"
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (40, columns))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [*PYTHON, "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
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
        assert process.wait(30) == 0, shown
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("rich", [True, False])
def test_a_terminal_gets_short_ids_whole_columns_and_no_stored_control_character(here, rich):
    for place in range(3):
        abathur("enqueue", f"{place} \x1b[2J [red]evil[/red] " + "x" * 100, "--agent-type", "agent-type-long")
    found = json.loads(abathur("list", "--json").stdout)
    shown = on_terminal("list", "--limit", "2", rich=rich)
    assert found[-1]["id"] not in shown
    assert found[-1]["id"][:13] in shown
    assert "agent-type-long" in shown
    assert "\x1b[2J" not in shown
    assert "\\x1b[2J [red]evil[/red]" in shown
    assert "…" in shown
    assert "There may be more: --after " in shown
    assert ("\x1b[1m" in shown) is rich
    header = shown.splitlines()[0]
    assert "AGENT TYPE" in header


@pytest.mark.parametrize("rich", [True, False])
def test_a_terminal_gets_a_task_and_an_id_to_copy(here, rich):
    shown = on_terminal("enqueue", "x", rich=rich)
    task_id, said = shown.splitlines()
    assert said == "ready; for agents of type general"
    assert f"Task {task_id}" in on_terminal("show", task_id, rich=rich)


def test_no_colour_is_respected(here, monkeypatch):
    abathur("enqueue", "x")
    monkeypatch.setenv("NO_COLOR", "1")
    shown = on_terminal("list", rich=True)
    assert "\x1b[3" not in shown
