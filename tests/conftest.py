"""What every test gets: the event loop, required capabilities and a check for leaks."""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import pytest

# Real files and processes make the first example slow, so a deadline per example says nothing.
hypothesis.settings.register_profile("abathur", deadline=None)
hypothesis.settings.load_profile("abathur")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        action="append",
        default=[],
        metavar="NAME",
        help="fail, instead of skipping, where the capability NAME is missing "
        "(repeatable; the environment variable ABATHUR_REQUIRE adds names)",
    )


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


@pytest.fixture(autouse=True)
def _nothing_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves threads or file descriptors behind, unless it is marked `leaks_allowed`."""
    marker = request.node.get_closest_marker("leaks_allowed")
    if marker is not None:
        if not marker.args and not marker.kwargs.get("reason"):
            pytest.fail("leaks_allowed needs a reason: @pytest.mark.leaks_allowed('why')", pytrace=False)
        yield
        return
    threads, descriptors = _threads(), _descriptors()
    yield
    leaked = _leaked(threads, descriptors)
    if leaked:
        # Threads end a moment after they are told to, and garbage may hold a descriptor.
        gc.collect()
        deadline = time.monotonic() + 3
        while (leaked := _leaked(threads, descriptors)) and time.monotonic() < deadline:
            time.sleep(0.01)
    if leaked:
        pytest.fail("left behind: " + "; ".join(leaked), pytrace=False)


def _leaked(threads: set[threading.Thread], descriptors: set[tuple[int, str]]) -> list[str]:
    found = [f"thread {thread.name!r}" for thread in _threads() - threads]
    found += [f"file descriptor {number} -> {target}" for number, target in _descriptors() - descriptors]
    return sorted(found)


def _threads() -> set[threading.Thread]:
    """The threads of this process, without the one that closes forgotten databases at the end."""
    known = ("abathur-closer", "pytest_timeout")
    threads = threading.enumerate()
    return {thread for thread in threads if not (thread.daemon and thread.name.startswith(known))}


def _descriptors() -> set[tuple[int, str]]:
    """The open descriptors with what they refer to; empty where the system does not tell."""
    try:
        links = list(Path("/proc/self/fd").iterdir())
    except OSError:
        return set()
    found = set()
    for link in links:
        number = int(link.name)
        try:
            target = str(link.readlink())
        except OSError:  # the directory's own descriptor, or one closed by another thread meanwhile
            continue
        if target not in {"/dev/null", "/dev/urandom"} and number != _tracker_descriptor():
            found.add((number, target))
    return found


def _tracker_descriptor() -> Any:
    """The pipe to multiprocessing's resource tracker: started once per process and kept to its end."""
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    return getattr(getattr(tracker, "_resource_tracker", None), "_fd", None)


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
