"""`crash_points`: a loop over everything that can happen to a handler when its process is killed."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from abathur.database import Database
from abathur.errors import InvalidInputError
from abathur.tasks.new import integer, seconds
from abathur.testing.clock import FakeClock
from abathur.testing.crashing.places import Places
from abathur.testing.crashing.run import Options, Run, Scenario, resume
from abathur.testing.crashing.trap import CrashPoint, Trap
from abathur.testing.draining import Drained

Place: TypeAlias = Callable[[], str | Path | Awaitable[str | Path]]

DATABASE: Final[dict[str, Any]] = {"environment": "test", "durability": "normal", "backup": False}


class Crash:
    """One turn of the loop: `async with crash as db` kills the scenario at its point, and resumes it.

    The body gets the open Database as the resumed work has left it. An error that leaves the body has a note
    that says where the crash was.
    """

    def __init__(self, points: CrashPoints, number: int, point: CrashPoint | None) -> None:
        self.number = number
        """0 for the first turn, in which nothing is killed."""
        self.point = point
        """Where it is killed; None in the first turn."""
        self.clock = FakeClock()
        """What the scenario and the Database of the body go by."""
        self.drained: Drained | None = None
        """What was done after the crash; in the first turn all that was done."""
        self.total = points.total
        self._points = points
        self._run: Run | None = None
        self._db: Database | None = None
        self.state = "new"

    async def __aenter__(self) -> Database:
        if self.state != "new":
            raise InvalidInputError(
                f"This crash has happened: {self}.",
                "Expected one `async with` for each.",
                "Go on with the loop.",
            )
        self.state = "entered"
        points = self._points
        place = await points.new_place()
        try:
            run = self._run = Run(
                points.scenario, place, self.clock, points.options, Trap(self.number, points.options.limit)
            )
            found = await run.until_killed()
            points.passed(self, run, found)
            assert run.runner is not None  # noqa: S101  # it has worked
            self._db, self.drained = await resume(place, self.clock, points.options, run.runner)
            self.drained = run.drained or self.drained
        except BaseException as error:
            await self._close(error)
            raise
        return self._db

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close(error)

    async def _close(self, error: BaseException | None) -> None:
        self.state = "over"
        if error is not None:
            error.add_note(f"In {self}.")
            if self.drained is not None and self.drained.left:
                error.add_note(str(self.drained))
        try:
            if self._db is not None:
                await self._db.close()
        finally:
            if self._run is not None:
                self._run.close()

    def __str__(self) -> str:
        if self.point is None:
            return "the run without a crash"
        return f"crash {self.number} of {self.total}: killed {self.point}"

    def __repr__(self) -> str:
        return f"<{self}>"


class CrashPoints(Iterator[Crash]):
    """The turns of the loop, one after another; what `crash_points` returns."""

    def __init__(
        self,
        scenario: Scenario,
        place: Place | None,
        options: Options,
        *,
        strict: bool,
        directory: Path | None,
    ) -> None:
        self.scenario = scenario
        self.options = options
        self._place = place
        self._strict = strict
        self._points: list[CrashPoint] = []
        self._current: Crash | None = None
        self._made = 0
        self._directory = directory
        self._files: Path | None = None

    @property
    def total(self) -> int:
        """How many crashes there are; 0 before the first turn is over."""
        return len(self._points)

    @property
    def current(self) -> Crash | None:
        """The turn that the loop is in, or was in last."""
        return self._current

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Crash:
        before = self._current
        if before is None:
            self._current = Crash(self, 0, None)
            return self._current
        if before.state != "over":
            raise InvalidInputError(
                f"{before!r} did not happen.",
                "Expected the body of the loop to let it.",
                "Begin the body with `async with crash as db:`.",
            )
        number = before.number + 1
        if number > len(self._points):
            raise StopIteration
        self._current = Crash(self, number, self._points[number - 1])
        return self._current

    # -- for each turn -------------------------------------------------------------------------

    async def new_place(self) -> str | Path:
        """Where there is no task yet."""
        if self._place is not None:
            given = self._place()
            place = await given if isinstance(given, Awaitable) else given
            if str(place) in (":memory:", "sqlite:///:memory:"):
                raise InvalidInputError(
                    "A database in memory does not outlive the crash of its process.",
                    "Expected a new file, or an empty schema of a server, each time.",
                    "Leave out `place` for files of its own.",
                )
            return place
        if self._files is None:
            self._files = Path(tempfile.mkdtemp(prefix="abathur-crash-", dir=self._directory))
            if self._directory is None:
                weakref.finalize(self, shutil.rmtree, self._files, ignore_errors=True)
        empty = self._files / "empty.db"
        if self._made == 0:  # copying it takes a tenth of the time of making one
            async with Database(empty, **self.options.database):
                pass
        for path in self._files.glob(f"crash-{self._made}.db*"):
            path.unlink()
        self._made += 1
        return Path(shutil.copy(empty, self._files / f"crash-{self._made}.db"))

    def passed(self, crash: Crash, run: Run, found: list[CrashPoint]) -> None:
        """Learn from a run what there is to crash at, and whether it went as the first one did."""
        if run.trap.is_full:
            raise InvalidInputError(
                f"The scenario has more than {self.options.limit:,} points at which it could crash.",
                "Expected fewer: it is run once for each.",
                "Make it smaller, write `lines=False` to stop at awaits and statements only, or raise limit.",
            )
        if crash.number == 0:
            if run.drained is None or run.drained.stopped:
                raise InvalidInputError(
                    f"The scenario does not come to its end: {run.drained}",
                    "Expected one that ends by itself when nothing is killed.",
                    "Look for what its handlers wait for, or raise `timeout`.",
                )
            self._points = list(found)
            crash.total = len(found)
            return
        there = found[crash.number - 1] if len(found) >= crash.number else None
        if there != crash.point:
            if self._strict:
                raise InvalidInputError(
                    f"The scenario does not go the same way each time: its point {crash.number} was"
                    f" {crash.point}, and is now {there or 'never reached'}.",
                    "Expected the same lines and statements in the same order, or not all points are tried.",
                    "Take out what is random or depends on the time, or write `strict=False`.",
                )
            crash.point = there


def crash_points(
    scenario: Scenario,
    *,
    place: Place | None = None,
    lines: bool = True,
    inside: Iterable[Callable[..., Any]] = (),
    strict: bool = True,
    concurrency: int = 1,
    limit: int = 1_000,
    timeout: float = 30.0,
    directory: Path | None = None,
    **database: Any,
) -> CrashPoints:
    """Kill a scenario at each point where its process could die, resume it, and let the loop's body look.

    scenario: an async function that gets an empty Database, puts the outside world into its first state,
    makes the tasks, and returns a Runner with the handlers. It is called for each crash. place: a function,
    async or not, that returns the path or URL of an empty database each time, else files are made. lines:
    whether the handlers are stopped before each of their lines, or at awaits and statements only. inside:
    functions that they call and that are stopped in the same way; all others are the outside world, which
    goes on when the process dies. strict: whether it is an error when two runs do not pass the same points.
    concurrency: tasks at a time. limit: points, at most. timeout: seconds that one run may take. directory:
    where the files are made, else among temporary ones. database: more parameters of the Database, such as
    `schema` and `queries`.

    Raises InvalidInputError.
    """
    if not callable(scenario):
        raise InvalidInputError(
            f"The scenario is a {type(scenario).__name__}.",
            "Expected an async function of a Database that returns a Runner.",
            "Write `async def scenario(db): ...`.",
        )
    if place is not None and not callable(place):
        raise InvalidInputError(
            f"place={place!r} is one place.",
            "Expected a function that returns the place of an empty database, for each crash another one.",
            "Write `place=lambda: ...`, or leave it out for files of its own.",
        )
    integer("limit", limit, 1, 100_000)
    integer("concurrency", concurrency, 1, 1_000)
    seconds("timeout", timeout, 86_400)
    functions = tuple(inside)
    Places(functions)  # raises if one of them cannot be stopped
    options = Options(
        limit=limit,
        timeout=timeout,
        lines=lines,
        inside=functions,
        concurrency=concurrency,
        database={**DATABASE, **database},
    )
    return CrashPoints(scenario, place, options, strict=strict, directory=directory)
