"""Ways to reach a development database. Each of these tests has to fail, and the file to stay as it is.

It is copied into a project of its own, as `test_refused.py`, beside `dev.db`; `LINK` names a hard link to
that, which lies in a temporary directory and was there before the tests.
"""

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import quote

import aiosqlite
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

HERE = Path(__file__).parent
DEV = HERE / "dev.db"
LINK = os.environ["LINK"]


def empty(name, **options):
    with contextlib.closing(sqlite3.connect(name, **options)) as connection:
        connection.execute("DELETE FROM users")
        connection.commit()


# -- by whatever name


def test_str():
    empty(str(DEV))


def test_bytes():
    empty(os.fsencode(DEV))


def test_path():
    empty(DEV)


def test_relative():
    empty("dev.db")


def test_relative_by_a_detour(tmp_path):
    empty(f"{os.path.relpath(tmp_path)}/{os.path.relpath(DEV, tmp_path)}")


def test_uri():
    empty(f"file:{DEV}", uri=True)


def test_uri_with_authority():
    empty(f"file://localhost{DEV}?mode=rw", uri=True)


def test_uri_read_only():
    empty(f"file:{DEV}?mode=ro&immutable=1", uri=True)


def test_uri_percent_encoded():
    empty("file:" + "".join(f"%{byte:02x}" for byte in os.fsencode(DEV)), uri=True)


def test_symbolic_link(tmp_path):
    (tmp_path / "a.db").symlink_to(DEV)
    empty(tmp_path / "a.db")


def test_symbolic_link_to_the_directory(tmp_path):
    (tmp_path / "a").symlink_to(HERE)
    empty(tmp_path / "a" / "dev.db")


def test_symbolic_link_to_a_file_that_is_not_there(tmp_path):
    (tmp_path / "a.db").symlink_to(HERE / "new.db")
    sqlite3.connect(tmp_path / "a.db").close()


def test_hard_link(tmp_path):
    os.link(DEV, tmp_path / "a.db")
    empty(tmp_path / "a.db")


def test_hard_link_that_was_there_before():
    empty(LINK)


def test_proc_cwd():
    empty("/proc/self/cwd/dev.db")


def test_proc_root():
    empty(f"/proc/self/root{DEV}")


def test_proc_descriptor():
    with DEV.open("rb") as file:
        empty(f"/proc/self/fd/{file.fileno()}")


def test_dev_descriptor():
    with DEV.open("rb") as file:
        empty(f"/dev/fd/{file.fileno()}")


def test_after_chdir(monkeypatch):
    monkeypatch.chdir(HERE.parent)
    empty(f"{HERE.name}/dev.db")


def test_new_file_outside():
    sqlite3.connect(HERE / "new.db").close()


def test_database_stamped_production_although_it_is_allowed():
    sqlite3.connect(HERE / "allowed" / "production.db").close()


def test_database_stamped_development():
    sqlite3.connect(HERE / "development.db").close()


# -- by whatever library


def test_dbapi2():
    sqlite3.dbapi2.connect(DEV).close()


def test_connection_class():
    sqlite3.Connection(DEV).close()


def test_subclass_as_factory():
    class Mine(sqlite3.Connection):
        pass

    sqlite3.connect(DEV, factory=Mine).close()


def test_aiosqlite():
    async def main():
        async with aiosqlite.connect(DEV) as connection:
            await connection.execute("DELETE FROM users")

    asyncio.run(main())


def test_sqlalchemy():
    engine = sqlalchemy.create_engine(f"sqlite:///{DEV}")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DELETE FROM users"))


def test_sqlalchemy_uri():
    engine = sqlalchemy.create_engine(f"sqlite:///file:{quote(str(DEV))}?uri=true")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DELETE FROM users"))


def test_sqlalchemy_async():
    async def main():
        engine = create_async_engine(f"sqlite+aiosqlite:///{DEV}")
        async with engine.begin() as connection:
            await connection.execute(sqlalchemy.text("DELETE FROM users"))

    asyncio.run(main())


# -- from another database


@pytest.fixture
def other(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db", isolation_level=None)) as connection:
        yield connection


def test_attach(other):
    other.execute(f"ATTACH '{DEV}' AS dev")
    other.execute("DELETE FROM dev.users")


def test_attach_in_double_quotes(other):
    other.execute(f'ATTACH "{DEV}" AS dev')
    other.execute("DELETE FROM dev.users")


def test_attach_by_uri(tmp_path):
    with contextlib.closing(sqlite3.connect(f"file:{tmp_path}/o.db", uri=True)) as connection:
        connection.execute(f"ATTACH 'file:{DEV}?mode=rw' AS dev")
        connection.execute("DELETE FROM dev.users")


def test_attach_bound(other):
    other.execute("ATTACH ? AS dev", (str(DEV),))
    other.execute("DELETE FROM dev.users")


def test_attach_computed(other):
    other.execute(f"ATTACH '{HERE}/' || 'dev.db' AS dev")
    other.execute("DELETE FROM dev.users")


def test_attach_in_a_script(other):
    other.executescript(f"ATTACH '{DEV}' AS dev; DELETE FROM dev.users; COMMIT")


def test_attach_in_memory():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"ATTACH '{DEV}' AS dev")


def test_attach_with_an_authorizer_of_its_own(other):
    other.set_authorizer(lambda *_: sqlite3.SQLITE_OK)
    other.execute(f"ATTACH '{DEV}' AS dev")


def test_attach_after_its_authorizer_was_taken_away(other):
    other.set_authorizer(None)
    other.execute(f"ATTACH '{DEV}' AS dev")


def test_vacuum_into(other):
    other.execute(f"VACUUM INTO '{HERE}/new.db'")


def test_vacuum_into_bound(other):
    other.execute("VACUUM INTO ?", (f"{HERE}/new.db",))


# -- without SQLite


def test_remove():
    os.remove(DEV)


def test_remove_log():
    (HERE / "dev.db-wal").unlink()


def test_remove_by_descriptor_of_its_directory():
    directory = os.open(HERE, os.O_RDONLY)
    try:
        os.unlink("dev.db", dir_fd=directory)
    finally:
        os.close(directory)


def test_remove_its_directory():
    shutil.rmtree(HERE / "data")


def test_rename_away(tmp_path):
    DEV.rename(tmp_path / "dev.db")


def test_rename_its_directory(tmp_path):
    (HERE / "data").rename(HERE / "gone")


def test_rename_over(tmp_path):
    (tmp_path / "a").write_text("a")
    os.replace(tmp_path / "a", DEV)


def test_move_over(tmp_path):
    (tmp_path / "a").write_text("a")
    shutil.move(tmp_path / "a", DEV)


def test_truncate():
    os.truncate(DEV, 0)


def test_truncate_on_opening():
    DEV.open("wb").close()


def test_overwrite():
    with DEV.open("r+b") as file:
        file.write(b"x")


def test_overwrite_by_descriptor():
    os.close(os.open(DEV, os.O_RDWR))


def test_append():
    with DEV.open("ab") as file:
        file.write(b"x")


def test_overwrite_through_a_hard_link():
    with open(LINK, "r+b") as file:
        file.write(b"x")


def test_copy_over(tmp_path):
    (tmp_path / "a").write_text("a")
    shutil.copyfile(tmp_path / "a", DEV)


# -- by another program


def test_program():
    subprocess.run(["cp", os.devnull, DEV], check=True)


def test_program_by_a_relative_name():
    subprocess.run(["truncate", "--size=0", "dev.db"], check=True)


def test_program_in_another_directory(tmp_path):
    subprocess.run(["truncate", "--size=0", "dev.db"], check=True, cwd=HERE)


def test_shell():
    subprocess.run(f"echo; : > '{DEV}'", shell=True, check=True)


def test_system():
    os.system(f": >{DEV}")


def test_option_with_a_url():
    subprocess.run(["true", f"--database=sqlite+aiosqlite:///{DEV}"], check=True)


def test_code_for_python():
    subprocess.run([sys.executable, "-c", f"open({str(DEV)!r}, 'w')"], check=True)


def test_asynchronous_program():
    async def main():
        process = await asyncio.create_subprocess_exec("cp", os.devnull, DEV)
        await process.wait()

    asyncio.run(main())


# -- in a child process, which has its own interpreter; whatever becomes of it is not looked at

CHILD = """
import os, sqlite3
connection = sqlite3.connect(os.environ["TARGET"])
connection.execute("DELETE FROM users")
connection.commit()
"""


def test_spawned_child(monkeypatch):
    monkeypatch.setenv("TARGET", str(DEV))
    subprocess.run([sys.executable, "-c", CHILD], check=False, stderr=subprocess.DEVNULL)


def test_spawned_child_with_an_environment_of_its_own():
    subprocess.run(
        [sys.executable, "-c", CHILD], check=False, env={"TARGET": str(DEV)}, stderr=subprocess.DEVNULL
    )


def test_spawned_grandchild(monkeypatch):
    monkeypatch.setenv("TARGET", str(DEV))
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"
    subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.DEVNULL)


def test_forked_child():
    pid = os.fork()
    if not pid:
        try:
            empty(DEV)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def test_child_of_multiprocessing():
    process = multiprocessing.get_context("spawn").Process(target=empty, args=(str(DEV),))
    process.start()
    process.join()


# -- with the exception swallowed


def test_swallowed():
    with contextlib.suppress(Exception):
        empty(DEV)


def test_swallowed_in_a_thread():
    def body():
        with contextlib.suppress(Exception):
            empty(DEV)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()


def test_swallowed_attach(other):
    with contextlib.suppress(sqlite3.Error):
        other.execute(f"ATTACH '{DEV}' AS dev")


def test_swallowed_in_a_fixture_that_ends(request):
    def end():
        with contextlib.suppress(Exception):
            empty(DEV)

    request.addfinalizer(end)


@pytest.mark.xfail
def test_swallowed_by_xfail():
    empty(DEV)


# -- although it says why


@pytest.mark.abathur_allow_database("dev.db")
def test_marked_without_a_reason():
    empty(DEV)


@pytest.mark.abathur_allow_database("other.db", reason="it is another one")
def test_marked_for_another_one():
    empty(DEV)
