"""The parts of the guard by themselves: what is meant by a name, a command line, a URL, an environment."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abathur.schema.stamp import APPLICATION_IDS
from abathur.testing.fingerprints import Fingerprints
from abathur.testing.guard import VARIABLE, Refusal, Settings, judge, places, programs, servers
from abathur.testing.guard.refusals import Refusals
from tests.testing.project import make_database

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)


@given(st.lists(TEXT, max_size=3), TEXT)
def test_settings_survive_the_environment(values, root):
    settings = Settings(root=root, allowed=tuple(values), mode="record", owner="7")
    found = Settings.from_text(settings.to_text())
    assert vars(found) == vars(settings)


@given(st.lists(TEXT, min_size=6, max_size=6))
def test_a_refusal_survives_the_report(parts):
    line = Refusal(*parts).to_line()
    assert line.count("\n") == 1
    assert vars(Refusal.from_line(line)) == vars(Refusal(*parts))


def test_the_numbers_of_the_stamps_are_those_of_the_library():
    assert {name: number for number, name in judge.ENVIRONMENTS.items()} == APPLICATION_IDS


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.db", "a.db"),
        (":memory:", None),
        ("", None),
        ("file:a.db", "a.db"),
        ("file:/a/b.db?mode=ro", "/a/b.db"),
        ("file:///a/b.db#x", "/a/b.db"),
        ("file://localhost/a/b.db", "/a/b.db"),
        ("file:a%20b%2edb", "a b.db"),
        ("file:a%2", "a%2"),
        ("file:a%00b", "a"),
        ("file::memory:?cache=shared", None),
        ("file:a?mode=memory&cache=shared", None),
        ("file:a?cache=shared&mode=%6demory", None),
        ("file:/a?vfs=memdb", None),
        ("file:a?mode=memory&mode=rwc", "a"),
        ("file:a?mode=rwc&mode=memory", None),
        ("file:a?vfs=memdb&vfs=unix", "a"),
        ("file:a?mode%3dmemory", "a"),
        ("file:", None),
    ],
)
def test_a_name_means_the_file_that_sqlite_opens(name, file, tmp_path, monkeypatch):
    assert places.file_of(name) == file
    if file is not None and not file.startswith("/") and "%00" not in name:  # as SQLite sees it
        monkeypatch.chdir(tmp_path)
        sqlite3.connect(name, uri=True).execute("CREATE TABLE t (x)").connection.close()
        assert [path.name for path in tmp_path.iterdir()] == [file]


def test_a_look_at_a_header_takes_no_lock_from_who_opens_the_database_meanwhile(tmp_path, monkeypatch):
    path = tmp_path / "a.db"
    make_database(path)
    read, opened = os.read, []

    def opened_meanwhile(descriptor, size):
        opened.append(sqlite3.connect(path, isolation_level=None))
        opened[0].execute("BEGIN IMMEDIATE")
        return read(descriptor, size)

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", opened_meanwhile)
        assert places.first_bytes(str(path), path.stat(), may_be_open=False).startswith(places.MAGIC)
    with closing(opened[0]):
        code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
        child = subprocess.run([sys.executable, "-c", code, path], check=False, capture_output=True)
        assert b"database is locked" in child.stderr
    (left,) = places._descriptors_of(path.stat())  # open on purpose
    os.close(left)


@pytest.mark.parametrize(
    "arguments",
    [
        ["cp", "a.db", "b"],
        ("cp", b"a.db"),
        [Path("a.db")],
        "cat a.db",
        ["sh", "-c", "cat < 'a.db' | wc"],
        ["sh", "-c", "echo `cat a.db`;true"],
        ["x", "--database=a.db"],
        ["x", "--url", "sqlite:///a.db"],
        ["x", "sqlite+aiosqlite:///a.db?timeout=1"],
        ["x", "file:a%2edb?mode=ro"],
        ["python", "-c", 'import sqlite3; sqlite3.connect("a.db")'],
    ],
)
def test_a_command_line_names_a_file(arguments):
    assert "a.db" in set(programs.words(arguments))


def test_a_long_command_line_is_not_searched_for_ever():
    assert len(list(programs.words(["x " * 10**6, *"y" * 10**4]))) <= programs.MOST_WORDS


def test_an_environment_gets_the_guard_and_keeps_the_rest(monkeypatch):
    given = {"A": "1", "PYTHONPATH": f"{os.pathsep}/b"}
    found = programs.completed(given, "settings")
    assert found == {"A": "1", VARIABLE: "settings", "PYTHONPATH": f"{programs.CHILD}{os.pathsep}/b"}
    assert given == {"A": "1", "PYTHONPATH": f"{os.pathsep}/b"}
    assert programs.completed(found, "settings") is None
    assert programs.completed({b"A": b"1"}, "s")["A"] == "1"
    assert programs.completed({"A": 1}, "s") is None, "what is no environment is for Popen to refuse"


@pytest.mark.parametrize(
    ("entry", "host", "port", "database", "named"),
    [
        ("postgresql://localhost/app", "127.0.0.1", "5432", "app", True),
        ("postgresql://localhost/app", "localhost", "5433", "app", False),
        ("postgresql://localhost:*/app_*", "::1", "40123", "app_test", True),
        ("postgresql://localhost/app", "localhost", "5432", "app_test", False),
        ("postgresql://me:secret@db.example.org/app", "db.example.org", "5432", "app", True),
        ("postgresql://db.example.org", "db.example.org", "5432", "anything", True),
        ("postgresql://a,b:5433/app", "b", "5433", "app", True),
        ("postgresql://[2001:db8::1]:5433/app", "2001:db8::1", "5433", "app", True),
        ("postgresql:///app", "/var/run/postgresql", "5432", "app", True),
        ("postgresql:///app?host=%2Frun%2Fpg", "/run/pg", "5432", "app", True),
        ("postgresql:///app?host=/run/pg", "/run/other", "5432", "app", False),
        ("postgresql:///app", "db.example.org", "5432", "app", False),
    ],
)
def test_an_entry_names_a_database_of_a_server(entry, host, port, database, named):
    found = servers.Servers(judge.Judge(Settings(root="/nowhere")), [entry], [])
    assert found.opening([(host, port)], database) == (None, not named)


@pytest.mark.parametrize(
    ("conninfo", "options", "hosts"),
    [
        ("host=localhost hostaddr=192.0.2.1", {}, [("192.0.2.1", "5432")]),
        ("host=localhost", {"hostaddr": "192.0.2.1"}, [("192.0.2.1", "5432")]),
        (
            "host=a,b hostaddr=192.0.2.1,192.0.2.2 port=5433",
            {},
            [("192.0.2.1", "5433"), ("192.0.2.2", "5433")],
        ),
        ("host=localhost", {}, [("localhost", "5432")]),
        ("service=mine", {"hostaddr": "192.0.2.1"}, [("192.0.2.1", "5432")]),
        ("service=mine", {"host": "localhost"}, [("service", "mine")]),
    ],
)
def test_an_address_says_where_a_connection_goes_and_not_the_host(monkeypatch, conninfo, options, hosts):
    for name in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    assert servers._wanted(conninfo, options)[0] == hosts


def test_a_report_of_children_is_read_once_and_in_whole_lines(tmp_path):
    refusals = Refusals(str(tmp_path / "report"), owner=str(os.getpid()))
    child = Refusals(str(tmp_path / "report"), owner="1")
    assert refusals.take() == []
    child.add(Refusal("opening", "a\tb\n", "", "why", "", ""))
    with (tmp_path / "report").open("a") as report:
        report.write("half a li")
    assert [one.name for one in refusals.take()] == ["a\tb\n"]
    assert refusals.take() == []
    refusals.remove_report()
    assert not list(tmp_path.iterdir())


def test_a_fingerprint_sees_a_change_in_the_log_and_a_new_name_but_no_touch(tmp_path):
    path = tmp_path / "a.db"
    other = tmp_path / "b.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (x)")
        other.write_bytes(b"x" * 1000)
        found = Fingerprints([str(path), str(other)])
        os.utime(other)
        assert found.changes() == []
        connection.execute("INSERT INTO t VALUES (1)")
        connection.commit()
        other.rename(tmp_path / "c.db")
        changes = {change.path: change.what for change in found.changes()}
    assert changes == {str(path): "its contents have changed", str(other): "it is gone"}
