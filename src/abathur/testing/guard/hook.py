"""The guard of one process: hears what it is about to do, asks the judge, and refuses."""

from __future__ import annotations

import os
import sys

from . import attach, places, programs, servers
from .judge import Judge, Reason
from .refusals import Refusal, Refusals, place_of_call
from .settings import VARIABLE, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

CANARY = "abathur-canary.db"
"""The name of a database that is protected and that nobody has."""
CURRENT_TEST = "PYTEST_CURRENT_TEST"
WRITES = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND
COMPUTED = (
    "a database whose name is bound or computed",
    "",
    "SQLite does not tell which it is: write its name into the SQL, ATTACH 'name.db' AS other",
)


class CanaryError(Exception):
    """What is raised for the canary: the errors of the library take too long to import for that alone."""


class Guard:
    """What one session guards, in this process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.judge = Judge(settings)
        self.servers = servers.Servers(self.judge, settings.allowed, settings.protected)
        self.refusals = Refusals(settings.report, settings.owner)
        self.text = settings.to_text()
        """The settings as child processes get them."""
        self.handlers: dict[str, Callable[[tuple[Any, ...]], None]] = {
            "sqlite3.connect": self._connect,
            "open": self._open,
            "os.remove": self._remove,
            "os.rename": self._rename,
            "os.truncate": self._truncate,
            "os.link": self._link,
            "shutil.rmtree": self._remove,
            "subprocess.Popen": lambda args: self._program(args[1], args[2]),
            "os.system": lambda args: self._program(args[0]),
            "os.exec": lambda args: self._program(args[1]),
            "os.posix_spawn": lambda args: self._program(args[1]),
            "os.spawn": lambda args: self._program(args[2]),
            "pty.spawn": lambda args: self._program(args[0]),
        }

    def mark(self, entries: Sequence[str]) -> None:
        """Allow what a test's marker names, here and in the programs that it starts; () ends it."""
        self.settings.marked = tuple(self.settings.absolute(entry) for entry in entries)
        self.judge.mark(self.settings.marked)
        self.servers.mark(self.settings.marked)
        self.text = self.settings.to_text()
        if VARIABLE in os.environ:
            os.environ[VARIABLE] = self.text

    # -- what is heard -------------------------------------------------------------------------

    def _connect(self, args: tuple[Any, ...]) -> None:
        __tracebackhide__ = True
        name = places.text_of(args[0])
        file = None if name is None else places.file_of(name)
        if file is not None:
            self._answer("opening", self.judge.opening(file))

    def refuses_to_attach(self, file: str | None) -> bool:
        """A connection is about to attach a file, or to copy itself into it."""
        reason = Reason(*COMPUTED) if file is None else self.judge.opening(file)
        if reason is None:
            return False
        self._note("attaching", reason)
        return self.settings.mode == "block"

    def _open(self, args: tuple[Any, ...]) -> None:
        path, _, flags = args
        if flags & WRITES and not flags & os.O_EXCL:
            name = places.text_of(path)
            if name is not None:
                self._answer("writing over", self.judge.overwriting(name))

    def _remove(self, args: tuple[Any, ...]) -> None:
        name = places.text_of(args[0])
        if name is not None:
            directory = args[1] if len(args) > 1 and isinstance(args[1], int) else -1
            self._answer("removing", self.judge.removing(places.beside(name, directory)))

    def _rename(self, args: tuple[Any, ...]) -> None:
        for name, directory in ((args[0], args[2]), (args[1], args[3])):
            text = places.text_of(name)
            if text is not None:
                self._answer("renaming", self.judge.renaming(places.beside(text, directory)))

    def _truncate(self, args: tuple[Any, ...]) -> None:
        name = places.text_of(args[0])
        if name is None and isinstance(args[0], int):
            name = f"/proc/self/fd/{args[0]}"
        if name is not None:
            self._answer("truncating", self.judge.overwriting(name))

    def _link(self, args: tuple[Any, ...]) -> None:
        name = places.text_of(args[0])
        if name is not None:
            self.judge.linking(places.beside(name, args[2]))

    def _program(self, arguments: Any, directory: Any = None) -> None:
        for name in programs.words(arguments):
            reason = self.judge.naming(programs.in_directory(name, directory))
            if reason is not None:
                self._answer("starting a program on", reason)

    def connecting(self, hosts: Sequence[servers.Host], database: str) -> servers.After | None:
        """A driver is about to connect to a server. Returns what is to be told then, if it matters."""
        reason, asks = self.servers.opening(hosts, database)
        self._answer("connecting to", reason)
        if not asks:
            return None

        def after(environment: str, host: servers.Host, database: str) -> None:
            reason, is_unknown = self.servers.opening([host], database)  # it may have been a service's name
            if is_unknown and environment != "test":
                reason = servers.reason_of(servers.name_of([host], database), environment)
            self._answer("connecting to", reason)

        return after

    # -- what is said --------------------------------------------------------------------------

    def _answer(self, operation: str, reason: Reason | None) -> None:
        if reason is not None:
            __tracebackhide__ = True
            refusal = self._note(operation, reason)
            if self.settings.mode == "block":
                raise _error(refusal)

    def _note(self, operation: str, reason: Reason) -> Refusal:
        test = os.environ.get(CURRENT_TEST, "").rpartition(" (")[0]
        place = place_of_call(self.settings.root)
        if str(os.getpid()) != self.settings.owner:
            place += f", process {os.getpid()}"
        refusal = Refusal(operation, reason.name, reason.environment, reason.why, place, test)
        self.refusals.add(refusal)
        return refusal


def _error(refusal: Refusal) -> Exception:
    """What is raised where the test, or the code that it tests, has asked."""
    if os.path.basename(refusal.name) == CANARY:
        return CanaryError()
    try:
        from abathur.errors import ProtectedDatabaseError
    except ImportError:  # in a child process that has no abathur
        return PermissionError(f"{refusal} (refused by the guard of abathur, see its docs/testing.md)")
    return ProtectedDatabaseError(
        refusal.name,
        refusal.environment,
        refusal.operation,
        refusal.why,
    )


# -- the one hook of a process -----------------------------------------------------------------


class _Installed:
    """The hook cannot be removed, so it looks here for the guard of the moment."""

    guard: Guard | None = None
    handlers: dict[str, Callable[[tuple[Any, ...]], None]] = {}  # noqa: RUF012  # replaced as a whole
    is_hooked = False


def installed() -> Guard | None:
    """The guard that is in force in this process."""
    return _Installed.guard


def install(guard: Guard | None) -> Guard | None:
    """Put a guard in force here and, by the environment, in child processes; None ends it.

    Returns the one that was in force before.
    """
    before = _Installed.guard
    _Installed.guard = guard
    _Installed.handlers = {} if guard is None else guard.handlers
    if guard is None:
        if before is not None:
            _leave_environment()
        return before
    os.environ.update(programs.environment(guard.text))
    if not _Installed.is_hooked:
        _Installed.is_hooked = True
        sys.addaudithook(_make_hook())
        programs.Watcher(
            {
                "subprocess": lambda module: programs.guard_popen(module, _text),
                "sqlite3.dbapi2": lambda module: attach.guard_sqlite(module, _refuses),
                "asyncpg.connect_utils": lambda module: servers.guard_asyncpg(module, _asks),
                "psycopg.connection": lambda module: servers.guard_psycopg(module, _asks),
                "psycopg.connection_async": lambda module: servers.guard_psycopg_async(module, _asks),
            }
        ).install()
    return before


def _make_hook() -> Callable[[str, tuple[Any, ...]], None]:
    state = _Installed  # found without the module's globals, which are gone at the very end

    def hear(event: str, args: tuple[Any, ...]) -> None:
        handler = state.handlers.get(event)
        if handler is not None:
            __tracebackhide__ = True  # a report of pytest begins where the test, or its code, has asked
            handler(args)

    return hear


def _text() -> str | None:
    return None if _Installed.guard is None else _Installed.guard.text


def _refuses(file: str | None) -> bool:
    return _Installed.guard is not None and _Installed.guard.refuses_to_attach(file)


def _asks(hosts: Sequence[servers.Host], database: str) -> servers.After | None:
    return None if _Installed.guard is None else _Installed.guard.connecting(hosts, database)


def _leave_environment() -> None:
    os.environ.pop(VARIABLE, None)
    path = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one != programs.CHILD]
    if any(path):
        os.environ["PYTHONPATH"] = os.pathsep.join(path)
    else:
        os.environ.pop("PYTHONPATH", None)
