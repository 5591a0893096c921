"""One aiosqlite connection that runs whole functions on its thread, in one hop."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import warnings
import weakref
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote

import aiosqlite

from abathur.engines.faults import translate
from abathur.engines.waiting import outlast
from abathur.errors import (
    DatabaseClosedError,
    DiskFullError,
    DiskIOError,
    EngineError,
    LockTimeoutError,
    OpenError,
)
from abathur.script import Built, Statement
from abathur.sql import Catalog

T = TypeVar("T")

CACHED_STATEMENTS: Final = 512


def address(path: str) -> str:
    """The URI by which SQLite opens a file that is there, and makes none."""
    return f"file:{quote(path)}?mode=rw"


class _Answer:
    """What aiosqlite's `execute_fetchall` wants to see: something with `fetchall()`."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def fetchall(self) -> Any:
        return self._value


class Hop(sqlite3.Connection):
    """A connection whose `execute` also accepts a function, which it calls with itself.

    Given to aiosqlite as `factory=`, it carries a whole transaction to the connection's thread
    through public calls: `await connection.execute_fetchall(function)`. Ten statements in ten hops
    cost 358 us, ten in one hop 43 us.
    """

    def execute(self, sql: Any, parameters: Any = (), /) -> Any:
        if callable(sql):
            return _Answer(sql(self))
        return super().execute(sql, parameters)


def _with_surrogates(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


class Executor:
    """Executes the statements of scripts on a connection; lives on the connection's thread."""

    def __init__(self, connection: sqlite3.Connection, catalog: Catalog, name: str) -> None:
        self.connection = connection
        self._cursor = connection.cursor()
        self._catalog = catalog
        self._name = name
        # Prepared here, ROLLBACK needs no memory when there is none left.
        self._cursor.execute("BEGIN")
        self._cursor.execute("ROLLBACK")

    def __call__(self, step: Statement | Built) -> list[Any]:
        try:
            return self._execute(step)
        except (sqlite3.Error, sqlite3.Warning, MemoryError, OverflowError, UnicodeError, KeyError) as error:
            raise translate(error, self._name, step.name) from error

    def _execute(self, step: Statement | Built) -> list[Any]:
        cursor = self._cursor
        if isinstance(step, Built):
            return self._ask(step.sql, tuple(step.params), damaged=step.damaged)
        query = self._catalog[step.name]
        if step.rows is None:
            return self._ask(query.positional, query.bind(step.params), damaged=step.damaged)
        rows: Any = step.rows
        if step.columns is None:
            rows = map(query.bind, rows)
        elif arrange := query.binder(step.columns):
            rows = map(arrange, rows)
        cursor.executemany(query.positional, rows)
        return [{"changed": cursor.rowcount}]

    def _ask(self, sql: str, params: Any, *, damaged: bool) -> list[Any]:
        """Execute a statement; if `damaged`, then again where its answer holds text that is no UTF-8."""
        try:
            return self._cursor.execute(sql, params).fetchall()
        except sqlite3.OperationalError as error:
            if not damaged or not str(error).startswith("Could not decode to UTF-8"):
                raise
        self.connection.text_factory = _with_surrogates
        try:
            return self._cursor.execute(sql, params).fetchall()
        finally:
            self.connection.text_factory = str

    def control(self, sql: str) -> None:
        """Execute COMMIT, SAVEPOINT and the like."""
        try:
            self._cursor.execute(sql)
        except (sqlite3.Error, MemoryError) as error:
            raise translate(error, self._name, sql) from error

    def begin(self, sql: str) -> None:
        """BEGIN, after the end of a transaction that could not be ended when it had failed."""
        if self.connection.in_transaction:
            self.control("ROLLBACK")
        self.control(sql)

    def check_writable(self) -> None:
        """Raise the reason why nothing can be written here; a lock that somebody holds is none.

        Where SQLite cannot open a file for writing, it opens it for reading and says nothing, and stays
        with that for the connection's life, also if it was only that there were too many open files.
        """
        timeout = self.connection.execute("PRAGMA busy_timeout").fetchone()["timeout"]
        try:
            self.connection.execute("PRAGMA busy_timeout=0").fetchall()
            self.begin("BEGIN IMMEDIATE")  # which alone is content with a file that is read-only
            self.control("PRAGMA user_version=0")
            self.control("ROLLBACK")
        except LockTimeoutError:
            pass
        finally:
            self.roll_back()
            self.connection.execute(f"PRAGMA busy_timeout={timeout}").fetchall()

    def roll_back(self) -> None:
        """End a transaction, if there is one; where that takes more memory than there is, `begin` will.

        SQLite often has rolled back by itself.
        """
        if self.connection.in_transaction:
            with contextlib.suppress(EngineError, OpenError):
                self.control("ROLLBACK")

    def commit(self) -> None:
        """COMMIT, or roll back and raise why: then nothing of the transaction is there, nor will be."""
        try:
            self.control("COMMIT")
        except (EngineError, OpenError) as error:
            self.roll_back()
            if isinstance(error, (DiskIOError, DiskFullError)):
                with contextlib.suppress(sqlite3.Error, MemoryError):  # the disk takes nothing at all
                    self._bury()
            raise

    def _bury(self) -> None:
        """Overwrite in the log what a COMMIT wrote that could not be synced.

        SQLite forgets it, but it stands complete behind the end of the log: if every process died now,
        the next one would find it there and take it for committed. The next transaction overwrites it,
        so one is made here, by a connection of its own that syncs nothing: it only has to be seen by
        whoever reads the log.
        """
        if self.connection.execute("PRAGMA journal_mode").fetchone()["journal_mode"] != "wal":
            return  # a rollback journal undoes it
        other = sqlite3.connect(address(self._name), isolation_level=None, timeout=1, uri=True)
        with closing(other):
            other.execute("PRAGMA synchronous=OFF")
            other.execute("PRAGMA wal_autocheckpoint=0").fetchall()  # without syncs it could be torn
            other.execute("BEGIN IMMEDIATE")
            (version,) = other.execute("PRAGMA user_version").fetchone()
            other.execute(f"PRAGMA user_version={version}")
            other.execute("COMMIT")

    def close(self) -> None:
        """Let go of the last statement, so that nothing but the connection holds the file."""
        self._cursor.close()


class Connection:
    """An open aiosqlite connection together with its executor."""

    def __init__(self, inner: aiosqlite.Connection, executor: Executor) -> None:
        self._inner = inner
        self.executor = executor
        self._closed = False

    async def hop(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run `fn(connection)` on the connection's thread. A cancelled wait does not stop it.

        Raises DatabaseClosedError if somebody has closed it meanwhile: in memory all share one.
        """
        if self._closed:
            raise DatabaseClosedError
        return cast("T", await self._inner.execute_fetchall(cast("Any", fn)))

    async def interrupt(self) -> None:
        """Make the statement that runs on this connection end with an error."""
        await self._inner.interrupt()

    async def close(self) -> None:
        """Close the connection and its thread, also when the last checkpoint fails."""
        self._closed = True
        # A cursor that an error's traceback holds on to would keep the file open.
        self.executor.close()
        try:
            await self._inner.close()
        except sqlite3.Error as error:
            # On a full disk the closing checkpoint fails; the commits are in the log all the same.
            warnings.warn(f"closing {self.executor._name}: {error}", ResourceWarning, stacklevel=2)  # noqa: SLF001


async def connect(
    target: str, catalog: Catalog, *, name: str, pragmas: tuple[str, ...], timeout: float, uri: bool
) -> Connection:
    """Open a connection and set it up. Raises an OpenError; leaves no thread behind."""
    made: list[Executor] = []

    def make(*args: Any, **options: Any) -> sqlite3.Connection:
        """The factory: opens and sets up in the one hop in which aiosqlite opens."""
        raw = Hop(*args, **options)
        try:
            raw.row_factory = sqlite3.Row
            for pragma in pragmas:
                raw.execute(f"PRAGMA {pragma}").fetchall()
            made.append(Executor(raw, catalog, name))
        except BaseException:
            raw.close()
            raise
        return raw

    async def opened() -> Connection:
        inner = aiosqlite.connect(
            target,
            factory=make,
            isolation_level=None,
            timeout=timeout,
            cached_statements=CACHED_STATEMENTS,
            uri=uri,
            check_same_thread=False,  # only `interrupt` is called from another thread
        )
        try:
            await inner
        except (sqlite3.Error, MemoryError) as error:
            raise translate(error, name, "opening it") from error
        _closer.watch(inner)
        return Connection(inner, made[0])

    opening = asyncio.ensure_future(opened())
    try:
        return await outlast(opening)
    except asyncio.CancelledError:
        if not opening.cancelled() and opening.exception() is None:  # nobody else knows of it
            await outlast(opening.result().close())
        raise


class _Closer:
    """Ends the threads of connections that nobody closed, so that the interpreter can exit.

    aiosqlite's threads are not daemons. One daemon thread of ours waits for the main thread to end
    and then stops what is still open; a forgotten `close()` warns and never hangs.
    """

    def __init__(self) -> None:
        self._open: weakref.WeakSet[aiosqlite.Connection] = weakref.WeakSet()
        self._thread: threading.Thread | None = None

    def watch(self, connection: aiosqlite.Connection) -> None:
        self._open.add(connection)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="abathur-closer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        threading.main_thread().join()
        for connection in list(self._open):
            if connection._running:  # noqa: SLF001  # aiosqlite has no public question for it
                warnings.warn(
                    "A Database was not closed before the program ended. Call `await db.close()`.",
                    ResourceWarning,
                    stacklevel=1,
                )
                connection.stop()


_closer = _Closer()
