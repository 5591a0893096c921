"""The pytest plugin: puts the guard in force before any conftest is read, and brings the fixtures."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from abathur.testing.canary import check_canary
from abathur.testing.guard import CANARY, Guard, Settings, install
from abathur.testing.guard.places import databases_below, file_of

if TYPE_CHECKING:
    from abathur.testing.fingerprints import Fingerprints

MODES = ("block", "record", "off")
MARKER = "abathur_allow_database"
ENVIRONMENT = ("ABATHUR_DATABASE", "DATABASE_URL")
"""Environment variables in which a project's database is often named."""

SESSION = pytest.StashKey["Session"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option and the ini options; docs/testing.md has the table."""
    group = parser.getgroup("abathur", "databases that no test may touch (abathur)")
    group.addoption(
        "--abathur-guard",
        choices=MODES,
        default="block",
        help="block: a test that reaches for a database that is no test's is refused, and fails. "
        "record: it is only reported. off: nothing is looked at. (default: block)",
    )
    parser.addini(
        "abathur_allow_databases",
        "databases that tests may use: paths from the root directory, directories, patterns, "
        "URLs such as postgresql://localhost/app_test",
        type="linelist",
        default=[],
    )
    parser.addini(
        "abathur_protected_databases",
        "databases that no test may touch, wherever they are: paths, directories, patterns, URLs",
        type="linelist",
        default=[],
    )
    parser.addini(
        "abathur_forbidden_imports",
        "names that no test may import, such as app.db.database:async_session_maker; "
        "`abathur check-isolation` looks for them",
        type="linelist",
        default=[],
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Before any conftest is read, and so before anything of the project is imported."""
    mode = early_config.known_args_namespace.abathur_guard
    if mode != "off":
        _begin(early_config, mode)
    return (yield)


def _begin(config: pytest.Config, mode: str) -> None:
    settings = _settings(config, mode)
    canary = os.path.join(settings.root, CANARY)
    inherited = _inherited() or Settings()
    settings.protected = tuple(dict.fromkeys((*settings.protected, *inherited.protected, canary)))
    judge = Guard(settings).judge
    found = (path for path in _databases(settings) if judge.naming(path) is not None)
    settings.known = tuple(dict.fromkeys((*inherited.known, *found)))
    guard = Guard(settings)
    before = install(guard)
    config.add_cleanup(lambda: _end(guard, before))  # whatever becomes of the rest
    check_canary(guard, canary)
    session = config.stash[SESSION] = Session(guard)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        session.take_fingerprints()


def _settings(config: pytest.Config, mode: str) -> Settings:
    settings = Settings(
        mode=mode,
        root=os.path.realpath(config.rootpath),
        report=os.path.join(
            os.path.realpath(tempfile.gettempdir()), f"abathur-guard-{os.getpid()}-{os.urandom(4).hex()}"
        ),
        owner=str(os.getpid()),
    )
    settings.temporary = tuple(
        os.path.realpath(place)
        for place in (
            tempfile.gettempdir(),
            "/dev/shm",  # noqa: S108  # memory: nobody keeps a database there
            os.environ.get("PYTEST_DEBUG_TEMPROOT"),
            config.known_args_namespace.basetemp,
        )
        if place
    )
    allowed = [*config.getini("abathur_allow_databases"), os.environ.get("ABATHUR_TEST_POSTGRES_URL", "")]
    settings.allowed = tuple(settings.absolute(entry) for entry in allowed if entry)
    settings.protected = tuple(
        settings.absolute(entry) for entry in config.getini("abathur_protected_databases")
    )
    return settings


def _inherited() -> Settings | None:
    """What the session that started this process goes by; its guard makes way for this one's."""
    module = sys.modules.get("abathur_guard")
    before = None if module is None else module.install(None)
    return None if before is None else Settings.from_text(before.settings.to_text())


def _databases(settings: Settings) -> Iterator[str]:
    """The files that may be databases of the project."""
    for path in (*databases_below(settings.root), *settings.protected):
        if os.path.isfile(path):
            yield path
    for name in ENVIRONMENT:
        value = os.environ.get(name, "")
        path = file_of(settings.absolute(value)) or ""
        if value and os.path.isfile(path):
            yield os.path.realpath(path)


def _end(guard: Guard, before: Guard | None) -> None:
    install(before)
    guard.refusals.remove_report()


class Session:
    """What the plugin knows about one session with a guard."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.late: list[str] = []
        """Refusals that no test can be blamed for."""
        self.recorded: list[str] = []
        """Of the mode `record`: what would have been refused."""
        self.marked: set[str] = set()
        """What markers have allowed; a change of it has not slipped by."""
        self.fingerprints: Fingerprints | None = None

    def take_fingerprints(self) -> None:
        """Write down what the protected files are like now."""
        settings = self.guard.settings
        files = [path for path in (*settings.known, *settings.protected) if os.path.isfile(path)]
        if files:
            from abathur.testing.fingerprints import Fingerprints

            self.fingerprints = Fingerprints(list(dict.fromkeys(files)))


def pytest_configure(config: pytest.Config) -> None:
    """The marker, the fixtures, and the reports."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(path, reason=...): this test may use one database that is no test's, and why",
    )
    from abathur.testing import fixtures, nats_fixtures, postgres, toolkit

    for module in (fixtures, nats_fixtures, toolkit):
        config.pluginmanager.register(module, module.__name__)
    if not hasattr(config, "workerinput") and "postgres" in fixtures.ENGINES:
        ending = ExitStack()
        config.add_cleanup(ending.close)
        ending.enter_context(postgres.run())  # before pytest-xdist starts its workers, which find it
    session = config.stash.get(SESSION, None)
    if session is not None:
        from abathur.testing.reporting import Reporter

        config.pluginmanager.register(Reporter(config, session), "abathur-guard")


def pytest_report_header(config: pytest.Config) -> str:
    """Whether there is a guard, in which mode, and how many databases it knows of."""
    session = config.stash.get(SESSION, None)
    if session is None:
        return "abathur guard: off, so nothing keeps these tests from real databases"
    settings = session.guard.settings
    protected = sum(map(os.path.exists, {*settings.known, *settings.protected}))
    many = f", {protected} protected database{'s' * (protected != 1)}" if protected else ""
    return f"abathur guard: {settings.mode}{many}"
