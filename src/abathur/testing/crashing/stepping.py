"""Drives the coroutines of a handler step by step; at the end of a run they are left where they are."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context as Variables
from contextvars import ContextVar, copy_context
from typing import Any, Final, TypeVar

from abathur.context import Context
from abathur.testing.crashing.places import Places, close_unstarted, forget_unstarted, frames_of, place
from abathur.testing.crashing.tracing import Tracer
from abathur.testing.crashing.trap import Killed, Trap

T = TypeVar("T")

_run: Final[ContextVar[Stepper | None]] = ContextVar("abathur_crashing_run", default=None)
_is_handler: Final[ContextVar[bool]] = ContextVar("abathur_crashing_is_handler", default=False)


class Stepper:
    """What the coroutines of one run have in common."""

    def __init__(self, trap: Trap, places: Places, *, lines: bool) -> None:
        self.trap = trap
        self.places = places
        self.tracer = Tracer(trap, places, lines=lines)
        self.tasks: dict[asyncio.Task[Any], bool] = {}
        """All tasks of the event loop that the run has made, and whether a handler has."""
        self._buried: list[Any] = []
        self._given: list[Any] = []
        """What the tasks of handlers are to run; some may never begin."""

    # -- handlers ------------------------------------------------------------------------------

    def wrapped(self, handler: Callable[[Context], Any], *, is_async: bool) -> Callable[[Context], Any]:
        """A handler that is stopped wherever the trap says so."""
        if is_async:

            async def stepped(ctx: Context) -> Any:
                self.trap.reach(f"before the handler of {ctx.task.agent_type!r} began")
                before = _is_handler.set(True)
                try:
                    result = await Steps(handler(ctx), self)
                finally:
                    _is_handler.reset(before)
                self.trap.reach(f"after the handler of {ctx.task.agent_type!r} had returned")
                return result

            return stepped

        def traced(ctx: Context) -> Any:
            self.trap.reach(f"before the handler of {ctx.task.agent_type!r} began")
            result = self.tracer.call(handler, ctx)
            self.trap.reach(f"after the handler of {ctx.task.agent_type!r} had returned")
            return result

        return traced

    @property
    def is_in_handler(self) -> bool:
        """Whether this is executed on behalf of a handler."""
        return _is_handler.get()

    def where(self) -> str:
        """The handler's line that is being executed."""
        return self.places.above(sys._getframe(1)) if self.is_in_handler else ""  # noqa: SLF001

    # -- tasks ---------------------------------------------------------------------------------

    def outside(self) -> Variables:
        """Variables for a task of the run that is not the handler's."""
        variables = copy_context()
        variables.run(_run.set, self)
        variables.run(_is_handler.set, False)
        return variables

    @contextmanager
    def making_tasks(self) -> Iterator[None]:
        """Keep a list of the tasks that the run makes, and drive those that a handler makes."""
        loop = asyncio.get_running_loop()
        before = loop.get_task_factory()

        def make(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
            is_own = _run.get() is self
            is_handlers = is_own and self.is_in_handler and asyncio.iscoroutine(coro)
            make_one: Any = before or _new_task
            if is_handlers:
                self._given.append(coro)
            task: asyncio.Task[Any] = make_one(loop, _driven(coro, self) if is_handlers else coro, **options)
            if is_own or self._is_in(options.get("context")):
                self.tasks[task] = is_handlers and "context" not in options
            return task

        loop.set_task_factory(make)
        try:
            yield
        finally:
            loop.set_task_factory(before)

    def _is_in(self, variables: Variables | None) -> bool:
        return variables is not None and variables.get(_run) is self

    # -- the end -------------------------------------------------------------------------------

    def bury(self, coroutine: Any) -> None:
        """Keep a coroutine that is never to be resumed."""
        self._buried.append(coroutine)

    def close_buried(self) -> None:
        """Let go of them, without letting them run what they would when they are closed."""
        for one in self._given:
            close_unstarted(one)
        while self._buried:
            coroutine = self._buried.pop()
            for frame in frames_of(coroutine):
                forget_unstarted(frame)
            with contextlib.suppress(Killed, RuntimeError):
                self.tracer.call(coroutine.close)


class Steps(Awaitable[T]):
    """Awaits a coroutine, looking at the trap each time that it waits and before it goes on."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], stepper: Stepper) -> None:
        self._coroutine = coroutine
        self._stepper = stepper
        self._waited: tuple[Any, Any] | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        trap, coroutine = self._stepper.trap, self._coroutine
        value: Any = None
        error: BaseException | None = None
        while True:
            if trap.dead:
                self._stepper.bury(coroutine)
                raise Killed
            try:
                step, given = (coroutine.send, value) if error is None else (coroutine.throw, error)
                waits_for = self._stepper.tracer.call(step, given)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            if not trap.dead:
                self._waits()
            try:
                value, error = (yield waits_for), None
            except GeneratorExit:
                self._stepper.bury(coroutine)
                raise
            except BaseException as raised:  # noqa: BLE001  # it is the coroutine's
                value, error = None, raised

    def _waits(self) -> None:
        """A point for each await, however often it is resumed in between."""
        found = self._stepper.places.awaiting(self._coroutine)
        if found is None:
            return
        frame, awaited = found
        if self._waited is not None and self._waited[0] is frame and self._waited[1] is awaited:
            return
        self._waited = found
        with contextlib.suppress(Killed):  # it is not resumed, which is enough
            self._stepper.trap.reach("in the await", place(frame))


async def _driven(coroutine: Coroutine[Any, Any, T], stepper: Stepper) -> T:
    return await Steps(coroutine, stepper)


def _new_task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    return asyncio.Task(coro, loop=loop, **options)
