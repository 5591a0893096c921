"""Opening and closing: what a Database says when it is used too early, too late or elsewhere."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path
from typing import Self

import anyio
import pytest

from abathur import Database
from abathur.errors import (
    DatabaseClosedError,
    EnvironmentMismatchError,
    InvalidUrlError,
    LifecycleError,
    LockTimeoutError,
    MissingDirectoryError,
    NotInitializedError,
    WrongEventLoopError,
)

USES = {
    "tasks": lambda db: db.tasks.enqueue("x"),
    "audit": lambda db: db.audit.list(),
    "run": lambda db: db.run(_nothing),
    "read": lambda db: db.read(_nothing),
}


def _nothing():
    return
    yield


@pytest.mark.parametrize("use", USES)
async def test_a_database_is_used_after_initialize_and_before_close(unopened, use):
    db = unopened()
    with pytest.raises(NotInitializedError, match="initialize"):
        await USES[use](db)
    await db.initialize()
    await USES[use](db)
    await db.close()
    with pytest.raises(DatabaseClosedError, match="new"):
        await USES[use](db)
    with pytest.raises(DatabaseClosedError):
        await db.initialize()


async def test_a_feature_that_was_kept_is_closed_with_its_database(unopened):
    async with unopened() as db:
        tasks, audit = db.tasks, db.audit
        await tasks.enqueue("x")
    for use in (
        tasks.enqueue("y"),
        tasks.list(),
        tasks.claim("w"),
        audit.list(),
        audit.verify(),
        tasks.counts(),
    ):
        with pytest.raises(DatabaseClosedError):
            await use


async def test_closing_twice_or_before_opening_is_fine(unopened):
    db = unopened()
    await db.close()
    await db.close()
    async with unopened() as db:
        await db.close()


async def test_initialize_again_changes_nothing(db):
    task = await db.tasks.enqueue("x")
    report = await db.initialize()
    assert report.steps == ()
    assert not report.created
    assert await db.tasks.get(task) == task


async def test_many_initialize_at_once(unopened):
    db = unopened()
    try:
        reports = await asyncio.gather(*(db.initialize() for _ in range(5)), return_exceptions=True)
        assert not [report for report in reports if isinstance(report, BaseException)]
        await db.tasks.enqueue("x")
    finally:
        await db.close()


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
async def test_a_close_in_the_middle_of_opening_leaves_nothing_behind(unopened, turns):
    """The leak check of the suite looks for the threads and descriptors."""
    db = unopened()
    opening = asyncio.create_task(db.initialize())
    for _ in range(turns):
        await asyncio.sleep(0)
    await db.close()
    (answer,) = await asyncio.gather(opening, return_exceptions=True)
    assert isinstance(answer, DatabaseClosedError) or not isinstance(answer, BaseException), answer
    with pytest.raises(DatabaseClosedError):
        await db.initialize()


async def test_a_body_that_raises_closes_the_database(unopened):
    with pytest.raises(KeyError):
        async with unopened() as db:
            raise KeyError("mine")
    with pytest.raises(DatabaseClosedError):
        _ = db.tasks


async def test_what_was_accepted_is_finished_by_close(unopened, processes):
    db = unopened()
    await db.initialize()
    calls = [asyncio.create_task(db.tasks.enqueue(f"{n}")) for n in range(200)]
    await asyncio.sleep(0)
    await db.close()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    made = {answer.id for answer in answers if not isinstance(answer, BaseException)}
    assert {type(answer) for answer in answers if isinstance(answer, BaseException)} <= {DatabaseClosedError}
    async with unopened() as again:
        assert {task.id for task in await again.tasks.list(limit=1000)} == made


@pytest.mark.parametrize("turns", range(12))
async def test_a_close_in_the_middle_of_the_first_call_leaves_nothing_behind(unopened, initialized, turns):
    """The leak check of the suite looks for the threads and descriptors."""
    db = unopened()
    await db.initialize()
    calls = [asyncio.create_task(db.tasks.enqueue("x")), asyncio.create_task(db.tasks.list())]
    for _ in range(turns):
        await asyncio.sleep(0)
    await db.close()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(
        not isinstance(answer, BaseException) or type(answer) is DatabaseClosedError for answer in answers
    )


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("use", ["tasks", "read"])
async def test_a_cancelled_first_call_leaves_nothing_behind(unopened, initialized, turns, use):
    async with unopened() as db:
        call = asyncio.create_task(USES[use](db))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, 5, 8, 12, 16, 24])
async def test_a_cancelled_initialize_leaves_nothing_behind(unopened, turns):
    db = unopened()
    call = asyncio.create_task(db.initialize())
    for _ in range(turns):
        await asyncio.sleep(0.0005)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await db.close()
    async with unopened() as again:
        await again.tasks.enqueue("x")


def test_another_event_loop_is_refused(unopened):
    db = unopened()

    async def opens():
        await db.initialize()
        await db.tasks.enqueue("x")

    async def uses():
        with pytest.raises(WrongEventLoopError, match="another event loop"):
            await db.tasks.enqueue("y")
        with pytest.raises(WrongEventLoopError):
            await db.tasks.list()

    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(opens())
        second.run(uses())
        first.run(db.close())


def test_a_place_without_an_asyncio_loop_is_refused(unopened):
    """As under trio, and without needing it: the coroutine is driven by hand."""
    db = unopened()
    opening = db.initialize()
    with pytest.raises(WrongEventLoopError, match="asyncio"):
        opening.send(None)


def test_trio_is_refused(unopened):
    pytest.importorskip("trio")
    with pytest.raises(WrongEventLoopError, match="trio"):
        anyio.run(unopened().initialize, backend="trio")


async def test_the_environment_of_the_stamp_has_to_be_the_one_asked_for(db, unopened, processes):
    for wrong in ("production", "development"):
        other = unopened(environment=wrong)
        with pytest.raises(EnvironmentMismatchError, match=f"is a test database, and {wrong}") as caught:
            await other.initialize()
        await other.close()
        assert (caught.value.found, caught.value.wanted) == ("test", wrong)
    other = Database(processes)
    assert (await other.initialize()).environment == "test"
    await other.close()


async def test_another_environment_is_refused_without_a_change_of_the_file(db, unopened, file):
    before = file.read_bytes()
    other = unopened(environment="production")
    with pytest.raises(EnvironmentMismatchError):
        await other.initialize()
    await other.close()
    assert file.read_bytes() == before


async def test_the_environment_may_come_from_a_variable(unopened, monkeypatch):
    monkeypatch.setenv("ABATHUR_ENVIRONMENT", "production")
    db = unopened(environment=None)
    assert (await db.initialize()).environment == "production"
    await db.close()


@pytest.mark.parametrize(
    "wrong", ["", "mysql://host/db", "http://x", 17, None, "a\0b", b"agents.db"], ids=repr
)
def test_what_names_no_database_is_refused(wrong):
    with pytest.raises(InvalidUrlError):
        Database(wrong)


async def test_a_path_may_be_given_in_several_forms(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a b%20c?#.db"
    async with Database(path, environment="test") as db:
        task = await db.tasks.enqueue("x")
    assert [one.name for one in tmp_path.glob("*.db")] == [path.name]
    for form in (
        str(path),
        path.name,
        f"./{path.name}",
        f"sqlite:////{str(path)[1:].replace('%', '%25').replace('?', '%3F')}",
    ):
        async with Database(form) as db:
            assert (await db.tasks.get(task)).id == task.id, form


async def test_a_missing_directory_is_named(tmp_path):
    db = Database(tmp_path / "no" / "where" / "agents.db")
    with pytest.raises(MissingDirectoryError, match="mkdir"):
        await db.initialize()
    await db.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_new_file_can_be_read_by_its_owner_only(unopened, file):
    async with unopened() as db:
        await db.tasks.enqueue("x")
        for path in file.parent.iterdir():
            assert path.stat().st_mode & 0o077 == 0, path.name


async def test_a_link_and_its_target_are_one_database_with_one_lock(db, file, tmp_path):
    link = tmp_path / "link.db"
    link.symlink_to(file)
    async with Database(link, environment="test") as other:
        await db.tasks.enqueue("x")
        await other.tasks.enqueue("y")
        assert len(await db.tasks.list()) == 2
    assert not (tmp_path / "link.db-lock").exists()


# -- other processes ---------------------------------------------------------------------------


def python(
    code: str, *args: object, timeout: float = 30, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run a program of its own. A program that hangs raises TimeoutExpired."""
    command = [sys.executable, "-W", "default", "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **options)


HOLD = """
    import fcntl, os, sys, time
    fd = os.open(sys.argv[1] + "-lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.pwrite(fd, b"%-12d" % os.getpid(), 0)
    print("held", flush=True)
    sys.stdin.read()
"""


class Holder:
    """A process that holds a database's write lock until it is let go."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-c", textwrap.dedent(HOLD), str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.process.pid

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"held\n"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


async def test_a_lock_that_is_not_let_go_names_its_holder(make_db, file, processes):
    db = await make_db(lock_timeout=0.2)
    task = await db.tasks.enqueue("before")
    with Holder(file) as holder:
        began = time.monotonic()
        with pytest.raises(LockTimeoutError, match=f"rocess {holder.pid} ") as caught:
            await db.tasks.enqueue("x")
        assert 0.15 < time.monotonic() - began < 2
        assert caught.value.pid == holder.pid
        assert isinstance(caught.value, TimeoutError)
        assert await db.tasks.list() == [task], "readers do not wait"
    await db.tasks.enqueue("after")
    assert [one.prompt for one in await db.tasks.list()] == ["before", "after"]


async def test_a_lock_that_is_let_go_in_time_is_waited_for(db, file, processes):
    with Holder(file) as holder:
        call = asyncio.create_task(db.tasks.enqueue("x"))
        await asyncio.sleep(0.1)
        assert not call.done()
        holder.process.communicate()
    assert (await call).status == "ready"


async def test_initialize_waits_for_the_lock_and_names_its_holder(unopened, file, processes):
    with Holder(file) as holder:
        db = unopened(lock_timeout=0.1)
        with pytest.raises(LockTimeoutError) as caught:
            await db.initialize()
        assert caught.value.pid == holder.pid
        await db.close()
    async with unopened():
        pass


async def test_close_ends_although_another_process_holds_the_lock(unopened, file, processes):
    """The leak check of the suite looks for the threads and descriptors."""
    db = unopened(lock_timeout=0.1)
    await db.initialize()
    await db.tasks.enqueue("x")
    with Holder(file):
        await db.close()
    async with unopened() as again:
        assert len(await again.tasks.list()) == 1


def test_a_database_does_not_cross_a_fork(processes):
    code = """
        import asyncio, os, sys, warnings
        warnings.simplefilter("ignore")
        from abathur import Database
        from abathur.errors import ForkedProcessError

        async def refused(use):
            try:
                await asyncio.wait_for(use(), 5)
            except ForkedProcessError as error:
                assert str(os.getpid()) in str(error) and str(os.getppid()) in str(error)
                return "refused"
            except BaseException as error:
                return repr(error)
            return "accepted"

        async def child(db):
            for use in (lambda: db.tasks.enqueue("y"), db.tasks.list, lambda: db.tasks.claim("w"), db.close):
                print(await refused(use), flush=True)

        async def main():
            async with Database(sys.argv[1], environment="test") as db:
                await db.tasks.enqueue("x")
                pid = os.fork()
                if not pid:
                    try:
                        asyncio._set_running_loop(None)
                        asyncio.set_event_loop(None)
                        asyncio.run(child(db))
                    finally:
                        os._exit(0)
                os.waitpid(pid, 0)
                await db.tasks.enqueue("z")
                print([task.prompt for task in await db.tasks.list()], flush=True)

        asyncio.run(main())
    """
    done = python(code, processes)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["refused"] * 4 + ["['x', 'z']"]


def test_a_database_that_was_made_before_a_fork_can_be_opened_after_it(file, processes):
    code = """
        import asyncio, os, sys
        from abathur import Database

        db = Database(sys.argv[1], environment="test")

        async def main():
            async with db:
                await db.tasks.enqueue("x")

        pid = os.fork()
        if not pid:
            asyncio.run(main())
            os._exit(0 if int(open(sys.argv[1] + "-lock").read()) == os.getpid() else 7)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    done = python(code, file)
    assert done.returncode == 0, done.stderr


async def test_no_resource_warning_and_no_thread_remains_after_use(unopened):
    threads = threading.active_count()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            async with unopened() as db:
                await asyncio.gather(
                    *(db.tasks.enqueue("x") for _ in range(20)), *(db.tasks.list() for _ in range(8))
                )
        del db
        gc.collect()
        await asyncio.sleep(0.05)
    assert [str(one.message) for one in caught] == []
    # The one daemon that closes forgotten databases at the end stays.
    assert threading.active_count() <= threads + 1


def test_every_lifecycle_error_is_one():
    for error in (NotInitializedError, DatabaseClosedError, WrongEventLoopError):
        assert issubclass(error, LifecycleError)
