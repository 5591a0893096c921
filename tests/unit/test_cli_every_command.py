"""What holds of every command: JSON for success and for errors, short ids, completed values.

A new command adds its line to CALLS, and nothing else here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from attrs import field, frozen
from click.testing import CliRunner, Result

from abathur import Database
from abathur.cli import main
from abathur.cli.completing import AgentType, TaskId

AGENTS = """
from abathur import Runner

def make(db):
    runner = Runner(db)

    @runner.agent("other")
    async def other(ctx):
        return 1

    return runner
"""
HERE, NOWHERE = "abathur.db", "missing/abathur.db"


@frozen
class Call:
    """How a command is called, with ID in place of a task's id."""

    good: str
    """What succeeds on a database with one ready task, and with one project, `known`."""
    bad: str = ""
    """What is an error, with the database that `bad_database` names."""
    bad_database: str = NOWHERE
    code: int = field(default=0)
    """How the good one exits."""


CALLS: dict[str, Call] = {
    "init": Call(""),
    "migrate": Call("--plan"),
    "enqueue": Call("again"),
    "list": Call(""),
    "show": Call("ID", "nope", HERE),
    "why": Call("ID", "nope", HERE),
    "tree": Call("ID", "nope", HERE),
    "critical-path": Call("ID", "nope", HERE),
    "cancel": Call("ID"),
    "retry": Call("ID", code=1),
    "stats": Call(""),
    "run": Call("agents.py:make --until-idle", "agents.py:nothing", HERE),
    "index": Call("--jobs", "nowhere", HERE),
    "search": Call("word --project known", "***", HERE),
    "audit list": Call("--task ID", "--task nope", HERE),
    "audit head": Call(""),
    "audit verify": Call("", "--head nope", HERE),
    "projects list": Call(""),
    "projects show": Call("known", "nope", HERE),
    "projects resolve": Call("known", "nope", HERE),
    "projects create": Call("--no-directory --name new", "--no-directory", HERE),
    "projects rename": Call("known known", "nope known", HERE),
    "projects adopt": Call("known work", "nope work", HERE),
    "projects repair": Call("known", "nope", HERE),
    "projects doctor": Call(""),
    "prune": Call("--completed 30d"),
    "purge": Call(""),
    "reset": Call(""),
    "drop": Call(""),
    "backup": Call("copy.db", "abathur.db", HERE),
    "move": Call("abathur.db copy.db", "nowhere.db copy.db"),
    "doctor": Call(""),
    "check-isolation": Call("agents.py --forbid app.db:session", "nowhere --forbid app.db:session"),
    "serve nats": Call(""),
    "completion": Call("bash"),
    "demo": Call("--files 1 --workers 2 --pace 0"),
}
"""`{command: how it is called}`."""
SLOW = {"demo", "serve nats"}
"""Called with --json by tests of its own."""
NO_ERROR = {
    "doctor": "a database that cannot be opened is its answer",
    "completion": "it has no database",
}


def commands() -> Iterator[tuple[str, click.Command]]:
    todo: list[tuple[tuple[str, ...], click.Command]] = [((), main)]
    while todo:
        words, command = todo.pop()
        if isinstance(command, click.Group):
            todo += [((*words, name), inner) for name, inner in command.commands.items()]
        elif not command.hidden:
            yield " ".join(words), command


COMMANDS = dict(commands())
TAKES_ID = sorted(
    name
    for name, command in COMMANDS.items()
    if any(isinstance(one.type, TaskId) and isinstance(one, click.Argument) for one in command.params)
)


def takes_database(command: str) -> bool:
    """Whether the command is about the one database that is meant; `move` names two itself."""
    return any("--database" in one.opts for one in COMMANDS[command].params)


def abathur(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("ABATHUR_DATABASE", "ABATHUR_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "agents.py").write_text(AGENTS)
    (tmp_path / "work").mkdir()
    return tmp_path


@pytest.fixture
def task(here) -> str:
    """The id of the one task, which is ready. There is a project, too."""
    return asyncio.run(make(here / HERE))


async def make(path: Path) -> str:
    async with Database(path, environment="test") as db:  # under pytest no other one can be dropped
        await db.projects.create("known")
        return (await db.tasks.enqueue("x")).id


def words(command: str, arguments: str, task: str) -> list[str]:
    return [*command.split(), *(task if one == "ID" else one for one in arguments.split())]


def test_every_command_is_called_here():
    assert set(COMMANDS) == set(CALLS), "add the new command to CALLS, with a call that works"


@pytest.mark.parametrize("command", sorted(set(CALLS) - SLOW))
def test_success_is_one_json_document(command, task):
    call = CALLS[command]
    for arguments in (
        [*words(command, call.good, task), "--json"],
        ["--json", *words(command, call.good.replace("copy.db", "other.db"), task)],
    ):
        if not Path(HERE).exists():  # it was dropped
            asyncio.run(make(Path(HERE)))
        result = abathur(*arguments)
        assert (result.exit_code, result.stderr) == (call.code, ""), result.stderr
        (line,) = result.stdout.splitlines()
        assert json.loads(line) is not None


@pytest.mark.parametrize("command", sorted(set(CALLS) - SLOW - set(NO_ERROR)))
def test_an_error_is_one_json_document(command, task):
    call = CALLS[command]
    database = call.bad_database if call.bad else NOWHERE
    where = ["--database", database] if takes_database(command) else []
    result = abathur(*words(command, call.bad or call.good, task), "--json", *where)
    assert (result.exit_code, result.stdout) == (1, ""), result.stdout
    (line,) = result.stderr.splitlines()
    error = json.loads(line)["error"]
    assert set(error) >= {"type", "message", "problem", "expected", "remedy"}
    assert error["remedy"]


@pytest.mark.parametrize("command", TAKES_ID)
def test_an_id_may_be_shortened(command, task, here):
    result = abathur(*words(command, CALLS[command].good, task[:13]), "--json")
    assert (result.exit_code, result.stderr) == (CALLS[command].code, "")
    assert task in result.stdout
    unknown = abathur(*words(command, CALLS[command].good, "0000"), "--json")
    assert unknown.exit_code == 1
    told = json.loads(unknown.stderr or unknown.stdout)  # a command for several ids answers for each
    (one,) = told if isinstance(told, list) else [told]
    assert one["error"]["type"] == "UnknownTaskError"


def test_ids_and_agent_types_are_completed_wherever_they_are_asked_for():
    kinds = {"ID": TaskId, "NAME": AgentType}
    for name, command in COMMANDS.items():
        for one in command.params:
            wanted = kinds.get(str(one.metavar))
            if one.name in ("project", "session", "worker"):
                continue  # ids and names of other things
            if wanted is not None or one.name == "agent_type":
                assert isinstance(one.type, (TaskId, AgentType)), (
                    f"{name}: {one.name} needs type=TASK or type=AGENT_TYPE"
                )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help(command):
    for one in COMMANDS[command].params:
        assert not isinstance(one, click.Option) or one.help, one.name
