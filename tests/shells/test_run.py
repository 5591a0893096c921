"""`abathur run`: which targets it takes, and how it stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from abathur.cli import main

AGENTS = """
import asyncio, os, pathlib, time
from abathur import Database, Runner
from abathur.errors import InvalidInputError

def runner(db):
    runner = Runner(db, grace=0.2)

    @runner.agent("reviewer")
    async def review(ctx):
        return {"worker": ctx.claim.worker, "concurrency": runner.concurrency, "module": __name__}

    @runner.agent("sleeper")
    async def sleep(ctx):
        pathlib.Path("started").touch()
        await asyncio.sleep(60)

    @runner.agent("blocker")
    async def block(ctx):
        pathlib.Path("started").touch()
        time.sleep(60)

    return runner

async def later(db):
    return runner(db)

own = Runner(Database("own.db"))

@own.agent("reviewer")
def review(ctx):
    return "own"

class Holder:
    make = staticmethod(runner)

five = 5
def nothing(db): pass
def two(a, b): pass
def another(db): return own
def empty(db): return Runner(db)
def broken(db): return {}["key"]
def typed(db): raise InvalidInputError("It is Monday.", "Expected Tuesday.", "Wait.")
"""


def abathur(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def refused(*arguments: str) -> dict[str, str]:
    result = abathur("run", *arguments, "--until-idle", "--json")
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    found = json.loads(result.stderr)["error"]
    assert all(found[part] for part in ("message", "problem", "expected", "remedy"))
    return found


def tasks(*options: str) -> list[dict[str, Any]]:
    return json.loads(abathur("list", "--json", *options).stdout)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ABATHUR_DATABASE", raising=False)
    monkeypatch.delenv("ABATHUR_ENVIRONMENT", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    (tmp_path / "cli_agents.py").write_text(AGENTS)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("cli_", "abathur_run_target")):
            del sys.modules[name]


@pytest.mark.parametrize(
    "target",
    ["cli_agents:runner", "cli_agents.py:runner", "./cli_agents.py:later", "cli_agents:Holder.make"],
)
def test_a_function_gets_the_database_and_gives_the_runner(target):
    abathur("enqueue", "x", "--agent-type", "reviewer")
    result = abathur("run", target, "--until-idle", "--worker", "w1", "--concurrency", "3", "--json")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert (answer["worker"], answer["ended"]) == ("w1", "idle")
    assert answer["agent_types"] == ["blocker", "reviewer", "sleeper"]
    (task,) = tasks()
    assert (task["status"], task["result"]["worker"], task["result"]["concurrency"]) == ("completed", "w1", 3)


def test_a_module_from_a_file_does_not_run_as_main_and_finds_its_neighbours(here):
    (here / "deep").mkdir()
    (here / "deep" / "cli_neighbour.py").write_text("from cli_more import x as runner")
    (here / "deep" / "cli_more.py").write_text(AGENTS + "\nx = runner\n")
    abathur("enqueue", "x", "--agent-type", "reviewer")
    result = abathur("run", "deep/cli_neighbour.py:runner", "--until-idle")
    assert result.exit_code == 0, result.stderr
    assert tasks()[0]["result"]["module"] == "cli_more"


def test_nothing_but_the_answer_is_on_standard_output():
    result = abathur("run", "cli_agents:runner", "--until-idle", "--worker", "w1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "w1: blocker, reviewer, sleeper; 8 at a time" in result.stderr
    assert result.stderr.endswith("Stopped: idle.\n")


def test_a_runner_uses_its_own_database_whatever_the_environment_says(here, monkeypatch):
    abathur("enqueue", "x", "--agent-type", "reviewer", "--database", "own.db")
    monkeypatch.setenv("ABATHUR_DATABASE", "environment.db")
    result = abathur("run", "cli_agents:own", "--until-idle", "--json")
    assert json.loads(result.stdout)["database"] == str(here / "own.db")
    assert tasks("--database", "own.db")[0]["result"] == "own"
    assert not (here / "environment.db").exists()


@pytest.mark.parametrize("place", [("--database", "a.db", "run"), ("run", "--database", "a.db")])
def test_a_runner_and_a_database_are_one_too_many(here, place):
    result = abathur(*place, "cli_agents:own", "--until-idle")
    assert result.exit_code == 1
    assert "has its own database" in result.stderr
    assert not list(here.glob("*.db"))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("cli_agents", "names nothing to run"),
        ("cli_agents:", "names nothing to run"),
        (":runner", "names nothing to run"),
        ("", "names nothing to run"),
        ("cli_agents:nope", "has no attribute 'nope'"),
        ("cli_agents.py:runner.nope", "has no attribute 'runner.nope'"),
        ("cli_agents:five", "is of type int"),
        ("cli_agents:Holder", "is the class Holder"),
        ("cli_agents:two", "cannot be called with a Database alone"),
        ("no_such_module:x", "No module named 'no_such_module'"),
        ("no_such_file.py:x", "There is no file no_such_file.py"),
        ("deep/missing:x", "There is no file deep/missing"),
        ("..:x", "could not be imported"),
        ("cli_bad_import:x", "cli_bad_import.py, line 3"),
        ("cli_bad_syntax.py:x", "cli_bad_syntax.py, line 2"),
        ("cli_exits.py:x", "SystemExit: 3"),
        ("no_python.txt/:x", "There is no file"),
    ],
)
def test_a_target_that_cannot_be_run_is_refused_and_makes_no_database(here, target, said):
    (here / "cli_bad_import.py").write_text("\n\nimport no_such_thing\n")
    (here / "cli_bad_syntax.py").write_text("x = 1\ndef f(:\n")
    (here / "cli_exits.py").write_text("raise SystemExit(3)\n")
    found = refused(target)
    assert found["type"] == "InvalidInputError"
    assert said in found["problem"]
    assert not list(here.glob("*.db"))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("cli_agents:nothing", "returned what is None"),
        ("cli_agents:another", "Runner of another Database"),
        ("cli_agents:empty", "has no handlers"),
        ("cli_agents:broken", "KeyError: 'key'"),
        ("cli_agents:typed", "It is Monday."),
    ],
)
def test_a_function_that_gives_no_runner_of_its_database_is_refused(target, said):
    assert said in refused(target)["problem"]


@pytest.mark.parametrize(
    ("option", "code"), [("--concurrency=0", 2), ("--concurrency=many", 2), ("--worker=", 1), ("--nope", 2)]
)
def test_wrong_options_are_refused(option, code):
    assert abathur("run", "cli_agents:runner", "--until-idle", option).exit_code == code


# -- signals -----------------------------------------------------------------------------------


@contextmanager
def worker(*options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", "-m", "abathur", "run", "cli_agents.py:runner", *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(condition, what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_gracefully_and_gives_its_tasks_back(here, number):
    abathur("enqueue", "x", "--agent-type", "sleeper")
    with worker("--json") as process:
        until((here / "started").exists, "the handler started")
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert json.loads(out)["ended"] == number.name
    assert "Stopping: handlers may finish within 0.2 s." in err
    (task,) = tasks()
    assert (task["status"], task["attempt"], task["fence"]) == ("ready", 0, 1)


def test_a_second_signal_ends_it_at_once_even_if_a_handler_blocks_everything(here):
    abathur("enqueue", "x", "--agent-type", "blocker")
    with worker() as process:
        until((here / "started").exists, "the handler started")
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=5)
    assert process.returncode == 130
    (task,) = tasks()
    assert task["status"] == "running"  # until its lease is over


def test_an_idle_worker_stops_at_once(here):
    with worker() as process:
        until((here / "abathur.db").exists, "it has started")
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    assert "Stopped: SIGTERM." in err
