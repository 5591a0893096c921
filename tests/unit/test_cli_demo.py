"""The parts of `abathur demo`: what it finds, what it reads in files, what it writes, what it deletes."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from abathur import Database
from abathur.cli import main
from abathur.cli.demo import agents, screen, words
from abathur.cli.demo.analyse import analyse
from abathur.cli.demo.crew import Crew, DemoError
from abathur.cli.demo.figures import Figures, Held, Killed
from abathur.cli.demo.place import MARKER, prepared
from abathur.cli.demo.report import MOST, add_up, render
from abathur.cli.demo.sources import LARGEST, sources
from abathur.errors import InvalidInputError


def abathur(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def write(path: Path, text: str | bytes = "x\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- sources -----------------------------------------------------------------------------------


def test_sources_are_found_from_near_to_deep_and_nothing_else(here):
    wanted = ["Makefile", "a.py", "b.rs", ".ci/run.sh", "deep/c.go", "deep/er/d.sql"]
    others = [
        *(".git/hooks/x.py", ".venv/a.py", "env/a.py", "node_modules/m/i.js", "p/__pycache__/a.py"),
        *("data.bin", "picture.png", "notes.txt", "out/a.py", ".hidden.d/a.py"),
    ]
    for name in (*wanted, *others):
        write(here / name)
    write(here / "env/pyvenv.cfg")
    write(here / "binary.py", b"a\0b")
    write(here / "large.py", b"#" * (LARGEST + 1))
    (here / "link.py").symlink_to("a.py")
    (here / "loop").symlink_to(here)
    os.mkfifo(here / "pipe.py")
    assert [path.as_posix() for path in sources(here, skip=here / "out")] == wanted


def test_a_directory_that_cannot_be_read_is_left_out(here, monkeypatch):
    write(here / "a.py")
    write(here / "locked/b.py")
    real = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert list(sources(here)) == [Path("a.py")]


# -- analyse -----------------------------------------------------------------------------------

PYTHON = '''"""A module."""
# TODO: more, FIXME
import os.path, sys
from . import near
from ..far import x

class Documented:
    """Yes."""

    async def method(self):
        def inner():
            return 1

        return inner

    def _private(self): ...


def short(): return 1
'''


def test_python_is_read_by_its_syntax_tree(here):
    write(here / "a.py", PYTHON)
    found = analyse(here, Path("a.py"))
    assert (found["language"], found["lines"], found["comment"], found["todo"]) == ("Python", 19, 1, 2)
    assert found["code"] + found["comment"] + found["blank"] == found["lines"]
    assert found["bytes"] == len(PYTHON.encode())
    python = found["python"]
    assert (python["functions"], python["classes"]) == (4, 1)
    assert python["longest"][0] == {"name": "Documented.method", "line": 10, "lines": 5}
    assert {one["name"] for one in python["longest"]} >= {"Documented.method.inner", "short"}
    assert python["imports"] == [".", "..far", "os.path", "sys"]
    assert (python["documented"], python["documentable"]) == (2, 5)


@pytest.mark.parametrize("text", ["def f(:\n", "\0", "x = " + "(" * 5_000, b"\xff\xfe", "'\\q'", ""])
def test_python_that_cannot_be_parsed_is_no_error(here, text):
    write(here / "a.py", text)
    found = analyse(here, Path("a.py"))
    assert json.dumps(found)
    assert ("error" in found["python"]) is (text in ("def f(:\n", "x = " + "(" * 5_000, b"\xff\xfe"))


@pytest.mark.parametrize(
    ("name", "text", "comments"),
    [
        ("a.rs", "// one\n/* two\nthree */\ncode(); // no\n\n", 3),
        ("a.sql", "-- one\nSELECT 1 -- no\n/* two */\n", 2),
        ("a.html", "<!-- one\ntwo\n-->\n<p>\n", 3),
        ("Makefile", "# one\nall:\n", 1),
        ("a.css", "/* one */ a {}\n", 1),
    ],
)
def test_comments_of_other_languages_are_counted(here, name, text, comments):
    write(here / name, text)
    assert analyse(here, Path(name))["comment"] == comments


# -- report ------------------------------------------------------------------------------------


def test_the_report_has_every_section_and_escapes_what_it_quotes(here):
    write(here / "a|b<i>.py", PYTHON)
    write(here / "broken.py", "def f(:\n")
    write(here / "c.sql", "SELECT 1\n")
    merged = add_up([analyse(here, path) for path in sources(here)], ["gone.py"])
    assert merged == json.loads(json.dumps(merged, sort_keys=True))
    text = render(merged, str(here))
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings[1:] == [
        "## Languages",
        "## Python",
        "## Biggest files",
        "## Longest functions",
        "## Most imported modules",
        "## TODO hot spots",
        "## Python files that cannot be parsed",
        "## Files that could not be read",
    ]
    assert "a\\|b&lt;i>.py" in text
    assert "| Python | 2 | 20 |" in text
    assert text.index("| Python |") < text.index("| SQL |")


def test_the_report_of_nothing_is_a_report():
    assert "0 source files" in render(add_up([], []), "/")


def test_the_merged_result_stays_small_however_many_files_there_are(here):
    write(here / "a.py", PYTHON)
    one = analyse(here, Path("a.py"))
    merged = add_up([{**one, "path": f"{n}.py"} for n in range(2_000)], [str(n) for n in range(2_000)])
    assert (merged["files"], len(merged["biggest"]), len(merged["failed"])) == (2_000, MOST, MOST)
    assert len(json.dumps(merged)) < 20_000


# -- the output directory ----------------------------------------------------------------------


def test_only_what_a_demo_has_made_is_deleted(here):
    out = here / "out"
    with prepared(out):
        pass
    for name in ("demo.db", "demo.db-wal", "demo-worker-1.log", "report.md", "mine.txt", "demo.py"):
        write(out / name)
    with prepared(out):
        left = {path.name for path in out.iterdir()}
    assert left == {MARKER, ".gitignore", "mine.txt", "demo.py"}


def test_a_directory_with_other_files_is_refused_and_left_alone(here):
    write(here / "out/report.md", "precious")
    result = abathur("demo", "--output", "out", "--json")
    assert result.exit_code == 1
    assert "holds files that no demo has left" in json.loads(result.stderr)["error"]["problem"]
    assert [path.name for path in (here / "out").iterdir()] == ["report.md"]


def test_two_demos_do_not_run_in_one_directory(here):
    with prepared(here / "out"), pytest.raises(InvalidInputError, match="Another demo is running"):
        prepared(here / "out").__enter__()


def test_workers_that_outlive_their_demo_keep_its_directory(here):
    with prepared(here / "out") as lock:
        inherited = os.dup(lock)
    try:
        with pytest.raises(InvalidInputError, match="Another demo"):
            prepared(here / "out").__enter__()
    finally:
        fcntl.flock(inherited, fcntl.LOCK_UN)
        os.close(inherited)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--output", "no/where"), 1, "cannot be used: No such file or directory"),
        (("--output", "file"), 2, "is a file"),
        (("nowhere",), 2, "does not exist"),
        (("file",), 2, "is a file"),
        (("--workers", "1"), 2, "not in the range"),
        (("--pace", "-1"), 2, "not in the range"),
        (("--files", "0"), 2, "not in the range"),
    ],
)
def test_what_the_demo_cannot_do_is_refused(here, arguments, code, said):
    write(here / "file")
    result = abathur("demo", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


def test_a_database_is_not_for_the_demo():
    result = abathur("--database", "mine.db", "demo")
    assert (result.exit_code, "--output" in result.stderr) == (1, True)


# -- agents ------------------------------------------------------------------------------------


async def submitted(db: Database, root: Path) -> None:
    about = {"directory": str(root), "output": str(root / "out"), "pace": 0, "files": 100, "slots": 8}
    await db.tasks.enqueue("Find", agent_type=agents.SCAN, input=about, key="scan")


async def statuses(db: Database) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for task in await db.tasks.list(limit=1_000):
        found.setdefault(task.agent_type, []).append(task.status)
    return found


def test_a_scan_whose_worker_dies_after_it_made_the_tasks_leaves_each_of_them_once(here):
    for name in "abc":
        write(here / "tree" / f"{name}.py")
    (here / "tree" / "out").mkdir()

    async def scenario() -> None:
        async with Database("tree/out/demo.db") as db:
            await submitted(db, here / "tree")
            (held,) = await db.tasks.claim("first", agent_types=[agents.SCAN], lease=0.05)
            await agents.scan(agents.Context(db, held, NoKeeper()))
            await asyncio.sleep(0.06)  # and nobody renews its lease, or hears that it was done
            await agents.runner(db, "second").run(until_idle=True)
            found = await statuses(db)
            assert {name: len(all_of) for name, all_of in found.items()} == {
                agents.SCAN: 1,
                agents.ANALYSE: 3,
                agents.MERGE: 1,
                agents.REPORT: 1,
                agents.COUNT: 1,
            }
            assert {status for all_of in found.values() for status in all_of} == {"completed"}

    asyncio.run(scenario())


class NoKeeper:
    """Stands for what keeps a lease, where nobody does."""

    why = None

    def renewed(self) -> None:
        pass


def test_a_file_that_is_gone_fails_its_own_task_and_is_named_in_the_report(here):
    write(here / "tree" / "stays.py")
    gone = write(here / "tree" / "gone.py")
    (here / "tree" / "out").mkdir()

    async def scenario() -> None:
        async with Database("tree/out/demo.db") as db:
            await submitted(db, here / "tree")
            (held,) = await db.tasks.claim("first", agent_types=[agents.SCAN])
            await agents.scan(agents.Context(db, held, NoKeeper()))
            await db.tasks.complete(held)
            gone.unlink()
            await agents.runner(db, "second").run(until_idle=True)
            found = await statuses(db)
            assert sorted(found[agents.ANALYSE]) == ["completed", "failed"]
            assert found[agents.REPORT] == ["completed"]

    asyncio.run(scenario())
    assert "| gone.py |" in (here / "tree" / "out" / "report.md").read_text()


# -- the crew and the screen -------------------------------------------------------------------


def test_a_worker_that_ends_by_itself_is_an_error_with_its_last_words(here):
    crew = Crew(here / "no" / "where.db", here, os.open(os.devnull, os.O_RDONLY))
    name = crew.start()
    deadline = time.monotonic() + 20
    try:
        with pytest.raises(DemoError, match="does not exist") as caught:
            while time.monotonic() < deadline:
                crew.check()
                time.sleep(0.05)
    finally:
        crew.stop()
        os.close(crew._lock)
    assert str(crew.log(name)) in caught.value.remedy
    assert crew.pids() == {}


def moment(db_task: Any) -> screen.Moment:
    return screen.Moment(3, 10, [db_task], {"demo-worker-2": 4711}, 1.5)


@pytest.fixture
def running() -> Any:
    async def make() -> Any:
        async with Database("a.db") as db:
            await db.tasks.enqueue("Analyse \x1b[2J[red]a.py[/red]")
            (held,) = await db.tasks.claim("demo-worker-1")
            return held.task

    return asyncio.run(make())


def test_the_live_view_shows_who_does_what_and_who_was_killed(running):
    from rich.console import Console
    from rich.live import Live

    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100, color_system=None)
    with Live(console=console, auto_refresh=False) as live:
        view = screen.Live(live)
        view.update(moment(running))
        view.say("kill -9 1: \x1b[2J [red]x[/red]")
    text = shown.getvalue()
    for part in ("3/10 tasks", "1.5 s", "demo-worker-1", "killed", "demo-worker-2", "pid 4711"):
        assert part in text
    assert "Analyse \\x1b[2J[red]a.py[/red]" in text
    assert "kill -9 1: \\x1b[2J [red]x[/red]" in text
    assert "\x1b[2J" not in text


def test_without_a_terminal_there_is_a_line_now_and_then(running, capsys):
    with screen.screen(quiet=False) as view:
        view.update(moment(running))
        view.update(moment(running))
        view.say("Something.")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "  1.5 s     3 of 10 tasks done, 1 running on 1 workers\nSomething.\n")


def test_a_program_gets_no_progress(running, capsys):
    with screen.screen(quiet=True) as view:
        view.update(moment(running))
        view.say("Something.")
    assert capsys.readouterr() == ("", "")


def figures(**changed: Any) -> Figures:
    held = (Held(task="t", fence=1, summary="Analyse a.py"),)
    known: dict[str, Any] = {
        "tasks": 4, "by_type": {"demo.scan": 1, "demo.analyse": 3}, "by_status": {"completed": 4},
        "attempts": 5, "workers": 2, "killed": (Killed(worker="demo-worker-1", pid=1, held=held),),
        "killed_in": 1, "rescued": 1, "rescued_after": 3.1, "lost": 0, "failed": 0, "twice": 0,
        "refused": 0, "audit_ok": True, "audit_rows": 9, "audit_problem": None, "seconds": 1.0,
        "database": Path("out/demo.db").absolute(), "report": Path("out/report.md").absolute(),
        "words": None,
    }  # fmt: skip
    return Figures(**{**known, **changed})


@pytest.mark.parametrize(
    ("changed", "row"),
    [
        ({"lost": 2}, "lost 2 tasks"),
        ({"twice": 1}, "completed twice 1 tasks"),
        ({"audit_ok": False, "audit_problem": "Row 3 was altered."}, "audit trail BROKEN 9 rows: Row 3"),
        ({"report": None}, "Report: none"),
    ],
)
def test_bad_news_is_told_and_is_not_good(changed, row, capsys):
    bad = figures(**changed)
    words.tell(bad)
    assert row in " ".join(capsys.readouterr().out.split())
    assert (figures().good, bad.good, bad.to_json()["good"]) == (True, False, False)


def test_other_news_is_told(capsys):
    words.tell(figures(killed=(), killed_in=0, rescued_after=None, failed=1, refused=2))
    told = " ".join(capsys.readouterr().out.split())
    for part in ("killed 0 everything was done too soon", "failed 1", "late results 2 refused"):
        assert part in told
    assert "Database: out/demo.db" in told


def test_the_figures_are_told_on_a_terminal_too(monkeypatch, capsys):
    monkeypatch.setattr(words, "has_rich", lambda: True)
    words.tell(figures())
    assert "completed twice" in capsys.readouterr().out


def test_a_broken_promise_is_the_exit_code(monkeypatch):
    from abathur.cli.demo import show

    monkeypatch.setattr(show, "show", lambda plan, quiet: figures(lost=1))
    result = abathur("demo", "--json")
    assert (result.exit_code, json.loads(result.stdout)["good"]) == (1, False)
    monkeypatch.setattr(show, "show", lambda plan, quiet: figures())
    assert abathur("demo").exit_code == 0
