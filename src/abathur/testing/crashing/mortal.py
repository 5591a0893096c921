"""A Database that dies with its run: after that nothing reaches the engine, and nothing is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from typing import Any, Final

from abathur.database import Database
from abathur.engines.base import Engine
from abathur.engines.waiting import outlast
from abathur.script import Emit, start
from abathur.tasks import settle
from abathur.testing.crashing.stepping import Stepper

ENDINGS: Final = (settle.complete_calls, settle.fail_calls)
"""What a runner does for a handler after it has ended."""


class MortalEngine:
    """Passes everything on to an engine, and counts what is done for a handler."""

    def __init__(self, engine: Engine, stepper: Stepper) -> None:
        self._engine = engine
        self._stepper = stepper
        self._counted: dict[Any, Callable[..., Any]] = {}
        self._where = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def write(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await self._call(self._engine.write, fn, args, writes=True)

    async def merge(self, fn: Callable[..., Any], item: Any) -> Any:
        return await self._call(self._engine.merge, fn, (item,), writes=True)

    async def read(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await self._call(self._engine.read, fn, args, writes=False)

    async def _call(
        self, call: Callable[..., Any], fn: Callable[..., Any], args: tuple[Any, ...], *, writes: bool
    ) -> Any:
        """Run it in a task that is not the handler's, so that the engine goes on when that does not."""
        stepper = self._stepper
        stepper.trap.alive()
        is_counted = stepper.is_in_handler or fn in ENDINGS
        script = self._script(fn, is_counted=is_counted, writes=writes)
        if is_counted:
            self._where = stepper.where()

        async def run() -> Any:
            answer = await call(script, *args)
            if is_counted and writes:
                stepper.trap.reach(f"after the COMMIT of {_name(fn)}", self._where)
            return answer

        inner: Coroutine[Any, Any, Any] = run()
        task = asyncio.get_running_loop().create_task(inner, context=stepper.outside())
        return await outlast(task)

    def _script(self, fn: Callable[..., Any], *, is_counted: bool, writes: bool) -> Callable[..., Any]:
        """The script with its points. The same one each time, so that the calls of one kind are merged."""
        key = fn, is_counted, writes
        try:
            return self._counted[key]
        except KeyError:
            pass
        trap = self._stepper.trap

        @wraps(fn)
        def script(*args: Any, **given: Any) -> Generator[Any, Any, Any]:
            trap.alive()
            inner = start(fn, args, given.get("now", 0))
            answer: Any = None
            try:
                while True:
                    try:
                        step = inner.send(answer)
                    except StopIteration as done:
                        if is_counted and writes:
                            trap.reach(f"before the COMMIT of {_name(fn)}", self._where)
                        trap.alive()
                        return done.value
                    if is_counted and not isinstance(step, Emit):
                        trap.reach(f"before the statement {getattr(step, 'name', step)}", self._where)
                    answer = yield step
            finally:
                inner.close()

        self._counted[key] = script
        return script


def _name(fn: Any) -> str:
    """A script as people know it: `complete`, not `complete_calls`."""
    return str(getattr(fn, "__name__", "a script")).removesuffix("_calls").strip("_")


class MortalDatabase(Database):
    """A Database of one run."""

    def __init__(self, url: Any, stepper: Stepper, **options: Any) -> None:
        self._stepper = stepper
        super().__init__(url, **options)

    def _make_engine(self, *args: Any, **options: Any) -> Any:
        return MortalEngine(super()._make_engine(*args, **options), self._stepper)
