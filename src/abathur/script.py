"""Transaction scripts: generator functions that yield statements and receive their rows.

A script is written once and runs on every engine, whole, in one transaction::

    def rename(order_id, name, now):
        rows = yield Statement("shop.find", id=order_id)
        if rows:
            yield Statement("shop.rename", id=order_id, name=name, now=now)
        return bool(rows)

    renamed = await db.run(rename, 17, "A better name")

The engine supplies `now`, in microseconds since the epoch, to a script that has a parameter of
that name. A script does no I/O, reads no clock and makes no random value: it may run more than
once, each time from its start. An error of a statement ends the script; it cannot be caught there,
because an engine may have lost the transaction by then.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeAlias, TypeVar

from abathur.errors import InvalidInputError

T = TypeVar("T")


class Row(Protocol):
    """One row of an answer, read by column name; never by position."""

    def __getitem__(self, column: str, /) -> Any: ...

    def keys(self) -> Any:
        """The names of its columns."""


class Statement:
    """A named statement from `sql/` or from an application's `queries`.

    name: ``topic.name``, as it is defined. rows: mappings, or tuples whose places `columns` names; the
    statement is executed once for each, and answers with one row: how many rows of the table it
    `changed` in all. columns: the parameters' names for rows that are tuples. damaged: text that is no
    UTF-8, which somebody's SQL has left, is read too, with a lone surrogate for each wrong byte; else it
    is an error. params: the statement's `:parameters`, as keyword arguments.

    A script that yields it receives a list of rows, which are read by column name.
    """

    __slots__ = ("columns", "damaged", "name", "params", "rows")

    def __init__(
        self,
        name: str,
        /,
        rows: Sequence[Mapping[str, Any]] | Sequence[tuple[Any, ...]] | None = None,
        columns: tuple[str, ...] | None = None,
        damaged: bool = False,
        **params: Any,
    ) -> None:
        self.name = name
        self.damaged = damaged
        self.rows = rows
        self.columns = columns
        self.params = params

    def __repr__(self) -> str:
        # Values may be secrets, so only their names are shown.
        count = "" if self.rows is None else f", {len(self.rows)} rows"
        return f"Statement({self.name!r}{count}{''.join(f', {name}=…' for name in self.params)})"


class Built:
    """SQL that was put together at run time. Only the code of the schema, and that of a move, may yield it.

    `sql` has a `?` for each value of `params`. damaged: as for a Statement.
    """

    __slots__ = ("damaged", "name", "params", "sql")

    def __init__(self, sql: str, params: Sequence[Any] = (), *, damaged: bool = False) -> None:
        self.sql = sql
        self.damaged = damaged
        self.params = params
        self.name = " ".join(sql.split())[:60]

    def __repr__(self) -> str:
        return f"Built({self.name!r})"


class Together:
    """Statements of which none needs what another one does: an engine may send them in one go.

    A script that yields it receives an empty list. Two of them may not change the same row, nor one read
    what another one writes.
    """

    __slots__ = ("name", "statements")

    def __init__(self, *statements: Statement | Built) -> None:
        self.statements = statements
        self.name = " + ".join([one.name for one in statements])

    def __repr__(self) -> str:
        return f"Together{self.statements!r}"


class Emit:
    """Something for the end of the transaction, such as rows to be sealed; no statement.

    `topic` says what it is about, and `values` are added to the transaction's list for it. The engine
    gives all of them to its closing script before the commit, and to its observer after it; a rollback
    forgets them.
    """

    __slots__ = ("topic", "values")

    def __init__(self, topic: str, values: Sequence[Any]) -> None:
        self.topic = topic
        self.values = values


Step: TypeAlias = Statement | Built | Together | Emit
Script: TypeAlias = Generator[Step, "list[Any]", T]
ScriptFunction: TypeAlias = Callable[..., Script[T]]
Emitted: TypeAlias = dict[str, list[Any]]


@lru_cache(maxsize=512)
def takes_now(fn: ScriptFunction[Any]) -> bool:
    """Whether a script has a parameter named `now`, which the engine then supplies."""
    return "now" in inspect.signature(fn).parameters


def start(fn: ScriptFunction[T], args: Sequence[Any], now: int) -> Script[T]:
    """Call a script function afresh, with `now` if it asks for it."""
    script = fn(*args, now=now) if takes_now(fn) else fn(*args)
    if not isinstance(script, Generator):
        if inspect.iscoroutine(script):
            script.close()  # else it would be reported as never awaited
        raise InvalidInputError(
            f"{getattr(fn, '__qualname__', fn)!r} is not a script: it returned {type(script).__name__}.",
            "Expected a generator function that yields Statement(...).",
            "Write `rows = yield Statement(name, ...)` in it; it may not be `async`.",
        )
    return script


def drive(script: Script[T], execute: Callable[[Statement | Built], list[Any]], emitted: Emitted) -> T:
    """Run a script to its end: `execute` answers its statements, `emitted` collects the rest."""
    answer: list[Any] | None = None
    try:
        while True:
            step = script.send(answer)  # type: ignore[arg-type]  # the first send must be None
            if type(step) is Emit:
                emitted.setdefault(step.topic, []).extend(step.values)
                answer = []
            elif type(step) is Together:
                for one in step.statements:
                    execute(one)
                answer = []
            elif isinstance(step, (Statement, Built)):
                answer = execute(step)
            else:
                raise _wrong_step(step)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        script.close()


async def drive_async(
    script: Script[T],
    execute: Callable[[Statement | Built | Together], Awaitable[list[Any]]],
    emitted: Emitted,
) -> T:
    """`drive` for an engine that waits for a server: the same script, with `await` between its steps."""
    answer: list[Any] | None = None
    try:
        while True:
            try:
                step = script.send(answer)  # type: ignore[arg-type]  # the first send must be None
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            if type(step) is Emit:
                emitted.setdefault(step.topic, []).extend(step.values)
                answer = []
            elif type(step) is Together:
                await execute(step)
                answer = []
            elif isinstance(step, (Statement, Built)):
                answer = await execute(step)
            else:
                raise _wrong_step(step)
    finally:
        script.close()


def _wrong_step(step: object) -> InvalidInputError:
    return InvalidInputError(
        f"A script yielded {type(step).__name__}.",
        "Expected Statement(...).",
        "Yield statements only; call another script with `yield from`.",
    )
