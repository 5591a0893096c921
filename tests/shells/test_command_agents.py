"""Command agents: what a program is given, and what its output, exit code and progress become."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from pathlib import Path

import pytest

from abathur import Database, Runner
from abathur.commands import CommandAgent, progress
from abathur.errors import InvalidInputError


@pytest.fixture
async def db(tmp_path):
    async with Database(tmp_path / "agents.db", environment="test") as db:
        yield db


@pytest.fixture
def runner(db):
    return Runner(db, concurrency=4, grace=0.1, lease=10)


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


async def run(runner, script, *, prompt="x", given=None, max_attempts=1, **options):
    """The task after one attempt of a shell script."""
    runner.command("a", shell(script), **options)
    task = await runner.db.tasks.enqueue(prompt, agent_type="a", input=given, max_attempts=max_attempts)
    await asyncio.wait_for(runner.run(until_idle=True), 30)
    return await runner.db.tasks.get(task)


async def test_a_command_gets_its_task_and_what_it_prints_is_the_result(db, runner, tmp_path, monkeypatch):
    monkeypatch.setenv("ABATHUR_FENCE", "of an outer task")
    script = (
        "import json, os, sys\n"
        "names = sorted(name for name in os.environ if name.startswith('ABATHUR_'))\n"
        "given = json.load(sys.stdin)\n"
        "shown = {name: os.environ[name] for name in [*names, 'MODEL', 'HOME']}\n"
        "found = {'given': given, 'env': shown, 'cwd': os.getcwd(), 'argv': sys.argv[1:]}\n"
        "print(json.dumps(found, indent=4))"
    )
    (tmp_path / "here").mkdir()
    runner.command(
        "reviewer",
        [sys.executable, "-c", script, "--fast", "a b", "$HOME"],
        env={"MODEL": "small"},
        cwd=tmp_path / "here",
        timeout=60,
    )
    root = await db.tasks.enqueue("whole", agent_type="nobody")
    task = await db.tasks.enqueue(
        "Review »it«",
        agent_type="reviewer",
        input={"branch": "main", "n": [1, 2.5, None]},
        priority=7,
        max_attempts=2,
        parent=root,
        project="p",
        summary="s",
    )
    await runner.run(until_idle=True)
    found = await db.tasks.get(task)
    assert found.status == "completed", found.error
    given, env = found.result["given"], found.result["env"]
    assert {
        "id": task.id,
        "prompt": "Review »it«",
        "agent_type": "reviewer",
        "input": {"branch": "main", "n": [1, 2.5, None]},
        "attempt": 1,
        "max_attempts": 2,
        "error": None,
        "fence": 1,
        "worker": runner.worker,
        "timeout": 60,
        "priority": 7,
        "summary": "s",
        "parent": root.id,
        "project": "p",
        "deadline": None,
    }.items() <= given.items()
    assert given["submitted_at"] == task.submitted_at.isoformat()
    assert env == {
        **{name: value for name, value in os.environ.items() if name.startswith("ABATHUR_")},
        "ABATHUR_TASK_ID": task.id,
        "ABATHUR_FENCE": "1",
        "ABATHUR_ATTEMPT": "1",
        "ABATHUR_AGENT_TYPE": "reviewer",
        "ABATHUR_WORKER": runner.worker,
        "ABATHUR_DATABASE": str(tmp_path / "agents.db"),
        "ABATHUR_PROMPT": "Review »it«",
        "ABATHUR_PROGRESS_FD": "3",
        "MODEL": "small",
        "HOME": os.environ["HOME"],
    }
    assert found.result["cwd"] == str(tmp_path / "here")
    assert found.result["argv"] == ["--fast", "a b", "$HOME"]


@pytest.mark.parametrize(
    ("script", "options", "result"),
    [
        ("true", {}, None),
        ("echo", {}, None),
        ('echo \'{"a": [1, "ä"]}\'', {}, {"a": [1, "ä"]}),
        ("echo words '&' more; echo", {"output": "text"}, "words & more"),
        ("cat /dev/stdin | tr -d '\\n' | tail -c 2", {"output": "text"}, "l}"),
        # What is left in the background is ended and keeps nobody waiting.
        ("sleep 60 & echo 1", {}, 1),
    ],
)
async def test_stdout_is_the_result(runner, script, options, result):
    began = time.monotonic()
    task = await run(runner, script, **options)
    assert (task.status, task.result, task.error) == ("completed", result, None)
    assert time.monotonic() - began < 10


async def test_what_is_not_json_fails_the_task_at_once_and_is_shown(runner):
    task = await run(runner, "echo Looks good to me; seq 1000", max_attempts=3)
    assert (task.status, task.attempt) == ("failed", 1)
    assert "has printed what is not JSON" in task.error
    assert "Looks good to me" in task.error
    assert 'output = "text"' in task.error
    assert len(task.error) < 900


async def test_an_exit_code_and_the_end_of_stderr_are_the_error(db, runner):
    task = await run(runner, "seq 1 20000 >&2; printf 'caf\\351 last words\\n' >&2; echo '{}'; exit 3")
    assert (task.status, task.result) == ("failed", None)
    last = "caf\N{REPLACEMENT CHARACTER} last words"
    assert task.error.startswith(f"`sh` ended with exit code 3: {last}\n... ")
    assert task.error.endswith(f"20000\n{last}")
    assert len(task.error) < 1_600
    (attempt,) = await db.tasks.attempts(task)
    assert attempt.error["type"] == "CommandError"
    assert "\n19000\n" in attempt.error["stderr"]  # more of it
    assert "\n10000\n" not in attempt.error["stderr"]  # not all of it
    assert "traceback" not in attempt.error  # it would show our own code


async def test_a_failed_attempt_is_repeated_and_sees_the_error_of_the_one_before(db, runner, monkeypatch):
    monkeypatch.setattr("abathur.tasks.failures.backoff", lambda attempt: 0.01)
    script = 'if [ "$ABATHUR_ATTEMPT" = 1 ]; then echo no >&2; exit 1; fi; cat'
    task = await run(runner, script, max_attempts=2)
    assert (task.status, task.attempt) == ("completed", 2)
    assert (task.result["attempt"], task.result["fence"]) == (2, 2)
    assert task.result["error"].endswith("no")


async def test_exit_code_65_means_that_another_attempt_would_be_no_use(runner):
    task = await run(runner, "echo 'no such branch' >&2; exit 65", max_attempts=3)
    assert (task.status, task.attempt) == ("failed", 1)
    assert task.error == "`sh` ended with exit code 65, so it is not tried again: no such branch"


@pytest.mark.parametrize(("number", "name"), [("TERM", "SIGTERM"), ("9", "SIGKILL"), ("SEGV", "SIGSEGV")])
async def test_a_signal_is_the_error_by_its_name(runner, number, name):
    task = await run(runner, f"kill -{number} $$; sleep 10")
    assert task.error == f"`sh` was ended by {name}: it has written nothing to stderr."


async def test_a_program_that_was_there_at_first_and_is_no_more_fails_the_attempt(db, runner, tmp_path):
    program = tmp_path / "agent.sh"
    for text, said in (
        (None, "No such file"),
        ("#!/no/such/shell\n", "No such file"),
        ("echo 1\n", "Exec format"),
    ):
        program.write_text("#!/bin/sh\n")
        program.chmod(0o700)
        kind = f"a {said} {text}"
        runner.command(kind, [str(program)], max_attempts=1)
        if text is None:
            program.unlink()
        else:
            program.write_text(text)
        task = await db.tasks.enqueue("x", agent_type=kind)
        await runner.run(until_idle=True)
        error = (await db.tasks.get(task)).error
        assert f"`{program}` could not be started: {said}" in error
        assert "first line" in error
    (tmp_path / "gone").mkdir()
    runner.command("gone", ["true"], cwd=tmp_path / "gone", max_attempts=1)
    (tmp_path / "gone").rmdir()
    task = await db.tasks.enqueue("x", agent_type="gone")
    await runner.run(until_idle=True)
    assert "could not be started: No such file" in (await db.tasks.get(task)).error


async def test_a_command_has_four_descriptors_default_signals_and_a_group_of_its_own(runner):
    script = (
        "import json, os, signal\n"
        "def is_open(n):\n"
        "    try: return bool(os.fstat(n))\n"
        "    except OSError: return False\n"
        "fds = [n for n in range(3000) if is_open(n)]\n"
        "ignored = [n for n in (1, 2, 3, 15) if signal.getsignal(n) == signal.SIG_IGN]\n"
        "print(json.dumps([fds, ignored, os.getpgid(0) == os.getpid()]))"
    )
    with open(os.devnull) as file:  # noqa: PTH123
        os.set_inheritable(file.fileno(), True)  # somebody else's, which is not for it
        runner.command("b", [sys.executable, "-c", script])
        # A pipe whose reader is gone ends who writes to it, as everywhere in a shell.
        task = await run(runner, "yes 2>&1 | head -n 1 >/dev/null; echo 1")
        other = await runner.db.tasks.enqueue("x", agent_type="b")
        await runner.run(until_idle=True)
    assert task.result == 1
    assert (await runner.db.tasks.get(other)).result == [[0, 1, 2, 3], [], True]


async def test_a_command_that_never_reads_its_input_gets_by(runner):
    task = await run(runner, "exec 0<&-; sleep 0.1; echo 1", given={"text": "x" * 200_000})
    assert (task.status, task.result) == ("completed", 1)
    other = Runner(runner.db)
    other.command("b", shell("sleep 0.1; echo 2"))
    task = await runner.db.tasks.enqueue("y" * 200_000, agent_type="b", input={"text": "x" * 200_000})
    await other.run(until_idle=True)
    assert (await runner.db.tasks.get(task)).result == 2


async def test_a_large_input_and_a_long_prompt_arrive_whole(runner):
    prompt, given = "y" * 200_000, {"text": "x" * 200_000}
    script = '[ -z "$ABATHUR_PROMPT" ] && wc -c'
    task = await run(runner, script, prompt=prompt, given=given)
    assert task.result > 400_000, task.error


async def test_stdout_that_is_too_long_ends_the_command_and_fails_the_task(runner):
    began = time.monotonic()
    task = await run(runner, "yes", kill_after=0.2, max_attempts=3)
    assert (task.status, task.attempt) == ("failed", 1)
    assert "more than 524,288 bytes" in task.error
    assert time.monotonic() - began < 15


async def test_a_result_that_is_larger_than_a_payload_may_be_fails_the_task(runner):
    task = await run(
        runner, "printf '\"'; head -c 300000 /dev/zero | tr '\\0' x; printf '\"'", max_attempts=3
    )
    assert (task.status, task.attempt) == ("failed", 1)
    assert "262,144" in task.error


# -- progress ----------------------------------------------------------------------------------


async def test_lines_on_descriptor_3_are_progress(db, runner, caplog):
    lines = ['{"progress": 0.25, "message": "reading"}', "nonsense", "[1]", "", '{"progress": 7}']
    lines += ['{"message": "writing"}', '{"progress": 0.75}']
    script = f"printf %s '{chr(10).join(lines)}' >&3"
    with caplog.at_level(logging.WARNING):
        task = await run(runner, script)
    assert task.status == "completed"
    found = await db.tasks.progress(task)
    assert (found.fraction, found.message) == (0.75, "writing")
    (record,) = [one for one in caplog.records if "progress" in one.message]  # one for all that was wrong
    assert "'nonsense'" in record.message


async def test_a_flood_of_progress_does_not_load_the_database(db, runner, monkeypatch, caplog):
    beats = 0
    real = db.tasks.heartbeat

    async def heartbeat(*arguments, **options):
        nonlocal beats
        beats += 1
        await real(*arguments, **options)

    monkeypatch.setattr(db.tasks, "heartbeat", heartbeat)
    script = (
        "import os, time\n"
        "for n in range(50_000):\n"
        "    os.write(3, b'{\"progress\": %.5f}\\n' % (n / 50_000))\n"
        "os.write(3, b'x' * 5_000_000 + b'\\n' + b'{\"progress\": 1, \"message\": \"done\\\\u0000\"}')\n"
    )
    runner.command("b", [sys.executable, "-c", script])
    task = await db.tasks.enqueue("x", agent_type="b")
    began = time.monotonic()
    await asyncio.wait_for(runner.run(until_idle=True), 30)
    found = await db.tasks.progress(task)
    assert (found.fraction, found.message) == (1, "done")
    assert beats <= 3 + (time.monotonic() - began) / progress.EVERY
    assert sum("too long" in one.message for one in caplog.records) == 1


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"command": "./review.sh --fast"}, 'Write command = ["./review.sh", "--fast"]'),
        ({"command": ""}, "one text"),
        ({"command": b"true"}, "a bytes"),
        ({"command": 7}, "a int"),
        ({"command": []}, "command is empty"),
        ({"command": ["true", 3]}, "holds what is no text"),
        ({"command": ["true", "a\0"]}, "without NUL"),
        ({"command": [" "]}, "an empty text"),
        ({"command": ["no-such-program"]}, "no program 'no-such-program' on the PATH"),
        ({"command": ["near"]}, 'Write "./near" for the file'),
        ({"command": ["./no-such-file"]}, "There is no file"),
        ({"command": ["./deep"]}, "There is no file"),
        ({"command": ["./near"]}, "chmod +x ./near"),
        ({"command": ["true"], "env": {"PATH": "/nowhere"}}, "on the PATH"),
        ({"env": ["A=1"]}, "env is a list"),
        ({"env": {"A": 1}}, 'Write A = "1", in quotes'),
        ({"env": {"A": None}}, "A = None"),
        ({"env": {"A=B": "1"}}, "the name 'A=B'"),
        ({"env": {"": "1"}}, "the name ''"),
        ({"env": {"ABATHUR_FENCE": "7"}}, "which abathur itself sets"),
        ({"cwd": "nowhere"}, "There is no directory"),
        ({"cwd": "near"}, "There is no directory"),
        ({"cwd": 3}, "no path"),
        ({"output": "yaml"}, "Expected 'json' or 'text'"),
        ({"kill_after": -1}, "kill_after"),
        ({"kill_after": 301}, "kill_after"),
        ({"concurrency": 0}, "concurrency"),
        ({"timeout": 0}, "timeout"),
        ({"max_attempts": 0}, "max_attempts"),
    ],
    ids=str,
)
async def test_a_wrong_command_agent_is_refused_with_its_remedy(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "near").write_text("#!/bin/sh\n")
    (tmp_path / "deep").mkdir()
    runner = Runner(Database("a.db"))
    with pytest.raises(InvalidInputError) as raised:
        runner.command("a", **{"command": ["true"], **arguments})
    assert said in str(raised.value)
    assert raised.value.expected
    assert raised.value.remedy
    assert runner.agent_types == ()


def test_a_command_is_found_where_its_directory_and_its_path_say(tmp_path):
    program = tmp_path / "agent.sh"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    for command, options in (
        (["./agent.sh"], {"cwd": tmp_path}),
        ([str(program)], {}),
        (["agent.sh"], {"env": {"PATH": str(tmp_path)}}),
    ):
        assert json.dumps(command)[1:-1].replace('"', "'") in repr(CommandAgent(command, **options))
    assert Path(CommandAgent(["true"]).command.cwd) == Path.cwd()
