"""What `abathur run` runs: finds the user's Runner, and runs it until a signal."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Final

from attrs import frozen

from abathur.cli.opening import database, initialize, refuse_strangers
from abathur.cli.options import Settings
from abathur.cli.output import note
from abathur.config import Config
from abathur.database import Database
from abathur.errors import AbathurError, InvalidInputError
from abathur.runner import Runner

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
ONE: Final = 0.1
"""Seconds within which two signals are one: `timeout` sends it to the process and to its group."""
MODULE: Final = "abathur_run_target"
"""The name that a module loaded from a file gets, so that it hides no other module."""


def load(target: str) -> Any:
    """The attribute that ``module:attribute`` or ``path.py:attribute`` names. Raises InvalidInputError."""
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise InvalidInputError(
            f"{target!r} names nothing to run.",
            "Expected MODULE:ATTRIBUTE or PATH.py:ATTRIBUTE.",
            "Write `abathur run agents.py:runner`.",
        )
    is_file = place.endswith(".py") or os.sep in place
    if is_file and not Path(place).is_file():
        raise InvalidInputError(
            f"There is no file {place}.", "Expected a Python file.", "Check the path; it is seen from here."
        )
    try:
        module = _from_file(Path(place)) if is_file else _from_path(place)
    except (Exception, SystemExit) as error:
        raise InvalidInputError(
            f"{place} could not be imported: {_where(error)}",
            "Expected a module that imports without an error.",
            f"Try `{Path(sys.executable).name} {place}`."
            if is_file
            else "Check its name, and run this where the module can be found.",
        ) from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = sorted(one for one in vars(found) if not one.startswith("_")) if found is module else []
            raise InvalidInputError(
                f"{place} has no attribute {name!r}.",
                f"It has: {', '.join(known) or 'none'}.",
                "Name a function that takes a Database and returns a Runner, or a Runner.",
            )
        found = getattr(found, part)
    return found


def _from_path(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    path = path.resolve()
    sys.path.insert(0, str(path.parent))  # as `python path.py` does
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    spec.loader.exec_module(module)
    return module


def _where(error: BaseException) -> str:
    """An error in a line, with the line of the user's code that it comes from."""
    said = traceback.format_exception_only(error)[-1].strip()
    if isinstance(error, SyntaxError):
        return f"{said} ({error.filename}, line {error.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and frame.filename not in (__file__, importlib.__file__)
    ]
    return f"{said} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else said


@frozen
class Served:
    """What is run: the TARGET with what was found under its name, a configuration, or both."""

    name: str | None
    found: Any
    config: Config | None = None

    async def serve(
        self,
        settings: Settings,
        prepare: Callable[[Runner], Awaitable[None]],
        tell: Callable[[Runner], None],
        *,
        until_idle: bool,
    ) -> dict[str, Any]:
        """Run it until it is idle, or until a signal. Answers with what there is to say about it."""
        began = time.monotonic()
        stop = Stop()
        async with stop.on_signals(), self._runner(settings) as runner:
            await prepare(runner)
            tell(runner)
            ended = await stop.serve(runner, until_idle=until_idle)
        return {
            "worker": runner.worker,
            "agent_types": list(runner.agent_types),
            "database": runner.db.name,
            "ended": ended,
            "seconds": round(time.monotonic() - began, 3),
        }

    @asynccontextmanager
    async def _runner(self, settings: Settings) -> AsyncIterator[Runner]:
        """The Runner with its open database."""
        if isinstance(self.found, Runner):
            if settings.database is not None:
                raise InvalidInputError(
                    f"{self.name} is a Runner, which has its own database, and --database was given as well.",
                    "Expected one or the other.",
                    "Leave --database out, or name a function that takes a Database and returns a Runner.",
                )
            db, runner = self.found.db, self.found
        else:
            if self.name is not None:
                self._check()
            db, runner = database(settings, must_exist=False, actor=None), None
        try:
            await refuse_strangers(db)
            await initialize(db)
            if self.name is None and self.config is not None:
                yield self.config.make_runner(db)
                return
            runner = runner if runner is not None else await self._made(db)
            if self.config is not None:
                self.config.register(runner)
            yield runner
        finally:
            await db.close()

    def _check(self) -> None:
        """Refuse what cannot be called with a Database, before one is made."""
        if not callable(self.found) or isinstance(self.found, type):
            raise self._wrong(f"{self.name} is {_kind(self.found)}.")
        try:
            inspect.signature(self.found).bind("a Database")
        except (TypeError, ValueError):
            raise self._wrong(f"{self.name} cannot be called with a Database alone.") from None

    async def _made(self, db: Database) -> Runner:
        try:
            made = self.found(db)
            if inspect.isawaitable(made):
                made = await made
        except AbathurError:
            raise
        except Exception as error:
            raise self._wrong(f"{self.name} raised an error: {_where(error)}.") from error
        if not isinstance(made, Runner):
            raise self._wrong(f"{self.name} returned what is {_kind(made)}, not a Runner.")
        if made.db is not db:
            raise self._wrong(f"{self.name} returned a Runner of another Database than the one it was given.")
        return made

    @staticmethod
    def _wrong(problem: str) -> InvalidInputError:
        return InvalidInputError(
            problem,
            "Expected a function that takes a Database and returns a Runner of it, or a Runner.",
            "Write `def runner(db): ...` with `return runner`; `abathur run --help` has an example.",
        )


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"of type {type(value).__name__}"


class Stop:
    """Stops a runner at the first signal; the second ends the process at once."""

    def __init__(self) -> None:
        self.why: str | None = None
        self._told = False
        self._told_at = 0.0
        self._runner: Runner | None = None

    async def serve(self, runner: Runner, *, until_idle: bool = False) -> str:
        """Run until idle or stopped; returns ``idle``, or why it was stopped."""
        self._runner = runner
        if self.why is not None:  # a signal came while the database was opened
            runner.stop()
        await runner.run(until_idle=until_idle)
        return self.why or "idle"

    def ask(self, why: str) -> None:
        """Stop gracefully."""
        self.why = self.why or why
        if self._runner is not None:
            self._runner.stop()

    def _signalled(self, number: int) -> None:
        if self._told and time.monotonic() - self._told_at < ONE:
            return
        if self._told:
            os._exit(128 + number)  # nothing may hold it up: not a handler, not a lock, not a thread
        self._told, self._told_at = True, time.monotonic()
        grace = f" within {self._runner.grace:g} s" if self._runner is not None else ""
        note(f"Stopping: handlers may finish{grace}. Again to exit at once.")

    @asynccontextmanager
    async def on_signals(self) -> AsyncIterator[None]:
        """Listen to SIGINT and SIGTERM, as far as this thread may."""
        loop = asyncio.get_running_loop()

        def heard(number: int, _: FrameType | None) -> None:
            self._signalled(number)
            loop.call_soon_threadsafe(self.ask, signal.Signals(number).name)

        # Not the loop's own signal handlers: a handler of the user's that blocks the loop would block
        # them too, and the second Ctrl-C is for just that case.
        is_main = threading.current_thread() is threading.main_thread()
        before = {number: signal.signal(number, heard) for number in SIGNALS} if is_main else {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
