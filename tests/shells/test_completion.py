"""Shell completion, driven as the shells drive it: bash, zsh and fish for real where they are installed."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from abathur import Database
from abathur.cli import main
from abathur.cli.completing import MOST
from abathur.states import STATUSES
from tests.conftest import require
from tests.older import first


def complete(*words: str) -> list[str]:
    """What is offered for the last word, as bash asks for it."""
    environment = {"COMP_WORDS": "\n".join(["abathur", *words]), "COMP_CWORD": str(len(words))}
    result = CliRunner().invoke(
        main, [], prog_name="abathur", env={**environment, "_ABATHUR_COMPLETE": "bash_complete"}
    )
    assert result.stderr == ""
    return [line for line in result.stdout.splitlines() if line]  # click prints a line when it has nothing


def plain(*words: str) -> list[str]:
    offered = complete(*words)
    assert all(line.startswith("plain,") for line in offered), offered
    return [line.removeprefix("plain,") for line in offered]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("ABATHUR_DATABASE", "ABATHUR_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def ids(here) -> list[str]:
    """The ids of three tasks in the database of this directory, oldest first."""

    async def make() -> list[str]:
        async with Database(here / "abathur.db") as db:
            made = [await db.tasks.enqueue(f"task {n}", agent_type=f"agent-{'ab'[n % 2]}") for n in range(3)]
            return [task.id for task in made]

    return asyncio.run(make())


# -- what is offered -----------------------------------------------------------------------------


def test_commands_and_options_are_offered(here):
    assert {"init", "enqueue", "list", "backup", "doctor"} <= set(plain(""))
    assert plain("back") == ["backup"]
    assert "--deep" in plain("doctor", "--")
    assert plain("completion", "") == ["bash", "zsh", "fish"]


def test_ids_are_offered_newest_first(ids):
    assert plain("show", "") == ids[::-1]
    assert plain("show", ids[0][:8]) == ids[::-1]
    assert plain("show", ids[1]) == [ids[1]]
    assert plain("show", "zzz") == []
    for words in (("list", "--after"), ("list", "--parent"), ("enqueue", "x", "--depends-on")):
        assert plain(*words, "") == ids[::-1], words


def test_agent_types_and_statuses_are_offered(ids):
    assert plain("list", "--agent-type", "") == ["agent-a", "agent-b"]
    assert plain("enqueue", "x", "--agent-type", "agent-b") == ["agent-b"]
    assert plain("list", "--status", "") == list(STATUSES)
    assert plain("list", "--status", "c") == ["completed", "cancelled"]


def test_files_are_left_to_the_shell(here):
    assert complete("--database", "a") == ["file,a"]
    assert complete("list", "--database", "a") == ["file,a"]
    assert complete("backup", "a") == ["file,a"]
    assert complete("run", "a") == ["file,a"]
    assert complete("demo", "a") == ["dir,a"]


def test_the_database_is_the_one_that_the_command_line_names(ids, here, monkeypatch):
    elsewhere = here / "other.db"
    (here / "abathur.db").rename(elsewhere)
    for ending in ("-wal", "-shm"):
        Path(f"{here / 'abathur.db'}{ending}").unlink(missing_ok=True)
    assert plain("show", "") == []
    assert plain("show", "--database", "other.db", "") == ids[::-1]
    assert plain("--database", str(elsewhere), "show", "") == ids[::-1]
    assert plain("show", "--database", f"sqlite:///{elsewhere}", "") == ids[::-1]
    monkeypatch.setenv("ABATHUR_DATABASE", "other.db")
    assert plain("show", "") == ids[::-1]


def test_what_is_offered_is_bounded(here):
    async def make() -> None:
        async with Database(here / "abathur.db") as db:
            await db.tasks.enqueue_many([{"prompt": "x"} for _ in range(MOST + 20)])

    asyncio.run(make())
    assert len(plain("show", "")) == MOST


def test_stored_text_never_becomes_a_part_of_the_command_line(here):
    """Bash puts what is offered on the line as it is; so an agent type could be a command."""

    async def make() -> None:
        async with Database(here / "abathur.db") as db:
            for evil in ("$(touch evil)", "`id`", "a b", "a;b", "*", "-rf", "a\nb", "a,b", "fine.one"):
                await db.tasks.enqueue("x", agent_type=evil)

    asyncio.run(make())
    assert plain("list", "--agent-type", "") == ["fine.one"]


@pytest.mark.parametrize("what", ["nothing", "garbage", "directory", "older", "memory", "nonsense"])
def test_where_there_is_nothing_to_look_into_nothing_is_offered(here, what):
    path = here / "abathur.db"
    if what == "garbage":
        path.write_bytes(b"not a database at all " * 100)
    elif what == "directory":
        path.mkdir()
    elif what == "older":
        first(path)
    before = sorted(one.name for one in here.iterdir())
    url = {"memory": ":memory:", "nonsense": "postgresql://x"}.get(what, "abathur.db")
    assert plain("show", "--database", url, "") == []
    assert plain("list", "--database", url, "--agent-type", "") == []
    assert sorted(one.name for one in here.iterdir()) == before


def test_the_script_as_json():
    result = CliRunner().invoke(main, ["completion", "fish", "--json"])
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["shell"] == "fish"
    assert "_ABATHUR_COMPLETE=fish_complete" in answer["script"]


# -- the shells ----------------------------------------------------------------------------------


@pytest.fixture
def shell_path(tmp_path_factory) -> str:
    """A PATH on which `abathur` is this one."""
    place = tmp_path_factory.mktemp("bin")
    program = place / "abathur"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -W error -m abathur "$@"\n')
    program.chmod(0o700)
    return f"{place}{os.pathsep}{os.environ['PATH']}"


def shell(request, name: str) -> str:
    found = shutil.which(name)
    if found is None:
        require(request, name, f"the shell {name} is not installed")
    return found


def typed(command: list[str], path: str, lines: list[str], line: str) -> str:
    """What a shell on a terminal shows after `lines`, when `line` and then TAB are typed."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PATH": path, "TERM": "dumb", "PS1": "> ", "HOME": str(Path.cwd())}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    shown = ""

    def until(wanted: str) -> None:
        nonlocal shown
        deadline = time.monotonic() + 30
        while wanted not in shown:
            ready, _, _ = select.select([ours], [], [], max(deadline - time.monotonic(), 0))
            assert ready, shown
            shown += os.read(ours, 4096).decode()

    try:
        for one in [*lines, "echo re''ady"]:
            os.write(ours, f"{one}\n".encode())
        until("ready")
        shown = ""
        os.write(ours, f"{line}\t".encode())
        until(line)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            ready, _, _ = select.select([ours], [], [], 3)
            if not ready:
                return shown
            shown += os.read(ours, 4096).decode()
        return shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_bash_completes_an_id_on_a_terminal(request, shell_path, ids):
    command = [shell(request, "bash"), "--norc", "--noprofile", "-i"]
    shown = typed(command, shell_path, ['eval "$(abathur completion bash)"'], f"abathur show {ids[1][:-2]}")
    assert ids[1] in shown


def test_bash_is_offered_what_there_is(request, shell_path, ids, here):
    (here / "copy-of-something").touch()
    script = """
    eval "$(abathur completion bash)"
    ask() {
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _abathur_completion "$1" 2>&1
        echo "${COMPREPLY[*]}"
    }
    compopt() { echo "compopt $1 $2"; }
    ask abathur show ""
    ask abathur list --status fa
    ask abathur list --agent-type agent-
    ask abathur backup copy-
    """
    done = subprocess.run(
        [shell(request, "bash"), "--norc", "-c", script],
        env={**os.environ, "PATH": shell_path},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        " ".join(ids[::-1]),
        "failed",
        "agent-a agent-b",
        "compopt -o default",
        "",
    ]


def test_zsh_completes_an_id_on_a_terminal(request, shell_path, ids):
    lines = ["autoload -Uz compinit", "compinit -u", 'eval "$(abathur completion zsh)"']
    command = [shell(request, "zsh"), "-f", "-i"]
    shown = typed(command, shell_path, lines, f"abathur show {ids[1][:-2]}")
    assert ids[1] in shown


def test_fish_is_offered_what_there_is(request, shell_path, ids):
    script = (
        "abathur completion fish | source; "
        "complete -C 'abathur show '; complete -C 'abathur list --status fa'"
    )
    done = subprocess.run(
        [shell(request, "fish"), "--no-config", "-c", script],
        env={**os.environ, "PATH": shell_path, "HOME": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    offered = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert sorted(offered) == sorted([*ids, "failed"]), done.stderr
