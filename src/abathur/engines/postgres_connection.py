"""One asyncpg connection that executes the steps of scripts, and the settings that each has."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final

import asyncpg
from attrs import field, frozen

from abathur.engines.postgres_faults import DRIVER, Transient, is_duplicate, translate
from abathur.engines.urls import Server
from abathur.errors import ConstraintError, InvalidInputError, InvalidUrlError
from abathur.script import Built, Statement, Together
from abathur.sql import Catalog, Query
from abathur.sql.sets import SetBased, joined

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for one try to connect."""
IDLE_IN_TRANSACTION: Final = "10s"
"""A process that is stopped in the midst of a transaction keeps others waiting for so long at most."""
WHOLE: Final = frozenset({"pg_catalog.int2", "pg_catalog.int4", "pg_catalog.int8"})
_PLACE = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\?")


@frozen
class Options:
    """How connections are made: the same for all of one engine."""

    server: Server
    catalog: Catalog
    durability: str
    lock_timeout: float
    """Seconds."""
    types: dict[str, tuple[str, ...]] = field(factory=dict)
    """The types of the parameters of statements for which they had to be known, by name."""
    for_many: dict[str, SetBased] = field(factory=dict)
    """The statements that were executed for many rows, by name."""


BY_KEY: Final = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
"""For writes, which find their rows by key. The tables of a queue grow and shrink faster than their
statistics, and plans are kept: one that was made for an empty table must not read all of a full one."""
BY_SIZE: Final = {"plan_cache_mode": "force_custom_plan"}
"""For reads, which may look at much: a plan is made each time, from what is known of the tables then."""


async def connect(options: Options, **settings: str) -> asyncpg.Connection:
    """Open a connection. Raises Transient where it may work later, else an OpenError."""
    server = options.server
    settings = {
        "application_name": "abathur",
        "search_path": f'"{server.schema}"',
        "timezone": "UTC",
        "lock_timeout": f"{max(int(options.lock_timeout * 1000), 1)}ms",
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION,
        # A host that has vanished lets go of its locks after some seconds, not after two hours.
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "synchronous_commit": "on" if options.durability == "full" else "off",
        "client_min_messages": "warning",
        "jit": "off",
        **settings,
    }
    try:
        return await asyncpg.connect(
            server.dsn, timeout=CONNECT_TIMEOUT, statement_cache_size=512, server_settings=settings
        )
    except ValueError as error:  # the driver's own errors about the URL are ValueErrors too
        raise _unusable(error, server.name) from None
    except DRIVER as error:
        raise translate(error, server.name, "connecting") from error


def _unusable(error: ValueError, name: str) -> InvalidUrlError:
    """An option of the URL that only the driver knows. Words that are not its own may hold a password."""
    said = " ".join(str(error).split()) if isinstance(error, asyncpg.InterfaceError) else "it cannot be read"
    return InvalidUrlError(
        f"The driver cannot use the URL {name}: {said.removesuffix('.')}.",
        "Expected hosts, ports and options that asyncpg knows.",
        "Correct the URL, or what PGHOST, PGPORT and the like say.",
    )


class Executor:
    """Executes the statements of scripts in the transaction of one connection."""

    def __init__(self, raw: asyncpg.Connection, options: Options, *, locks: bool) -> None:
        self._raw = raw
        self._options = options
        self._locks = locks

    async def __call__(self, step: Statement | Built | Together) -> list[Any]:
        try:
            return await (self._together(step) if isinstance(step, Together) else self._execute(step))
        except (*DRIVER, KeyError, OverflowError, UnicodeError) as error:
            found = translate(error, self._options.server.name, step.name)
            if self._is_ours(step) and isinstance(found, ConstraintError) and is_duplicate(error):
                # Somebody else made the same row since our script looked; the next look will see it.
                raise Transient(found, lost=False) from error
            raise found from error

    def _is_ours(self, step: Statement | Built | Together) -> bool:
        if isinstance(step, Together):
            return all(isinstance(one, Built) or self._is_ours(one) for one in step.statements)
        return isinstance(step, Statement) and self._options.catalog.is_ours(step.name)

    async def _execute(self, step: Statement | Built) -> list[Any]:
        if isinstance(step, Built):
            return list(await self._raw.fetch(_numbered(step), *step.params))
        query = self._options.catalog[step.name]
        if step.rows is not None:
            return [{"changed": await self._many(query, step)}]
        sql = query.numbered + query.locking if self._locks else query.numbered
        values = query.bind(step.params)
        if any(map(_is_fraction, values)):
            await self._refuse_fractions(query, values)
        return list(await self._raw.fetch(sql, *values))

    async def _many(self, query: Query, step: Statement) -> int:
        rows = _bound(query, step)
        if not rows:
            return 0
        if len(rows) > 1 and (found := await self._for_many(query, rows)) is not None:
            sql, values = found
            return _changed(await self._raw.execute(sql, *values))
        changed = 0
        for row in rows:
            if any(map(_is_fraction, row)):
                await self._refuse_fractions(query, row)
            changed += _changed(await self._raw.execute(query.numbered, *row))
        return changed

    async def _together(self, step: Together) -> list[Any]:
        """All statements as parts of one, in one round trip; the rows that the last of them answers with."""
        texts: list[str] = []
        values: list[Any] = []
        for one in step.statements:
            if isinstance(one, Built):
                texts.append(_numbered(one))
                values += one.params
                continue
            query = self._options.catalog[one.name]
            rows = [query.bind(one.params)] if one.rows is None else _bound(query, one)
            if not rows:
                continue
            if any(map(_is_fraction, rows[0])):
                await self._refuse_fractions(query, rows[0])
            found = (query.numbered, rows[0]) if len(rows) == 1 else await self._for_many(query, rows)
            if found is None:  # only an application's
                await self._execute(one)
                continue
            texts.append(found[0])
            values += found[1]
        return list(await self._raw.fetch(joined(tuple(texts)), *values)) if texts else []

    async def _for_many(self, query: Query, rows: list[Any]) -> tuple[str, Sequence[Any]] | None:
        """The text of a statement of our own that takes all rows at once, and its values.

        An application's are executed row by row: two of its rows may well change the same one.
        """
        if not self._options.catalog.is_ours(query.name):
            return None
        known = self._options.for_many.get(query.name)
        if known is None:
            known = self._options.for_many[query.name] = SetBased(query.numbered, await self._types(query))
        return known.over(rows)

    async def _refuse_fractions(self, query: Query, values: Sequence[Any]) -> None:
        """Refuse a fraction where the statement takes a whole number: the driver would cut it off."""
        for name, kind, value in zip(query.names, await self._types(query), values, strict=True):
            if kind in WHOLE and _is_fraction(value):
                raise InvalidInputError(
                    f"The statement {query.name} was given :{name} = {value!r}.",
                    f"Expected a whole number: it is {kind.rpartition('.')[2]} there.",
                    "Round it, or declare the column REAL.",
                )

    async def _types(self, query: Query) -> tuple[str, ...]:
        """The types of a statement's parameters, each with its schema."""
        found = self._options.types.get(query.name)
        if found is None:
            prepared = await self._raw.prepare(query.numbered)
            found = tuple(f"{one.schema}.{one.name}" for one in prepared.get_parameters())
            self._options.types[query.name] = found
        return found

    async def control(self, sql: str) -> None:
        """Execute BEGIN, COMMIT, SAVEPOINT and the like."""
        try:
            await self._raw.execute(sql)
        except DRIVER as error:
            raise translate(error, self._options.server.name, sql) from error


class Ending:
    """Executes the closing script's steps; its last `Together` waits, so that more can go along with it."""

    def __init__(self, execute: Executor) -> None:
        self._execute = execute
        self._waiting: tuple[Statement | Built, ...] = ()

    async def __call__(self, step: Statement | Built | Together) -> list[Any]:
        if self._waiting:
            waiting, self._waiting = self._waiting, ()
            await self._execute(Together(*waiting))
        if isinstance(step, Together):
            self._waiting = step.statements
            return []
        return await self._execute(step)

    async def last(self, step: Built) -> list[Any]:
        """Execute what waits, and with it the last statement of the transaction."""
        return await self._execute(Together(*self._waiting, step))


def _bound(query: Query, step: Statement) -> list[Any]:
    """The rows of a statement, each a tuple in the order of its places."""
    rows: Any = step.rows or ()
    if step.columns is None:
        return [query.bind(row) for row in rows]
    arrange = query.binder(step.columns)
    return [arrange(row) for row in rows] if arrange else list(rows)


def _numbered(step: Built) -> str:
    if not step.params:
        return step.sql
    places = iter(range(1, len(step.params) + 1))
    return _PLACE.sub(lambda match: f"${next(places)}" if match[0] == "?" else match[0], step.sql)


def _is_fraction(value: object) -> bool:
    if isinstance(value, float):
        return not value.is_integer()
    return isinstance(value, Decimal) and not (value.is_finite() and value == value.to_integral_value())


def _changed(status: str) -> int:
    """How many rows a command's tag such as ``UPDATE 3`` or ``INSERT 0 3`` tells of."""
    number = status.rpartition(" ")[2]
    return int(number) if number.isdecimal() else 0


@asynccontextmanager
async def transaction(raw: asyncpg.Connection, options: Options, begin: str) -> AsyncIterator[Executor]:
    """A transaction that is rolled back at the end, unless the body has ended it.

    begin: what opens it; the rows that statements name are locked unless it says READ ONLY. Where not even
    ROLLBACK works, or the body is cancelled, the connection is given up: the server then rolls back.
    """
    execute = Executor(raw, options, locks="READ ONLY" not in begin)
    await execute.control(begin)
    try:
        yield execute
    except BaseException as error:
        if not isinstance(error, Exception):
            raw.terminate()
        raise
    finally:
        try:
            if not raw.is_closed() and raw.is_in_transaction():
                await raw.execute("ROLLBACK")
        except DRIVER:  # it is lost, perhaps so that even asking it fails
            with contextlib.suppress(*DRIVER):
                raw.terminate()
