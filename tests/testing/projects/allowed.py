"""What tests do with databases and files all day long. None of it may be refused.

It is copied into a project of its own, as `test_allowed.py`, beside `dev.db`.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DEV = HERE / "dev.db"


def use(name, **options):
    with contextlib.closing(sqlite3.connect(name, **options)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.commit()


def test_below_tmp_path(tmp_path):
    for _ in range(2):
        use(tmp_path / "a.db")
    os.remove(tmp_path / "a.db")


@pytest.mark.parametrize("name", [":memory:", "", "file::memory:?cache=shared", "file:a?mode=memory"])
def test_memory(name):
    use(name, uri=name.startswith("file:"))


def test_below_the_temporary_directory():
    with tempfile.TemporaryDirectory() as place:
        use(Path(place) / "a.db")
    with tempfile.NamedTemporaryFile() as file:
        use(file.name)


def test_stamped_test():
    for _ in range(2):
        use(HERE / "stamped.db")


def test_a_connection_keeps_its_locks_while_others_open_the_file():
    code = "import sqlite3; sqlite3.connect('stamped.db', timeout=0).execute('BEGIN IMMEDIATE')"
    path = HERE / "stamped.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        sqlite3.connect(path).close()
        sqlite3.connect("stamped.db").close()
        sqlite3.connect(f"file:{path}?mode=ro", uri=True).close()
        with pytest.raises(OSError, match="stamped"):
            os.rmdir(path)
        child = subprocess.run([sys.executable, "-c", code], cwd=HERE, check=False, capture_output=True)
        assert b"database is locked" in child.stderr


def test_stamped_test_and_open_as_a_file_too():
    with (HERE / "stamped.db").open("rb"):
        use(f"{HERE}/./stamped.db")


def test_allowed_by_the_ini_option():
    use(HERE / "allowed" / "new.db")
    use(HERE / "pattern-7.db")


def test_attach_and_vacuum(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute(f"ATTACH '{tmp_path}/b.db' AS b")
        connection.execute("ATTACH ':memory:' AS m")
        connection.execute("VACUUM INTO ?", (str(tmp_path / "c.db"),))
        connection.execute("VACUUM")


def test_an_authorizer_of_its_own_is_asked():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.set_authorizer(lambda action, *_: 1 if action == sqlite3.SQLITE_CREATE_TABLE else 0)
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            connection.execute("CREATE TABLE t (x)")


def test_a_copy_of_the_development_database(tmp_path):
    shutil.copy(DEV, tmp_path / "copy.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert connection.execute("DELETE FROM dancers").rowcount == 40
    assert DEV.read_bytes()


def test_hard_links_among_temporary_files(tmp_path):
    use(tmp_path / "a.db")
    os.link(tmp_path / "a.db", tmp_path / "b.db")
    use(tmp_path / "b.db")


@pytest.mark.parametrize("name", [".coverage", ".coverage.host.123.abc", ".testmondata"])
def test_what_tools_know_about_the_tests(name):
    use(HERE / name)
    subprocess.run(["true", HERE / name], check=True)
    (HERE / name).unlink()


def test_other_files():
    (HERE / "log.txt").write_text("a" * 1000)
    (HERE / "log.txt").write_text("b" * 1000)
    (HERE / "log.txt").rename(HERE / "log.old")
    (HERE / "log.old").unlink()


def test_programs(tmp_path):
    subprocess.run([sys.executable, "-c", "import sqlite3; sqlite3.connect(':memory:')"], check=True)
    code = "import sys, sqlite3; sqlite3.connect(sys.argv[1]).execute('CREATE TABLE t (x)')"
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.db"], check=True)
    subprocess.run([sys.executable, "-c", "pass"], check=True, env={})
    subprocess.run(["ls", HERE], check=True, stdout=subprocess.DEVNULL)


def test_the_connection_class_is_what_it_seems():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        assert type(connection) is sqlite3.Connection
        assert isinstance(connection, sqlite3.dbapi2.Connection)
        assert repr(sqlite3.Connection) == "<class 'sqlite3.Connection'>"


@pytest.mark.abathur_allow_database("dev.db", reason="it only counts")
def test_marked():
    with contextlib.closing(sqlite3.connect(DEV)) as connection:
        assert connection.execute("SELECT count(*) FROM dancers").fetchone() == (40,)
    subprocess.run([sys.executable, "-c", f"import sqlite3; sqlite3.connect({str(DEV)!r})"], check=True)


def test_a_refusal_that_is_expected_can_be_taken(abathur_refusals):
    with pytest.raises(Exception, match=r"dev\.db"):
        sqlite3.connect(DEV)
    (refusal,) = abathur_refusals.take()
    assert refusal.name == str(DEV)
