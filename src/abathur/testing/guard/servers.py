"""PostgreSQL servers: which of them are for tests, asked where asyncpg and psycopg connect.

psycopg raises no audit event, and asyncpg none that names a database, so their own functions are wrapped.
SQLAlchemy and every pool call these.
"""

from __future__ import annotations

import os

from .judge import Judge, Reason
from .settings import URL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
PORT = "5432"
IS_THERE = "SELECT to_regclass('abathur_meta') IS NOT NULL"
STAMP = "SELECT value FROM abathur_meta WHERE key = 'environment'"

Host = tuple[str, str]
"""A host or the directory of a socket, and a port."""


class Servers:
    """Goes by the same settings as the judge of files."""

    def __init__(self, judge: Judge, allowed: Sequence[str], protected: Sequence[str]) -> None:
        self._judge = judge
        self._allowed = [_Entry(one) for one in allowed if URL in one]
        self._protected = [_Entry(one) for one in protected if URL in one]
        self._marked: list[_Entry] = []

    def mark(self, marked: Sequence[str]) -> None:
        """What the marker of the test that runs now allows."""
        self._marked = [_Entry(one) for one in marked if URL in one]

    def opening(self, hosts: Sequence[Host], database: str) -> tuple[Reason | None, bool]:
        """Why a test may not connect; and whether, to be sure, the stamp has to be looked at."""
        if all(_is_named(self._marked, *host, database) for host in hosts):
            return None, False
        name = name_of(hosts, database)
        if any(_is_named(self._protected, *host, database) for host in hosts):
            return Reason(name, "", "`abathur_protected_databases` names it"), False
        for host, port in hosts:
            is_temporary = host.startswith("/") and self._judge.is_temporary(os.path.realpath(host))
            if not is_temporary and not _is_named(self._allowed, host, port, database):
                return None, True
        return None, False


def name_of(hosts: Sequence[Host], database: str) -> str:
    """A URL for messages, without user and password."""
    many = ",".join(f"{host}:{port}" for host, port in hosts)
    return f"postgresql://{many}/{database}"


def reason_of(name: str, environment: str) -> Reason:
    """Why a test may not work on this database, after a look at its stamp."""
    what = f"is stamped {environment}" if environment else "has no stamp"
    why = f"it {what}; its server is no test's own, and `abathur_allow_databases` does not name it"
    return Reason(name, environment, why)


class _Entry:
    """`postgresql://host:port/database` of an ini file; each part may be a pattern."""

    def __init__(self, url: str) -> None:
        rest = url.partition(URL)[2]
        rest, _, query = rest.partition("?")
        netloc, _, self.database = rest.partition("/")
        netloc = netloc.rpartition("@")[2]
        for option in query.split("&"):
            name, _, value = option.partition("=")
            if name == "host":
                netloc = value.replace("%2F", "/").replace("%2f", "/")
        self.hosts = [_host(one) for one in netloc.split(",")]


def _host(text: str) -> Host:
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return _plain(host), port.removeprefix(":") or PORT
    host, colon, port = text.rpartition(":")
    return (_plain(host), port) if colon and not text.startswith("/") else (_plain(text), PORT)


def _plain(host: str) -> str:
    return "localhost" if host in LOCAL else host


def _is_named(entries: list[_Entry], host: str, port: str, database: str) -> bool:
    from fnmatch import fnmatchcase

    host = _plain(host)
    for entry in entries:
        for wanted, at in entry.hosts:
            is_host = fnmatchcase(host, wanted) if wanted else host == "localhost" or host.startswith("/")
            if is_host and fnmatchcase(port, at) and fnmatchcase(database, entry.database or "*"):
                return True
    return False


# -- the drivers -------------------------------------------------------------------------------

if TYPE_CHECKING:
    After = Callable[[str, Host, str], None]
    """Called with the stamp of a database, and with where it is after all."""
    Asks = Callable[[Sequence[Host], str], After | None]
    """Called before a connection is made. It raises, or gives back what is to be called after that."""


def guard_asyncpg(module: Any, asks: Asks) -> None:
    """Wrap the function to which everything comes down; by then URL, environment and files are read."""
    original = module._connect_addr  # noqa: SLF001  # the public ones do not know yet where they connect to

    async def guarded(**options: Any) -> Any:
        host, database = _address(options["addr"]), str(options["params"].database)
        after = asks([host], database)
        connection = await original(**options)
        if after is not None:
            try:
                stamp = ""
                if await connection.fetchval(IS_THERE):
                    stamp = await connection.fetchval(STAMP) or ""
                after(stamp, host, database)
            except BaseException:
                connection.terminate()
                raise
        return connection

    guarded.__wrapped__ = original  # type: ignore[attr-defined]
    module._connect_addr = guarded  # noqa: SLF001


def _address(found: Any) -> Host:
    """Asyncpg has a host and a port, or the path of a socket."""
    if isinstance(found, str):
        directory, _, name = found.rpartition("/")
        return directory or "/", name.rpartition(".")[2]
    return str(found[0]), str(found[1])


def guard_psycopg(module: Any, asks: Asks) -> None:
    """Wrap `Connection.connect`, which `psycopg.connect` and every pool call."""
    _wrap(module.Connection, asks, _checked)


def guard_psycopg_async(module: Any, asks: Asks) -> None:
    """The same for `AsyncConnection.connect`."""
    _wrap(module.AsyncConnection, asks, _checked_async)


def _wrap(kind: Any, asks: Asks, make: Callable[..., Any]) -> None:
    original = kind.__dict__["connect"].__func__
    guarded = make(original, asks)
    guarded.__doc__ = original.__doc__
    guarded.__wrapped__ = original
    kind.connect = classmethod(guarded)


def _checked(original: Callable[..., Any], asks: Asks) -> Callable[..., Any]:
    def connect(cls: Any, conninfo: str = "", **options: Any) -> Any:
        after = asks(*_wanted(conninfo, options))
        connection = original(cls, conninfo, **options)
        return connection if after is None else _after(connection, after)

    return connect


def _checked_async(original: Callable[..., Any], asks: Asks) -> Callable[..., Any]:
    async def connect(cls: Any, conninfo: str = "", **options: Any) -> Any:
        after = asks(*_wanted(conninfo, options))
        connection = await original(cls, conninfo, **options)
        return connection if after is None else _after(connection, after)

    return connect


def _wanted(conninfo: str, options: dict[str, Any]) -> tuple[list[Host], str]:
    """Where libpq is going to connect to: what is given, else the environment, else its own defaults."""
    from psycopg import pq
    from psycopg.conninfo import conninfo_to_dict

    defaults = {one.keyword.decode(): one.val.decode() for one in pq.Conninfo.get_defaults() if one.val}
    names = ("host", "hostaddr", "port", "dbname", "user", "service")
    given = {name: value for name, value in options.items() if name in names and value is not None}
    found = {**defaults, **{k: str(v) for k, v in conninfo_to_dict(conninfo, **given).items() if v}}
    # Where there is an address libpq goes there, whatever the host is called.
    hosts = (found.get("hostaddr") or found.get("host") or "/").split(",")
    ports = found.get("port", PORT).split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    # A service is read by libpq when it connects, and may name an address, so for now it is an unknown place.
    database = found.get("dbname") or found.get("user", "")
    if "service" in found and "hostaddr" not in given:
        hosts, ports = ["service"], [found["service"]]
    return list(zip(hosts, ports, strict=False)), database


def _after(connection: Any, after: After) -> Any:
    """Look at the stamp; no transaction is begun by it."""
    try:
        raw = connection.pgconn
        is_there = raw.exec_(IS_THERE.encode()).get_value(0, 0) == b"t"
        stamp = (raw.exec_(STAMP.encode()).get_value(0, 0) if is_there else None) or b""
        found = connection.info
        by_address = "hostaddr" in found.get_parameters()
        host = found.hostaddr if by_address else found.host or found.hostaddr
        after(stamp.decode(), (host, str(found.port)), found.dbname)
    except BaseException:
        connection.pgconn.finish()
        raise
    return connection
