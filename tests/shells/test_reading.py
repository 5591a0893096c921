"""`abathur why`, `tree`, `critical-path`, `cancel`, `retry` and `stats`."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from abathur import Database, Task
from abathur.cli import main
from abathur.tasks import workers
from tests.shells.test_output import on_terminal


def abathur(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def answer(*arguments: str, exit_code: int = 0) -> Any:
    """The JSON that a command answers with."""
    result = abathur(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (exit_code, ""), result.output
    return json.loads(result.stdout)


def text(*arguments: str) -> list[str]:
    """The lines that a command answers with, for people."""
    result = abathur(*arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return [line.rstrip() for line in result.stdout.splitlines()]


def in_database(body: Callable[[Database], Any]) -> Any:
    async def run() -> Any:
        async with Database("abathur.db") as db:
            return await body(db)

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ABATHUR_DATABASE", raising=False)
    monkeypatch.delenv("ABATHUR_ENVIRONMENT", raising=False)
    abathur("init")
    return tmp_path


@pytest.fixture
def family() -> list[Task]:
    """A plan with a failed part, a part that waits for it, and a part of that."""

    async def make(db: Database) -> list[Task]:
        plan = await db.tasks.enqueue("Plan", agent_type="planner")
        build = await db.tasks.enqueue("Build", agent_type="builder", parent=plan, max_attempts=1)
        test = await db.tasks.enqueue("Test", parent=plan, depends_on=[build], estimated_duration=90)
        unit = await db.tasks.enqueue("Unit tests", parent=test)
        (claim,) = await db.tasks.claim("w1", agent_types=["builder"])
        await db.tasks.fail(claim, "compiler not found")
        return [await db.tasks.get(task) for task in (plan, build, test, unit)]

    return in_database(make)


# -- why -----------------------------------------------------------------------------------------


def test_why_says_the_reasons_in_words_and_as_data(family):
    _, build, test, _ = family
    first, reason = text("why", test.id)
    assert first == f"Task {test.id} is blocked."
    assert reason.startswith(f'- It waits for {build.id} "Build", which failed: compiler not found.')
    found = answer("why", test.id)
    assert found["task"]["status"] == "blocked"
    (reason,) = found["reasons"]
    assert (reason["code"], reason["data"]["root"]["id"]) == ("blocked", build.id)
    assert reason["data"]["never"] is True


def test_what_others_wrote_cannot_control_the_terminal_through_why_and_tree():
    async def make(db: Database) -> Task:
        bad = await db.tasks.enqueue("x", summary="\x1b[2J\u202eevil", agent_type="\x1b[31m")
        return await db.tasks.enqueue("y", parent=bad, depends_on=[bad])

    task = in_database(make)
    for line in (*text("why", task.id), *text("tree", task.parent), *text("critical-path", task.id)):
        assert line.isprintable(), line
        assert "\u202e" not in line


@pytest.mark.parametrize("command", ["why", "tree", "critical-path", "cancel", "retry"])
def test_an_id_may_be_shortened_to_a_unique_beginning(command, family):
    tasks = family if command != "retry" else family[1:2]
    for task in tasks:
        others = [one.id for one in family if one is not task]
        short = next(
            task.id[:n] for n in range(1, 37) if not any(one.startswith(task.id[:n]) for one in others)
        )
        found = abathur(command, short, "--json")
        assert "UnknownTaskError" not in found.output
        assert "ids of several" not in found.output
    assert "ids of several tasks begin with" in abathur(command, family[0].id[:4]).stderr


@pytest.mark.parametrize("command", ["why", "tree", "critical-path"])
def test_an_unknown_id_is_refused(command):
    result = abathur(command, "nobody", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert json.loads(result.stderr)["error"]["type"] == "UnknownTaskError"


# -- tree and critical path --------------------------------------------------------------------------


def test_a_tree_is_drawn_with_who_waits_for_whom(family):
    plan, build, test, unit = family
    assert text("tree", plan.id) == [
        f"{plan.id}  ready  planner  Plan",
        f"|- {build.id}  failed  builder  Build",
        f"`- {test.id}  blocked  general  Test  (waits for {build.id})",
        f"   `- {unit.id}  ready  general  Unit tests",
    ]
    found = answer("tree", plan.id)
    assert [one["id"] for one in found["tasks"]] == [one.id for one in family]
    assert found["tasks"][2]["prerequisites"][0]["task_id"] == build.id
    assert found["more"] is False


def test_lines_go_on_beside_the_parts_of_a_part_and_a_running_one_says_how_far_it_is():
    async def make(db: Database) -> list[Task]:
        root = await db.tasks.enqueue("root", agent_type="r")
        a = await db.tasks.enqueue("a", agent_type="a", parent=root)
        b = await db.tasks.enqueue("b", agent_type="b", parent=a)
        many = [await db.tasks.enqueue("m", agent_type="m") for _ in range(5)]
        c = await db.tasks.enqueue("c", agent_type="c", parent=root, depends_on=many)
        (claim,) = await db.tasks.claim("w1", agent_types=["b"])
        await db.tasks.heartbeat(claim, progress=0.25, message="reading")
        return [root, a, b, c, *many]

    root, a, b, c, *many = in_database(make)
    assert text("tree", root.id) == [
        f"{root.id}  ready  r  root",
        f"|- {a.id}  ready  a  a",
        f"|  `- {b.id}  running  b  b  (on w1, 25%, reading)",
        f"`- {c.id}  blocked  c  c  (waits for {', '.join(one.id for one in many[:3])} and 2 more)",
    ]


def test_a_tree_that_is_cut_says_how_to_see_more(family):
    result = abathur("tree", family[0].id, "--limit", "2")
    assert len(result.stdout.splitlines()) == 2
    assert "--limit 20" in result.stderr
    assert abathur("tree", family[0].id, "--limit", "0").exit_code == 1


def test_the_critical_path_is_a_table_with_its_total(family):
    _, build, test, _ = family
    result = abathur("critical-path", test.id)
    header, first, second, *rest = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert header == "ID STATUS AGENT TYPE ADDS TAKES KNOWN FROM SUMMARY"
    assert first == f"{build.id} failed builder 1.0 s 1.0 s nothing Build"
    assert second == f"{test.id} blocked general 1 min 30 s 1 min 30 s its estimate Test"
    assert rest == ["", "tasks 2", "at least 1 min 31 s"]
    assert f"abathur why {test.id}" in result.stderr
    found = answer("critical-path", test.id)
    assert [one["id"] for one in found["tasks"]] == [build.id, test.id]
    assert (found["seconds"], found["never"]) == (91, True)


def test_a_task_that_has_ended_has_no_critical_path(family):
    result = abathur("critical-path", family[1].id)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "It has ended" in result.stderr


# -- cancel and retry --------------------------------------------------------------------------------


def test_cancel_with_a_reason_is_in_the_trail_with_who_did_it(family):
    plan, *_ = family
    header, line = text("cancel", plan.id, "--reason", "not needed")
    assert header.split() == ["ID", "STATUS", "AGENT", "TYPE", "SUMMARY"]
    assert line.split() == [plan.id, "cancelled", "planner", "Plan"]
    (reason,) = answer("why", plan.id)["reasons"]
    assert reason["data"]["reason"] == "not needed"
    assert "@" in reason["data"]["by"]


def test_cancel_with_the_tree_cancels_all_parts_that_have_not_ended(family):
    abathur("cancel", family[0].id, "--tree")
    found = [task.status for task in in_database(lambda db: db.tasks.list())]
    assert found == ["cancelled", "failed", "cancelled", "cancelled"]


def test_of_several_each_is_answered_and_one_that_is_refused_makes_it_1(family):
    plan, build, test, unit = family
    result = abathur("cancel", plan.id, build.id, "nobody", unit.id)
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == [plan.id, unit.id]
    assert f"Task {build.id} is failed and cannot become cancelled." in result.stderr
    assert "There is no task with the id 'nobody'." in result.stderr
    retried, refused, unknown = answer("retry", build.id, test.id, "nobody", exit_code=1)
    assert (retried["given"], retried["task"]["status"]) == (build.id, "ready")
    assert (refused["given"], refused["error"]["type"]) == (test.id, "IllegalMoveError")
    assert unknown["error"]["remedy"].startswith("List the tasks")


def test_retry_lets_a_failed_task_run_again(family):
    _, build, *_ = family
    assert text("retry", build.id)[1].split() == [build.id, "ready", "builder", "Build"]
    assert answer("show", build.id)["task"]["attempt"] == 0


@pytest.mark.parametrize("command", ["cancel", "retry"])
def test_no_id_is_a_wrong_command_line(command):
    assert abathur(command).exit_code == 2


def test_an_empty_reason_is_refused(family):
    assert "reason is empty" in abathur("cancel", family[0].id, "--reason", " ").stderr


# -- stats -------------------------------------------------------------------------------------------


def test_stats_of_an_empty_database():
    result = abathur("stats")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No tasks, and no workers.\n")
    assert answer("stats")["counts"] == {}


def test_stats_show_tasks_by_agent_type_workers_and_what_ended(family):
    async def announce(db: Database) -> None:
        who = workers.Announcement(
            id="r", name="w1", agents={"builder": None, "tester": 1}, concurrency=4, host="host", pid=17
        )
        await db.run(workers.announce, who, True)

    in_database(announce)
    lines = text("stats")
    assert lines[0] == "Tasks"
    rows = [" ".join(line.split()) for line in lines]
    assert rows[1] == "AGENT TYPE BLOCKED READY FAILED WORKERS SLOTS NEXT READY FOR"
    assert rows[2] == "builder 0 0 1 1 4"
    assert rows[3].startswith("general 1 1 0 0 0 ")
    assert rows[5] == "tester 0 0 0 1 1"
    assert rows[6] == "(all) 1 2 1"
    assert rows[8] == "Workers"
    assert rows[10].startswith("w1 0 of 4 ")
    assert rows[10].endswith(" host 17 builder, tester")
    assert "0 completed, 1 failed" in next(line for line in lines if "last minute" in line)
    found = answer("stats")
    assert found["counts"] == {"blocked": 1, "failed": 1, "ready": 2}
    assert found["workers"][0]["agent_types"] == ["builder", "tester"]
    assert found["last_hour"] == {"completed": 0, "failed": 1, "seconds": 3600}


def test_stats_watch_answers_again_until_ctrl_c(here, heeds_ctrl_c):
    command = [sys.executable, "-W", "error", "-m", "abathur", "stats", "--watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert first["at"] < second["at"]
    assert (process.returncode, errors) == (130, "")


# -- on a terminal -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rich", [True, False])
def test_on_a_terminal_a_tree_has_box_characters_short_ids_and_coloured_statuses(family, rich):
    plan, build, *_ = family
    shown = on_terminal("tree", plan.id, rich=rich)
    first, second, third, fourth = shown.splitlines()
    assert first.startswith(plan.id[:13])
    assert plan.id not in shown
    assert "├─ " in second
    assert ("\x1b[31mfailed\x1b[0m" in second) is rich
    assert third.startswith("└─ ")
    assert f"(waits for {build.id[:13]}" in third
    assert fourth.startswith("   └─ ")


def test_on_a_narrow_terminal_a_deep_tree_is_cut_and_does_not_fail():
    async def make(db: Database) -> Task:
        tasks = [
            {"prompt": f"part {n}", "ref": f"{n}", **({"parent": f"{n - 1}"} if n else {})} for n in range(40)
        ]
        return (await db.tasks.enqueue_many(tasks))[0]

    root = in_database(make)
    lines = on_terminal("tree", root.id, rich=True, columns=40).splitlines()
    assert len(lines) == 40
    assert lines[-1].endswith("…")


def test_on_a_terminal_why_has_whole_ids_to_copy(family):
    _, build, test, _ = family
    shown = on_terminal("why", test.id, rich=True, columns=400)
    assert shown.startswith(f"\x1b[1mTask {test.id} is blocked.\x1b[0m\n- It waits for {build.id} ")
