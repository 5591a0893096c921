"""`abathur enqueue`, `abathur list` and `abathur show`."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from abathur import Database
from abathur.cli import main


def abathur(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=stdin)


def made(*arguments: str) -> dict[str, Any]:
    """Enqueue, and return the task."""
    result = abathur("enqueue", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refused(*arguments: str, stdin: str | None = None) -> dict[str, str]:
    """The error of a command that is refused, as JSON."""
    result = abathur(*arguments, "--json", stdin=stdin)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    return json.loads(result.stderr)["error"]


def wrong(*arguments: str) -> str:
    """What a wrong command line is answered with."""
    result = abathur(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    return result.stderr


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


# -- enqueue -----------------------------------------------------------------------------------


def test_enqueue_prints_the_id_and_nothing_else():
    result = abathur("enqueue", "Review the change")
    assert result.stderr == ""
    (task,) = json.loads(abathur("list", "--json").stdout)
    assert result.stdout == task["id"] + "\n"
    assert (task["prompt"], task["agent_type"], task["status"]) == ("Review the change", "general", "ready")


def test_every_option_reaches_the_task():
    first, parent = made("first"), made("parent")
    task = made(
        *("Publish", "--agent-type", "publisher", "--priority", "8", "--input", '{"n": [1, 2.5, null]}'),
        *("--depends-on", first["id"], "--key", "k1", "--run-at", "2090-01-31T09:30:00+02:00"),
        *("--max-attempts", "7", "--timeout", "90s", "--parent", parent["id"], "--project", "p1"),
        *("--summary", "A line", "--deadline", "2091-01-01T00:00:00Z", "--estimated-duration", "1h30m"),
        *("--session", "s1"),
    )
    assert task["agent_type"] == "publisher"
    assert task["priority"] == 8
    assert task["input"] == {"n": [1, 2.5, None]}
    assert (task["status"], task["unmet"]) == ("blocked", 1)
    assert datetime.fromisoformat(task["run_at"]) == datetime(2090, 1, 31, 7, 30, tzinfo=UTC)
    assert datetime.fromisoformat(task["deadline"]) == datetime(2091, 1, 1, tzinfo=UTC)
    assert (task["max_attempts"], task["timeout"]) == (7, 90)
    assert task["estimated_duration"] == 5400
    assert (task["parent"], task["project"], task["session"]) == (parent["id"], "p1", "s1")
    assert task["summary"] == "A line"
    assert "@" in task["created_by"]


def test_a_repeated_key_answers_with_the_existing_task():
    assert made("x", "--key", "k")["id"] == made("x", "--key", "k")["id"]
    assert refused("enqueue", "y", "--key", "k")["type"] == "IdempotencyConflictError"


@pytest.mark.parametrize(
    ("text", "seconds"), [("+10m", 600), ("+1h30m", 5400), ("+2d", 172_800), ("+1.5s", 1.5), ("+90s", 90)]
)
def test_a_time_from_now_on(text, seconds):
    before = datetime.now(UTC)
    run_at = datetime.fromisoformat(made("x", "--run-at", text)["run_at"])
    assert timedelta(seconds=seconds) <= run_at - before <= timedelta(seconds=seconds + 10)


@pytest.mark.parametrize("option", ["--run-at", "--deadline"])
@pytest.mark.parametrize(
    "text", ["tomorrow", "+", "+10", "+10x", "10m", "-5m", "+99999999999d", "0001-01-01T00:00:00+14:00", ""]
)
def test_a_time_that_is_none_is_refused(option, text):
    assert "is no time" in wrong("enqueue", "x", f"{option}={text}")


@pytest.mark.parametrize("text", ["2030-01-31T09:30:00", "2030-01-31"])
def test_a_time_without_a_zone_is_refused(text):
    assert "has no time zone" in wrong("enqueue", "x", "--run-at", text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("x", "--timeout", "soon"), "is no duration"),
        (("x", "--timeout", ""), "is no duration"),
        (("x", "--priority", "high"), "not a valid integer"),
        (("x", "--input", "{"), "is not JSON"),
        (("x", "--input", "plain words"), "is not JSON"),
        (("x", "--input", "[" * 100_000), "is not JSON"),
        (("x", "--input", "@no-such-file"), "cannot be read"),
        (("x", "--input", "@."), "cannot be read"),
        (("x", "--input", "@\0"), "cannot be read"),
        (("x", "--on-failure", "explode"), "'explode' is not one of"),
        ((), "Missing argument 'PROMPT'"),
        (("x", "y"), "unexpected extra argument"),
        (("x", "--nope"), "No such option"),
    ],
)
def test_what_cannot_be_read_is_a_wrong_command_line(arguments, said):
    assert said in wrong("enqueue", *arguments)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("",), "InvalidInputError"),
        (("x\0y",), "InvalidInputError"),
        (("x\udc80y",), "InvalidInputError"),
        (("x", "--priority", "11"), "InvalidInputError"),
        (("x", "--max-attempts", "0"), "InvalidInputError"),
        (("x", "--timeout", "0"), "InvalidInputError"),
        (("x", "--timeout", "nan"), "InvalidInputError"),
        (("x", "--timeout", "inf"), "InvalidInputError"),
        (("x", "--agent-type", " "), "InvalidInputError"),
        (("x", "--input", "NaN"), "InvalidPayloadError"),
        (("x", "--input", '"\\u0000"'), "InvalidPayloadError"),
        (("x", "--input", "[" * 70 + "]" * 70), "InvalidPayloadError"),
        (("x", "--depends-on", "zzz"), "UnknownTaskError"),
        (("x", "--depends-on", ""), "InvalidInputError"),
        (("x", "--parent", "zzz"), "UnknownTaskError"),
    ],
)
def test_what_the_library_refuses_is_reported_as_its_error(arguments, error):
    found = refused("enqueue", *arguments)
    assert found["type"] == error
    assert all(found[part] for part in ("message", "problem", "expected", "remedy"))
    assert json.loads(abathur("list", "--json").stdout) == []


def test_input_may_come_from_a_file_or_from_standard_input(here):
    (here / "input.json").write_text('{"from": "file", "ü": 1}', encoding="utf-8")
    assert made("x", "--input", "@input.json")["input"] == {"from": "file", "ü": 1}
    result = abathur("enqueue", "x", "--input", "@-", "--json", stdin='["stdin"]')
    assert json.loads(result.stdout)["input"] == ["stdin"]
    (here / "latin.json").write_bytes(b'"\xff"')
    assert "cannot be read" in wrong("enqueue", "x", "--input", "@latin.json")


def test_the_prompt_may_come_from_standard_input():
    result = abathur("enqueue", "-", "--json", stdin="from\nstdin ü")
    assert json.loads(result.stdout)["prompt"] == "from\nstdin ü"
    assert refused("enqueue", "-", stdin="")["type"] == "InvalidInputError"
    result = abathur("enqueue", "-", stdin=b"\xff\xfe")
    assert (result.exit_code, "not UTF-8" in result.stderr) == (2, True)


def test_a_prompt_may_begin_with_a_dash_after_two():
    result = abathur("enqueue", "--json", "--", "-v is broken")
    assert json.loads(result.stdout)["prompt"] == "-v is broken"


def test_a_failed_prerequisite_does_what_was_asked_for():
    first = made("first")
    second = made("second", "--depends-on", first["id"], "--on-failure", "cancel")
    in_database(lambda db: db.tasks.cancel(first["id"]))
    assert json.loads(abathur("show", second["id"], "--json").stdout)["task"]["status"] == "cancelled"


# -- ids ---------------------------------------------------------------------------------------


def test_an_id_may_be_shortened_wherever_one_is_expected():
    first = made("first")
    start = first["id"][:13]
    second = made("second", "--depends-on", start, "--parent", start)
    assert second["parent"] == first["id"]
    assert json.loads(abathur("show", start, "--json").stdout)["task"]["id"] == first["id"]
    assert json.loads(abathur("list", "--parent", start, "--json").stdout)[0]["id"] == second["id"]
    assert json.loads(abathur("list", "--after", start, "--json").stdout)[0]["id"] == second["id"]


def test_a_beginning_of_several_ids_is_refused_and_names_them():
    first, second = made("first"), made("second")
    found = refused("show", first["id"][:2])
    assert found["type"] == "InvalidInputError"
    assert first["id"] in found["problem"]
    assert second["id"] in found["problem"]


def test_a_whole_id_is_never_taken_for_the_beginning_of_another(here):
    def older(db: Database) -> Any:
        return db.tasks.enqueue_many([{"prompt": "a"}, {"prompt": "b"}])

    first, _ = in_database(older)
    with sqlite3.connect("abathur.db") as raw:
        raw.execute("UPDATE tasks SET id = 'task-1' WHERE id = ?", (first.id,))
        raw.execute("UPDATE tasks SET id = 'task-10' WHERE id <> 'task-1'")
    raw.close()
    assert json.loads(abathur("show", "task-1", "--json").stdout)["task"]["id"] == "task-1"
    assert json.loads(abathur("show", "task-10", "--json").stdout)["task"]["id"] == "task-10"
    assert refused("show", "task-")["type"] == "InvalidInputError"


@pytest.mark.parametrize("given", ["zzz", "%", "_", "'; DROP TABLE tasks; --", "\x1b[2J"])
def test_an_id_that_nobody_has_is_an_unknown_task(given):
    assert refused("show", given)["type"] == "UnknownTaskError"
    assert "\x1b" not in abathur("show", given).stderr


# -- list --------------------------------------------------------------------------------------


def test_list_shows_the_newest_first_to_people_and_the_oldest_first_as_json():
    for name in "abc":
        made(name)
    rows = abathur("list").stdout.splitlines()
    assert [row.split()[-1] for row in rows] == ["SUMMARY", "c", "b", "a"]
    assert [task["prompt"] for task in json.loads(abathur("list", "--json").stdout)] == ["a", "b", "c"]
    newest = json.loads(abathur("list", "--json", "--newest-first").stdout)
    assert [task["prompt"] for task in newest] == ["c", "b", "a"]
    rows = abathur("list", "--oldest-first").stdout.splitlines()
    assert [row.split()[-1] for row in rows[1:]] == ["a", "b", "c"]


def test_list_goes_page_by_page():
    for name in "abcde":
        made(name)
    seen, after = [], ()
    while page := json.loads(abathur("list", "--json", "--limit", "2", *after).stdout):
        seen += [task["prompt"] for task in page]
        after = ("--after", page[-1]["id"])
    assert seen == list("abcde")
    newest = json.loads(abathur("list", "--json", "--newest-first", "--limit", "2").stdout)
    older = json.loads(abathur("list", "--json", "--newest-first", "--after", newest[-1]["id"]).stdout)
    assert [task["prompt"] for task in older] == ["c", "b", "a"]


def test_list_filters():
    made("a", "--agent-type", "x", "--project", "p")
    made("b", "--run-at", "+1h")
    for options, expected in [
        (("--agent-type", "x"), ["a"]),
        (("--status", "scheduled"), ["b"]),
        (("--project", "p"), ["a"]),
        (("--project", "q"), []),
    ]:
        found = json.loads(abathur("list", "--json", *options).stdout)
        assert [task["prompt"] for task in found] == expected
    assert "is not one of" in wrong("list", "--status", "done")
    assert refused("list", "--limit", "0")["type"] == "InvalidInputError"


def test_an_empty_list_is_an_empty_answer():
    result = abathur("list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No tasks.\n")
    assert abathur("list", "--json").stdout == "[]\n"


def test_columns_stand_below_each_other_with_wide_characters_too():
    made("zuerst", "--agent-type", "日本語")
    made("last", "--agent-type", "reviewer")
    header, last, first = abathur("list").stdout.splitlines()
    place = header.index("TRIES")
    assert last[place:].startswith("0/3")
    assert first[place - 3 :].startswith("0/3")  # three characters of two columns each


# -- show --------------------------------------------------------------------------------------


def test_show_tells_everything_about_a_task():
    first = made("first")
    task = made("Do it\nin two lines", "--depends-on", first["id"], "--input", '{"path": "a.py"}')

    async def work(db: Database) -> None:
        (held,) = await db.tasks.claim("w1", limit=1)
        await db.tasks.complete(held, {"fine": True})
        (held,) = await db.tasks.claim("w2", limit=1)
        await db.tasks.heartbeat(held, progress=0.25, message="reading")
        try:
            raise KeyError("missing")  # noqa: TRY301
        except KeyError as error:
            await db.tasks.fail(held, error, retry_in=0)
        (held,) = await db.tasks.claim("w3", limit=1)

    in_database(work)
    text = abathur("show", task["id"]).stdout
    for part in (
        "Do it\n",
        "  in two lines",
        '"path": "a.py"',
        first["id"],
        "KeyError",
        "Traceback",
        "25%, reading",
        "w3",
    ):
        assert part in text
    found = json.loads(abathur("show", task["id"], "--json").stdout)
    assert found["task"]["status"] == "running"
    assert found["prerequisites"] == [
        {
            "task_id": first["id"],
            "status": "completed",
            "summary": "first",
            "on_failure": "block",
            "met": True,
        }
    ]
    assert [one["outcome"] for one in found["attempts"]] == ["failed"]
    assert found["progress"]["fraction"] == 0.25
    assert [one["action"] for one in found["audit"]] == [
        *("task.blocked", "task.ready", "task.running", "task.ready", "task.running"),
    ]
    text = abathur("show", first["id"]).stdout
    assert '"fine": true' in text
    assert "Prerequisites" not in text


EVIL = "\x1b[31mred\x07\x9b2J \u202egnp.exe\u2028 \r\t[bold]x[/bold] \x7f"


def test_stored_text_cannot_control_a_terminal():
    task = made(f"a {EVIL}\nb {EVIL}", "--agent-type", "x\x1b[0m", "--input", json.dumps({EVIL: EVIL}))

    async def work(db: Database) -> None:
        (held,) = await db.tasks.claim("w\x1b[1m", limit=1)
        await db.tasks.heartbeat(held, message=EVIL)
        await db.tasks.fail(held, EVIL)

    in_database(work)
    for command in (("list",), ("show", task["id"]), ("list", "--json"), ("show", task["id"], "--json")):
        result = abathur(*command)
        assert result.exit_code == 0
        for character in result.stdout.replace("\n", ""):
            assert character.isprintable(), (command, character)
        assert not set("\u202e\u2028\x7f\x9b") & set(result.stdout)
    assert "\\x1b[31mred" in abathur("list").stdout
    assert "[bold]x[/bold]" in abathur("show", task["id"]).stdout
    assert json.loads(abathur("show", task["id"], "--json").stdout)["task"]["input"] == {EVIL: EVIL}


def test_a_value_that_is_not_json_in_an_older_database_does_not_break_the_answer():
    task = made("x")
    with sqlite3.connect("abathur.db") as raw:
        raw.execute("UPDATE tasks SET result_data = '{\"a\": [NaN, Infinity, 1]}'")
    raw.close()
    found = json.loads(abathur("show", task["id"], "--json").stdout, parse_constant=pytest.fail)
    assert found["task"]["result"] == {"a": [None, None, 1]}
