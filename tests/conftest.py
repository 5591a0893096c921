"""What every test gets: the event loop, required capabilities and checks for what it leaves behind."""

from __future__ import annotations

import faulthandler
import inspect
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

from tests import leaks, postgres, raw_open

# Real files and processes make the first example slow, so a deadline per example says nothing.
hypothesis.settings.register_profile("abathur", deadline=None)
hypothesis.settings.load_profile("abathur")
raw_open.watch()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        action="append",
        default=[],
        metavar="NAME",
        help="fail, instead of skipping, where the capability NAME is missing "
        "(repeatable; the environment variable ABATHUR_REQUIRE adds names)",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        run = postgres.run()  # before pytest-xdist starts its workers, which find the server by it
        run.__enter__()
        config.add_cleanup(lambda: run.__exit__(None, None, None))


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # pytest-xdist keeps a worker that is done until all are, and then ends it by force
    # A leaked thread that is no daemon keeps the interpreter from ending; make that a failure, not a hang.
    faulthandler.dump_traceback_later(30, exit=True, file=sys.__stderr__)


def require(request: pytest.FixtureRequest, name: str, reason: str) -> NoReturn:
    """Skip the test because the capability `name` is missing; fail it if `--require` asks for `name`."""
    required = {*request.config.getoption("--require"), *os.environ.get("ABATHUR_REQUIRE", "").split()}
    if name in required:
        pytest.fail(f"{name} is required here (--require or ABATHUR_REQUIRE), but {reason}", pytrace=False)
    pytest.skip(f"{name}: {reason}")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def legacy_databases(request: pytest.FixtureRequest) -> Path:
    """The directory of databases of earlier versions. Copy them; never open them where they lie."""
    value = os.environ.get("ABATHUR_LEGACY_DATABASES")
    if not value:
        require(request, "legacy-databases", "ABATHUR_LEGACY_DATABASES names no directory")
    if not Path(value).is_dir():
        require(request, "legacy-databases", f"ABATHUR_LEGACY_DATABASES is no directory: {value}")
    return Path(value)


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> str:
    """The URL of a PostgreSQL server; only schemas that a test has made are touched (tests/postgres.py)."""
    try:
        return postgres.url()
    except postgres.UnavailableError as error:
        require(request, "postgres", str(error))


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a database on the server, in a schema of its own, which does not exist yet."""
    from tests import schemas

    schema = schemas.a_name()
    yield schemas.place(postgres_server, schema)
    schemas.drop(postgres_server, schema)


@pytest.fixture(autouse=True)
def _nothing_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """R24: fail a test that leaves anything behind, unless it is marked `leaks_allowed`."""
    marker = request.node.get_closest_marker("leaks_allowed")
    if marker is not None:
        if not marker.args and not marker.kwargs.get("reason"):
            pytest.fail("leaks_allowed needs a reason: @pytest.mark.leaks_allowed('why')", pytrace=False)
        yield
        return
    before = leaks.Before()
    yield
    left = before.left()
    if left:
        pytest.fail("left behind: " + "; ".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def _no_task_is_left(request: pytest.FixtureRequest, _nothing_leaks: None) -> None:
    """R24 for asyncio: an asynchronous test leaves no task behind in its loop."""
    marked = request.node.get_closest_marker("leaks_allowed")
    if marked is None and inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("_tasks_end")


@pytest.fixture
async def _tasks_end() -> AsyncIterator[None]:
    before = leaks.tasks()
    yield
    left = await leaks.tasks_left(before)
    if left:
        pytest.fail("left behind: " + "; ".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def _nobody_opens_a_live_database() -> Iterator[None]:
    """R15: fail a test in which the library opens a live database file itself."""
    raw_open.caught.clear()
    yield
    if raw_open.caught:
        pytest.fail("raw open: " + "; ".join(raw_open.caught), pytrace=False)


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """What is started here heeds Ctrl-C, also where a shell has started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say what a test has reached, such as "1,000 kills, 0 lost"; it is shown at the end of the run."""
    return partial(record_property, "figure")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures, also those of xdist's workers."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    figures = sorted(
        f"{report.nodeid.rpartition('::')[2]}: {text}"
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, text in report.user_properties
        if name == "figure"
    )
    if figures:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.line(line)
