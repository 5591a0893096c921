"""What happens outside of the tests themselves: collection, conftests, children, the end of the session."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib

import pytest

from tests.documents import ROOT
from tests.testing.project import PLUGIN, Project, make_database

OPENS = """
import sqlite3
try:
    sqlite3.connect("dev.db").execute("DELETE FROM users").connection.commit()
except Exception:
    pass
"""
HARMLESS = "\ndef test_nothing():\n    pass\n"


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project", tmp_path / "tmp")


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_module_that_opens_it_when_it_is_imported_fails_although_it_swallows_the_error(project, workers):
    project.add("test_it.py", OPENS + HARMLESS)
    run = project.pytest(*workers, plugins=("xdist",) if workers else ())
    assert run.code != 0
    assert "The import of this module reached for a database that is no test's" in run.text
    assert str(project.database) in run.text
    assert project.is_untouched()


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_with_a_conftest_that_opens_it_no_test_is_run(project, workers):
    project.add("conftest.py", OPENS)
    project.add("test_it.py", HARMLESS)
    run = project.pytest(*workers, plugins=("xdist",) if workers else ())
    assert run.code == pytest.ExitCode.USAGE_ERROR
    assert "A conftest or plugin reached for a database that is no test's" in run.text
    assert "test_nothing" not in run.outcomes
    assert project.is_untouched()


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_what_comes_after_the_last_test_fails_the_run(project, workers):
    project.add("conftest.py", "def pytest_sessionfinish():" + OPENS.replace("\n", "\n    "))
    project.add("test_it.py", HARMLESS)
    run = project.pytest(*workers, plugins=("xdist",) if workers else ())
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert run.outcomes == {"test_nothing": {"PASSED"}}
    assert "refused by the guard of abathur, outside of any test" in run.text
    assert project.is_untouched()


def test_recording_refuses_nothing_and_reports_everything(project):
    project.add("test_it.py", "def test_it():" + OPENS.replace("\n", "\n    "))
    run = project.pytest("--abathur-guard=record")
    assert (run.code, run.outcomes) == (0, {"test_it": {"PASSED"}})
    assert "abathur guard: record, 1 protected database" in run.text
    assert "would be refused" in run.text
    assert f"test_it.py::test_it: opening {project.database}" in run.text
    assert not project.is_untouched()


def test_without_the_guard_the_database_is_emptied(project):
    project.add("test_it.py", "def test_it():" + OPENS.replace("\n", "\n    "))
    run = project.pytest("--abathur-guard=off")
    assert (run.code, run.outcomes) == (0, {"test_it": {"PASSED"}})
    assert "abathur guard: off" in run.text
    assert not project.is_untouched(), "so these tests would see it if the guard did nothing"


def test_the_header_says_what_is_guarded(project):
    project.add("test_it.py", HARMLESS)
    make_database(project.root / "data" / "orders.sqlite3")
    make_database(project.root / "data" / "fixture.db", "test")
    assert "abathur guard: block, 2 protected databases" in project.pytest().text


def test_there_is_a_guard_also_where_the_temporary_directory_is_the_project(project):
    project.add("test_it.py", "def test_it():" + OPENS.replace("\n", "\n    "))
    opens = "sqlite3.connect(tmp_path / 'a.db').close()"
    project.add("test_own.py", f"import sqlite3\ndef test_own(tmp_path):\n    {opens}\n")
    run = project.pytest(TMPDIR=str(project.root))
    assert run.outcomes == {"test_it": {"ERROR", "PASSED"}, "test_own": {"PASSED"}}, run.text
    assert project.is_untouched()


def test_a_named_database_is_protected_also_in_a_temporary_directory(project):
    for name in ("named.db", "pattern-1.db", "free.db"):
        make_database(project.temporary / name)
    project.ini["abathur_protected_databases"] = f"\n  ../tmp/named.db\n  {project.temporary}/pattern-*"
    project.add(
        "test_it.py",
        "import sqlite3, pytest\nNAMES = ['named', 'pattern-1', 'pattern-new', 'free']\n"
        "@pytest.mark.parametrize('name', NAMES)\n"
        "def test_it(name):\n    sqlite3.connect(f'../tmp/{name}.db').close()\n",
    )
    run = project.pytest()
    assert "FAILED test_it.py::test_it[named]" in run.text
    assert "FAILED test_it.py::test_it[pattern-1]" in run.text
    assert "FAILED test_it.py::test_it[pattern-new]" in run.text
    assert "PASSED test_it.py::test_it[free]" in run.text


# -- what slips by ------------------------------------------------------------------------------

SLIPS = """
import os, subprocess, sys

def test_it():
    code = "import os; os.truncate(os.environ['TARGET'], 0)"
    subprocess.run([sys.executable, "-I", "-c", code], env={"TARGET": os.path.abspath("dev.db")}, check=True)
"""


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_change_that_slips_by_fails_the_run_and_names_the_file(project, workers):
    project.add("test_it.py", SLIPS)
    run = project.pytest(*workers, plugins=("xdist",) if workers else ())
    assert run.outcomes == {"test_it": {"PASSED"}}, "an isolated child process has no guard"
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert f"{project.database}: its contents have changed during the run" in run.text


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("1", 1)])
def test_where_another_program_has_it_open_it_is_a_warning_unless_in_ci(project, ci, code):
    project.add("test_it.py", SLIPS)
    holds = "import sqlite3, time; c = sqlite3.connect('dev.db'); c.execute('SELECT 1 FROM users');"
    with subprocess.Popen(
        [sys.executable, "-c", f"{holds} print(flush=True); time.sleep(60)"],
        cwd=project.root,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        run = project.pytest(CI=ci)
        other.kill()
    assert run.code == code, run.text
    if not ci:
        assert "its contents have changed during the run; perhaps by python" in run.text


@pytest.mark.parametrize("entry", ["dev.db", "./", "d*.db"])
def test_what_a_marker_allows_may_change(project, entry):
    project.add(
        "test_it.py",
        f"import sqlite3, pytest\n@pytest.mark.abathur_allow_database({entry!r}, reason='to see it')\n"
        "def test_it():" + OPENS.replace("\n", "\n    "),
    )
    run = project.pytest()
    assert run.code == 0, run.text
    assert "warnings of the guard" in run.text
    assert not project.is_untouched()


def test_nothing_is_left_behind(project):
    project.copy("refused")
    run = project.pytest("-k", "child or swallowed", LINK=os.devnull)
    assert run.code == 1
    assert not [path.name for path in project.temporary.iterdir() if path.name.startswith("abathur")]


# -- the guard itself ---------------------------------------------------------------------------


def test_pytest_finds_the_plugin_by_itself():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"abathur": PLUGIN}
    assert importlib.import_module(PLUGIN).pytest_load_initial_conftests


def test_where_the_guard_does_not_work_no_test_is_run(project):
    project.add("breaker.py", "import sys\nsys.addaudithook = lambda hook: None\n")
    project.add("test_it.py", HARMLESS)
    run = project.pytest("-p", "breaker", PYTHONPATH=str(project.root))
    assert run.code == pytest.ExitCode.USAGE_ERROR
    assert "does not work here" in run.text
    assert not run.outcomes


def test_a_session_whose_guard_does_not_work_gives_the_outer_one_back(project):
    project.add(
        "test_it.py",
        """
import pytest
from abathur.testing import plugin
from abathur.testing.guard import installed
pytest_plugins = ["pytester"]

def test_inner(pytester, monkeypatch):
    def fails(*_):
        raise pytest.UsageError("it does not work")
    monkeypatch.setattr(plugin, "check_canary", fails)
    outer = installed()
    ended = pytester.runpytest_inprocess("-p", "abathur.testing.plugin")
    assert ended.ret == pytest.ExitCode.USAGE_ERROR
    assert installed() is outer is not None
""",
    )
    run = project.pytest()
    assert run.code == 0, run.text


def test_a_child_still_has_the_sitecustomize_of_its_own(project):
    project.add("site/sitecustomize.py", "import sys\nsys.own = 'found'\n")
    project.add(
        "test_it.py",
        "import subprocess, sys\ndef test_it():\n"
        "    code = 'import sys; print(sys.own, \"abathur_guard\" in sys.modules, len(sys.path))'\n"
        "    said = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)\n"
        "    assert said.stdout.split()[:2] == ['found', 'True'], said.stderr\n",
    )
    run = project.pytest(PYTHONPATH=str(project.root / "site"))
    assert run.code == 0, run.text


def test_a_session_inside_of_a_session_has_its_own_guard_and_gives_the_other_one_back(project):
    project.add(
        "test_it.py",
        """
import sqlite3
import pytest
pytest_plugins = ["pytester"]

def test_inner(pytester):
    pytester.makepyfile("def test_inside():\\n    import sqlite3; sqlite3.connect('inner.db')")
    plugin = ("-p", "abathur.testing.plugin")
    pytester.runpytest_inprocess(*plugin).assert_outcomes(failed=1)
    pytester.runpytest_inprocess("--abathur-guard=off", *plugin).assert_outcomes(passed=1)

def test_outer():
    sqlite3.connect("dev.db")
""",
    )
    run = project.pytest()
    assert run.outcomes == {
        "test_inside": {"FAILED"}, "test_inner": {"PASSED"}, "test_outer": {"FAILED"},
    }, run.text  # fmt: skip
    assert project.is_untouched()
