"""Lets no refusal pass: a test that the guard had to stop fails, whatever its code did with the error."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from abathur.testing.guard import Refusal
from abathur.testing.guard.judge import matches

if TYPE_CHECKING:
    from abathur.testing.plugin import Session

MARKER = "abathur_allow_database"
OUTPUT = "abathur_guard"
"""Where a worker of pytest-xdist leaves what only the controller can report."""
REMEDY = (
    "Let it use a database of its own: the fixture abathur_db, or a file in tmp_path. If it has to be this,\n"
    f"say so and why: @pytest.mark.{MARKER}(path, reason=...). docs/testing.md of abathur has more."
)


class _RefusedError(pytest.fail.Exception):  # type: ignore[name-defined, misc]
    """What fails a test at its teardown."""

    __module__ = "builtins"  # so that a summary has more room for what happened
    __qualname__ = "Refused"


class Reporter:
    """The hooks of a session that has a guard."""

    def __init__(self, config: pytest.Config, session: Session) -> None:
        self._config = config
        self._session = session
        self._guard = session.guard
        self._blocks = session.guard.settings.mode == "block"
        self._changes: list[str] = []
        self._warnings: list[str] = []

    # -- a test --------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Allow what the test's marker names."""
        entries = [_entry(marker) for marker in item.iter_markers(MARKER)]
        if entries:
            self._guard.mark(entries)
            self._session.marked.update(self._guard.settings.marked)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """A test that fails by the refusal itself is not told twice, and none is expected to fail by it."""
        report = yield
        error = None if call.excinfo is None else call.excinfo.value
        if isinstance(error, _RefusedError):
            report.outcome = "failed"
            vars(report).pop("wasxfail", None)
            return report
        if call.when == "teardown":
            return report
        # By its name: without a refusal nobody has imported the module.
        if report.failed and any(type(one).__name__ == "ProtectedDatabaseError" for one in _chain(error)):
            self._take(item.nodeid)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None]:
        """After everything else: has the guard refused anything that nobody answered for?"""
        try:
            result = yield
        except BaseException:
            refusals = self._take(item.nodeid)
            if refusals:
                item.add_report_section("teardown", "guard of abathur", _told("This test", refusals))
            raise
        finally:
            if self._guard.settings.marked:
                self._guard.mark(())
        refusals = self._take(item.nodeid)
        if refusals:
            raise _RefusedError(_told("This test", refusals), pytrace=False)
        return result

    # -- the rest of a session -----------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """What conftests and plugins have done until now."""
        refusals = self._take("a conftest or plugin")
        if refusals and not self._is_worker():
            raise pytest.UsageError(_told("A conftest or plugin", refusals))
        self._session.late += map(str, refusals)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """What a module does when it is imported."""
        report = yield
        refusals = self._take(collector.nodeid)
        if refusals:
            before = f"{report.longrepr}\n\n" if report.outcome == "failed" else ""
            report.outcome = "failed"
            report.longrepr = before + _told("The import of this module", refusals)
        return report

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """What a worker of pytest-xdist has to say at its end."""
        output = getattr(node, "workeroutput", {}).get(OUTPUT, {})
        self._session.late += output.get("late", [])
        self._session.recorded += output.get("recorded", [])
        self._session.marked.update(output.get("marked", []))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """What came too late for any test, and what became of the protected files."""
        self._session.late += map(str, self._take("after the last test"))
        if self._is_worker():
            output = {name: list(getattr(self._session, name)) for name in ("late", "recorded", "marked")}
            self._config.workeroutput[OUTPUT] = output  # type: ignore[attr-defined]
            return
        self._look_at_files()
        if (self._changes or self._session.late) and session.exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say it where it is seen."""
        for title, lines in (
            ("databases that were touched although they are protected", self._changes),
            ("refused by the guard of abathur, outside of any test", self._session.late),
            ("warnings of the guard of abathur", self._warnings),
            ("would be refused by the guard of abathur (--abathur-guard=record)", self._session.recorded),
        ):
            if lines:
                terminalreporter.section(title)
                for line in dict.fromkeys(lines):
                    terminalreporter.line(line)

    def _look_at_files(self) -> None:
        if self._session.fingerprints is None:
            return
        in_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
        for change in self._session.fingerprints.changes():
            said = f"{change.path}: {change.what} during the run"
            if matches(change.path, tuple(self._session.marked)) or not self._blocks:
                self._warnings.append(said)
            elif change.holders and not in_ci:
                by = ", ".join(change.holders)
                self._warnings.append(f"{said}; perhaps by {by}, which has it open")
            else:
                self._changes.append(
                    f"{said}, and the guard saw nothing of it. Find the program that did it (a server, or a "
                    "child process with `python -I`?); docs/testing.md says how to get the rows back."
                )

    # -- helpers -------------------------------------------------------------------------------

    def _take(self, where: str) -> Sequence[Refusal]:
        """The new refusals; in the mode `record` they are only written down."""
        refusals = self._guard.refusals.take()
        if self._blocks:
            return refusals
        self._session.recorded += (f"{refusal.test or where}: {refusal}" for refusal in refusals)
        return ()

    def _is_worker(self) -> bool:
        return hasattr(self._config, "workerinput")


def _entry(marker: pytest.Mark) -> str:
    """What a marker allows. It has to say why."""
    path = marker.args[0] if marker.args else marker.kwargs.get("path")
    reason = marker.args[1] if len(marker.args) > 1 else marker.kwargs.get("reason")
    if not isinstance(path, (str, os.PathLike)) or not str(path) or not isinstance(reason, str) or not reason:
        pytest.fail(
            f"{MARKER} needs a path and a reason: @pytest.mark.{MARKER}('data.db', reason='...')",
            pytrace=False,
        )
    return os.fspath(path)


def _told(who: str, refusals: Iterable[Refusal]) -> str:
    lines = dict.fromkeys(f"  {refusal}" for refusal in refusals)
    said = f"{who} reached for a database that is no test's, and the guard of abathur refused it:"
    return "\n".join([said, *lines, REMEDY])


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception with everything that it was raised from, or that it holds."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions
