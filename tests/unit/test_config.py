"""abathur.toml: what it may say, what is refused with which remedy, and what `abathur run` makes of it."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from abathur import Database, Retention
from abathur.cli import main
from abathur.config import read
from abathur.errors import ConfigError, InvalidInputError

WHOLE = """
database = "agents.db"

[runner]
concurrency = 3
lease = "1m"
grace = 0

[retention]
completed = "30d"
failed = 3600

[agents.reviewer]
command = ["./agent.sh", "--fast"]
concurrency = 2
timeout = "10m"
max_attempts = 3
env = { MODEL = "small" }
cwd = "deep"
output = "text"
kill_after = 1.5

[agents."my agent"]
command = ["true"]
"""


def abathur(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ABATHUR_DATABASE", raising=False)
    monkeypatch.delenv("ABATHUR_ENVIRONMENT", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "deep").mkdir()
    for place in (tmp_path, tmp_path / "deep"):
        (place / "agent.sh").write_text('#!/bin/sh\necho "$1 $MODEL in $(basename "$PWD")"\n')
        (place / "agent.sh").chmod(0o700)
    return tmp_path


def config(text: str, name: str = "abathur.toml") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


def test_a_whole_file_is_read(here):
    found = read(config(WHOLE))
    assert found.database == str(here / "agents.db")
    assert found.runner == {"concurrency": 3, "lease": 60, "grace": 0}
    agent = found.agents["reviewer"]
    assert (agent.concurrency, agent.timeout, agent.max_attempts) == (2, 600, 3)
    command = agent.handler.command
    assert (command.argv, command.env) == (("./agent.sh", "--fast"), {"MODEL": "small"})
    assert (command.cwd, command.is_text, command.kill_after) == (str(here / "deep"), True, 1.5)
    runner = found.make_runner(Database("agents.db"))
    assert (runner.concurrency, runner.lease, runner.grace) == (3, 60, 0)
    assert runner.agent_types == ("my agent", "reviewer")
    assert runner.retention == Retention(completed=timedelta(days=30), failed=timedelta(hours=1))


def test_paths_are_seen_from_the_directory_of_the_file(here, monkeypatch):
    (here / "deep" / "deeper").mkdir()
    config('database = "sub.db"\n[agents.a]\ncommand = ["./agent.sh"]\n', "deep/abathur.toml")
    monkeypatch.chdir(here / "deep" / "deeper")
    found = read(Path("../abathur.toml"))
    assert Path(found.database or "").resolve() == here / "deep" / "sub.db"
    assert Path(found.agents["a"].handler.command.cwd).resolve() == here / "deep"
    config('database = "sqlite:///x.db"', "abathur.toml")
    assert read(Path("abathur.toml")).database == "sqlite:///x.db"


AGENT = '[agents.a]\ncommand = ["true"]\n'


@pytest.mark.parametrize(
    ("text", "place", "said", "remedy"),
    [
        ("[agents.a\n", "", "It is not TOML:", "Correct that line"),
        ("x = \xff", "", "It is not TOML", "Correct that line"),
        ("databse = 'a.db'", "databse", "did you mean 'database'?", "'database'"),
        ("database = 3", "database", "It is 3", "in quotes"),
        ("database = ''", "database", "It is ''", "in quotes"),
        (
            "[agent.a]\ncommand = ['true']",
            "",
            "There is no table [agent]; did you mean 'agents'?",
            "'agents'",
        ),
        ("[weather]", "", "There is no table [weather].", "Take it out"),
        ("[retention]\nready = '1d'", "[retention] ready", "This key is unknown", "Take it out"),
        ("[retention]\ncompleted = 'soon'", "[retention] completed", "soon", "90s"),
        ("[retention]\nfailed = -1", "[retention] failed", "-1", "90s"),
        ("agents = 3", "agents", "It is a number", "[agents]"),
        ("[agents]\nreviewer = 'true'", "[agents] reviewer", "It is a text", "[agents.reviewer]"),
        ("[agents.'']\ncommand = ['true']", '[agents.""]', "agent_type is empty", "Give another"),
        ("[agents.a]", "[agents.a]", "It has no command", 'command = ["./review.sh"]'),
        ("[agents.'b c']", '[agents."b c"]', "It has no command", "command ="),
        (
            "[agents.a]\ncommand = './agent.sh --fast'",
            "[agents.a] command",
            "command is one text",
            'command = ["./agent.sh", "--fast"]',
        ),
        ("[agents.a]\ncommand = []", "[agents.a] command", "command is empty", "command ="),
        ("[agents.a]\ncommand = ['true', 3]", "[agents.a] command", "no text", '"3"'),
        ("[agents.a]\ncommand = ['no-such-program']", "[agents.a] command", "no program", "Install it"),
        ("[agents.a]\ncommand = ['agent.sh']", "[agents.a] command", "no program", '"./agent.sh"'),
        ("[agents.a]\ncommand = ['./none.sh']", "[agents.a] command", "There is no file", "Correct the path"),
        ("[agents.a]\ncommand = ['./abathur.toml']", "[agents.a] command", "not executable", "chmod +x"),
        (AGENT + "comand = 3", "[agents.a] comand", "did you mean 'command'?", "'command'"),
        (AGENT + "colour = 3", "[agents.a] colour", "This key is unknown.", "Take it out"),
        (AGENT + "[agents.a.options]", "[agents.a]", "There is no table [agents.a.options]", "Take it out"),
        (AGENT + "concurrency = 0", "[agents.a] concurrency", "It is 0", "without quotes"),
        (AGENT + "concurrency = '2'", "[agents.a] concurrency", "It is '2'", "without quotes"),
        (AGENT + "concurrency = true", "[agents.a] concurrency", "It is true", "without quotes"),
        (AGENT + "max_attempts = 1001", "[agents.a] max_attempts", "It is 1001", "without quotes"),
        (AGENT + "timeout = '10 minutes'", "[agents.a] timeout", "It is '10 minutes'", '"10m"'),
        (AGENT + "timeout = 0", "[agents.a] timeout", "It is 0", '"10m"'),
        (AGENT + "timeout = inf", "[agents.a] timeout", "It is inf", '"10m"'),
        (AGENT + "timeout = nan", "[agents.a] timeout", "It is nan", '"10m"'),
        (AGENT + "timeout = true", "[agents.a] timeout", "It is true", '"10m"'),
        (AGENT + "timeout = '99999999999999d'", "[agents.a] timeout", "It is '9", '"10m"'),
        (AGENT + "timeout = [1]", "[agents.a] timeout", "It is a list", '"10m"'),
        (AGENT + "kill_after = '10m'", "[agents.a] kill_after", "It is '10m'", '"10m"'),
        (AGENT + "env = { A = 1 }", "[agents.a] env", "A = 1", 'A = "1"'),
        (AGENT + "env = ['A=1']", "[agents.a] env", "env is a list", 'env = { MODEL = "small" }'),
        (AGENT + "env = { ABATHUR_FENCE = '1' }", "[agents.a] env", "ABATHUR_FENCE", "another name"),
        (AGENT + "cwd = 'nowhere'", "[agents.a] cwd", "There is no directory", "Make it"),
        (AGENT + "cwd = 3", "[agents.a] cwd", "It is 3", "in quotes"),
        (AGENT + "output = 'yaml'", "[agents.a] output", "'yaml'", "Leave it out"),
        ("[runner]\nworkers = 3", "[runner] workers", "This key is unknown", "Take it out"),
        ("[runner]\nconcurrency = 2000", "[runner] concurrency", "It is 2000", "without quotes"),
        ("[runner]\nlease = 0", "[runner] lease", "It is 0", '"10m"'),
        ("[runner]\ngrace = -1", "[runner] grace", "It is -1", '"10m"'),
    ],
    ids=lambda value: value.replace("\n", " ") if isinstance(value, str) else str(value),
)
def test_what_is_wrong_is_named_with_its_place_and_its_remedy(text, place, said, remedy):
    Path("abathur.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as raised:
        read(Path("abathur.toml"))
    error = raised.value
    assert error.problem.startswith(f"abathur.toml, {place}: " if place else "abathur.toml: "), error.problem
    assert said in error.problem
    assert remedy in error.remedy
    assert error.expected
    assert isinstance(error, InvalidInputError)
    assert " ".join(part for part in (f"[{error.table}]" if error.table else "", error.key) if part) == place
    # And on the command line, where nothing is made before everything is right.
    result = abathur("run", "--until-idle", "--json")
    assert (result.exit_code, json.loads(result.stderr)["error"]["type"]) == (1, "ConfigError")
    assert not list(Path().glob("*.db"))


@pytest.mark.parametrize(("name", "said"), [("none.toml", "no such file"), ("link.toml", "cannot be read")])
def test_a_file_that_cannot_be_read_is_refused(here, name, said):
    (here / "link.toml").symlink_to("link.toml")
    with pytest.raises(ConfigError, match=said):
        read(Path(name))


# -- abathur run -------------------------------------------------------------------------------

AGENTS = """
from abathur import Database, Runner

def runner(db):
    runner = Runner(db)

    @runner.agent("python")
    async def handle(ctx):
        return "python"

    return runner

own = runner(Database("own.db"))
"""


def results(*options: str) -> dict[str, object]:
    tasks = json.loads(abathur("list", "--json", *options).stdout)
    return {task["agent_type"]: task["result"] for task in tasks}


def test_without_a_target_the_agents_of_the_file_run_on_its_database(here):
    config(WHOLE)
    abathur("enqueue", "x", "--agent-type", "reviewer")
    result = abathur("run", "--until-idle", "--worker", "w1")
    assert (result.exit_code, result.stdout) == (0, ""), result.stderr
    assert f"w1: my agent, reviewer; 3 at a time; {here / 'agents.db'}" in result.stderr
    assert results() == {"reviewer": "--fast small in deep"}
    assert sorted(path.name for path in here.glob("*.db")) == ["agents.db"]


def test_the_database_of_the_file_comes_after_the_option_and_the_environment(here, monkeypatch):
    config(WHOLE)
    assert abathur("run", "--until-idle", "--database", "option.db").exit_code == 0
    monkeypatch.setenv("ABATHUR_DATABASE", "environment.db")
    assert abathur("run", "--until-idle").exit_code == 0
    assert sorted(path.name for path in here.glob("*.db")) == ["environment.db", "option.db"]


def test_another_file_is_named_with_config(here):
    config(WHOLE.replace("agents.db", "../other.db").replace('"deep"', '"."'), "deep/other.toml")
    result = abathur("run", "--config", "deep/other.toml", "--until-idle", "--concurrency", "7", "--json")
    answer = json.loads(result.stdout)
    assert Path(answer["database"]).resolve() == here / "other.db"
    assert answer["agent_types"] == ["my agent", "reviewer"]


def test_a_target_runs_alone_and_with_config_both_do(here):
    config(WHOLE)
    (here / "cli_config_agents.py").write_text(AGENTS)
    for kind in ("python", "reviewer"):
        abathur("enqueue", "x", "--agent-type", kind)
    target = "cli_config_agents.py:runner"
    assert abathur("run", target, "--until-idle").exit_code == 0
    assert results() == {"python": "python", "reviewer": None}
    assert abathur("run", target, "--config", "abathur.toml", "--until-idle").exit_code == 0
    assert results()["reviewer"] == "--fast small in deep"
    own = abathur("run", "cli_config_agents.py:own", "--config", "abathur.toml", "--until-idle", "--json")
    assert json.loads(own.stdout)["agent_types"] == ["my agent", "python", "reviewer"]
    assert json.loads(own.stdout)["database"] == str(here / "own.db")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "There is no TARGET, and no abathur.toml in this directory."),
        (("--config", "none.toml"), "There is no such file."),
        (
            ("cli_config_agents.py:runner", "--config", "same.toml"),
            "has a handler for this agent type already",
        ),
        (("--config", "empty.toml"), "It declares no agents."),
    ],
)
def test_what_cannot_be_run_is_refused(here, arguments, said):
    (here / "cli_config_agents.py").write_text(AGENTS)
    config('[agents.python]\ncommand = ["true"]', "same.toml")
    config("", "empty.toml")
    result = abathur("run", *arguments, "--until-idle")
    assert result.exit_code == 1
    assert said in result.stderr


def test_other_commands_use_the_database_of_the_file_and_do_not_mind_its_agents(here):
    config('database = "agents.db"\n[agents.a]\ncommand = ["./no-such-file"]')
    assert abathur("enqueue", "x").exit_code == 0
    assert (here / "agents.db").exists()
    config("database = 3")
    result = abathur("list")
    assert result.exit_code == 1
    assert "abathur.toml, database: It is 3." in result.stderr


def test_show_has_the_error_in_a_line_and_the_end_of_stderr_below():
    config('[agents.a]\ncommand = ["sh", "-c", "echo first >&2; echo last >&2; exit 3"]')
    task = abathur("enqueue", "x", "--agent-type", "a", "--max-attempts", "1").stdout.strip()
    assert abathur("run", "--until-idle").exit_code == 0
    shown = abathur("show", task).stdout
    assert "error       `sh` ended with exit code 3: last\n" in shown
    assert "Standard error of attempt 1\n  first\n  last\n" in shown
    assert "Traceback" not in shown
