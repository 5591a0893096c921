"""Two transactions at once: one is held after one of its statements while the other goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from abathur import Database
from abathur.engines import postgres_group
from abathur.engines.postgres_connection import Executor, Options
from abathur.errors import AbathurError

MOMENT: Final = 0.02
"""Seconds for which the other one may run while the first is held: longer, and it waits for a lock."""

Call = Callable[[Database], Awaitable[Any]]


class Gate:
    """Holds the transactions of one Database after their `number`-th statement, the closing's included."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self._count = 0

    async def statement_done(self) -> None:
        self._count += 1
        if self._count == self.number and not self.reached.is_set():
            self.reached.set()
            await self.go_on.wait()


class Gated:
    """An Executor behind a gate."""

    def __init__(self, execute: Executor, gate: Gate) -> None:
        self._execute = execute
        self._gate = gate

    async def __call__(self, step: Any) -> list[Any]:
        answer = await self._execute(step)
        await self._gate.statement_done()
        return answer

    async def control(self, sql: str) -> None:
        await self._execute.control(sql)


class Pair:
    """Two Databases on one schema."""

    def __init__(self, first: Database, second: Database, patch: pytest.MonkeyPatch) -> None:
        self.first, self.second = first, second
        self._gate: Gate | None = None
        original = postgres_group.transaction
        held = first._engine._options  # type: ignore[attr-defined]

        @asynccontextmanager
        async def gated(raw: Any, options: Options, begin: str) -> AsyncIterator[Any]:
            async with original(raw, options, begin) as execute:
                gate = self._gate if options is held else None
                yield execute if gate is None else Gated(execute, gate)

        patch.setattr(postgres_group, "transaction", gated)

    async def race(self, number: int, one: Call, other: Call) -> tuple[Any, Any, bool]:
        """Hold `one` after its statement with this number, and let `other` do what it can meanwhile.

        Returns both answers, of which an AbathurError is one, and whether there was such a statement.
        """
        gate = self._gate = Gate(number)
        first = asyncio.ensure_future(answer(one, self.first))
        reached = asyncio.ensure_future(gate.reached.wait())
        await asyncio.wait([first, reached], return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        second = asyncio.ensure_future(answer(other, self.second))
        await asyncio.wait([second], timeout=MOMENT if gate.reached.is_set() else None)
        gate.go_on.set()
        answers = await asyncio.gather(first, second)
        self._gate = None
        return *answers, gate.reached.is_set()


async def answer(call: Call, db: Database) -> Any:
    try:
        return await call(db)
    except AbathurError as error:
        return error
