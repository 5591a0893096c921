"""Group commit on PostgreSQL: many callers' scripts in one transaction, each caller with its own outcome.

First without savepoints. When a script fails, everything is rolled back and run again with a savepoint for
each batch, so that only the guilty caller gets the error. When the server could not apply the transaction
(a deadlock, a lost connection), all of it is run again; when the connection is lost during COMMIT, the server
is asked what became of it. Nobody is told "done" without a commit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import asyncpg

from abathur.engines.base import Closing
from abathur.engines.jobs import Batch, Job, forget, one_by_one, settle, without
from abathur.engines.postgres_clock import ServerClock
from abathur.engines.postgres_connection import Executor, connect, transaction
from abathur.engines.postgres_faults import DRIVER, Transient, translate
from abathur.engines.postgres_pool import LONGEST_PAUSE, Pool
from abathur.errors import AbathurError, OutcomeUnknownError
from abathur.script import Emitted, drive_async

BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
SAVEPOINT: Final = "abathur_batch"

NUMBER: Final = "SELECT pg_current_xact_id_if_assigned()::text AS xid"
NUMBER_AND_NOTIFY: Final = f"{NUMBER}, pg_notify($1, $2)"
"""The last statement: the transaction's number, and one notification for all that it has changed."""
OUTCOME: Final = "SELECT pg_xact_status($1::text::xid8)"

Answers = list[tuple[Job, Any]]


class _Guilty(Exception):  # noqa: N818  # a signal inside of this module
    """A batch failed by itself, and the transaction cannot go on."""

    def __init__(self, batch: Batch, error: Exception) -> None:
        self.batch = batch
        self.error = error


class _Unended(Exception):  # noqa: N818  # the same
    """What ends the transaction has failed, and nobody knows through whom."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class PostgresGroup:
    """Runs batches in as few transactions as their errors allow."""

    def __init__(
        self,
        pool: Pool,
        clock: ServerClock,
        closing: Callable[[], Closing] | None,
        channel: str,
        sender: str,
    ) -> None:
        self._pool = pool
        self._options = pool.options
        self._clock = clock
        self._new_closing = closing
        self._closing = closing() if closing else None
        self._notify = (channel, sender)

    async def __call__(self, batches: list[Batch]) -> Emitted:
        """Settle every job of `batches`; return what the committed scripts emitted."""
        committed: Emitted = {}
        groups = [(batches, False)]
        while groups:
            group, careful = groups.pop(0)
            again: list[list[Batch]] = []
            try:
                answers, emitted = await self._pool.write(partial(self._transact, group, careful))
            except _Guilty as guilty:
                is_alone = len(group) == 1 and len(group[0].jobs) == 1
                again = without(group, guilty.batch, guilty.error) if is_alone else [group]
            except _Unended as unended:
                again = one_by_one(group, unended.error)
            except AbathurError as error:
                for batch in group:
                    batch.fail(error)
            else:
                settle(answers, emitted, committed)
            groups[:0] = [(one, True) for one in again]
        return committed

    async def _transact(
        self, group: list[Batch], careful: bool, raw: asyncpg.Connection
    ) -> tuple[Answers, Emitted]:
        """One transaction: what to tell whom, and what was emitted."""
        answers: Answers = []
        emitted: Emitted = {}
        await self._clock.prepare(raw)
        async with transaction(raw, self._options, BEGIN) as execute:
            now = self._clock.now()
            for batch in group:
                run = self._run_carefully if careful and len(group) > 1 else self._run
                answers += await run(batch, execute, now, emitted)
            try:
                if emitted and self._closing is not None:
                    await drive_async(self._closing.script(emitted, now), execute, {})
            except Transient:
                raise
            except Exception as error:
                raise _Unended(error) from error
            await self._commit(raw, notify=bool(emitted))
        if emitted and self._closing is not None:
            self._closing.committed()
        return answers, emitted

    async def _run(self, batch: Batch, execute: Executor, now: int, emitted: Emitted) -> Answers:
        try:
            return batch.answers(await drive_async(batch.start(now), execute, emitted))
        except Transient:
            raise
        except Exception as error:
            raise _Guilty(batch, error) from error

    async def _run_carefully(self, batch: Batch, execute: Executor, now: int, emitted: Emitted) -> Answers:
        """Run a batch so that it can be taken back alone; if it fails, its jobs one by one."""
        before = {topic: len(values) for topic, values in emitted.items()}
        await execute.control(f"SAVEPOINT {SAVEPOINT}")
        try:
            answers = batch.answers(await drive_async(batch.start(now), execute, emitted))
        except Transient:
            raise
        except Exception as error:  # noqa: BLE001  # it goes to the caller
            await execute.control(f"ROLLBACK TO {SAVEPOINT}")
            await execute.control(f"RELEASE {SAVEPOINT}")
            forget(emitted, before)
            if len(batch.jobs) == 1:
                return [(batch.jobs[0], error)]
            singles = [await self._run_carefully(one, execute, now, emitted) for one in batch.split()]
            return [answer for some in singles for answer in some]
        await execute.control(f"RELEASE {SAVEPOINT}")
        return answers

    # -- the end -------------------------------------------------------------------------------

    async def _commit(self, raw: asyncpg.Connection, *, notify: bool) -> None:
        """COMMIT, and find out what became of it if the connection is lost meanwhile."""
        name = self._options.server.name
        try:
            number = await raw.fetchval(*((NUMBER_AND_NOTIFY, *self._notify) if notify else (NUMBER,)))
        except DRIVER as error:
            raise _ended(translate(error, name, "the end of the transaction")) from error
        try:
            await raw.execute("COMMIT")
        except DRIVER as error:
            found = translate(error, name, "COMMIT")
            if not (isinstance(found, Transient) and found.lost):
                raise _ended(found) from error
            if number is not None and not await self._was_committed(number):
                raise found from error

    async def _was_committed(self, number: str) -> bool:
        """Ask the server, when it can be reached again, what became of a transaction."""
        deadline = time.monotonic() + self._options.lock_timeout
        pause = 0.02
        while time.monotonic() < deadline:
            try:
                connection = await connect(self._options)
                try:
                    status = await connection.fetchval(OUTCOME, number)
                finally:
                    await connection.close()
            except (Transient, *DRIVER):
                status = "unreachable"
            if status in ("committed", "aborted"):
                return bool(status == "committed")
            if status is None:  # it was so long ago that the server has forgotten
                break
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        # The chain of seals may go on after that transaction or not, so a new one is begun.
        self._closing = self._new_closing() if self._new_closing else None
        raise OutcomeUnknownError(self._options.server.name, self._options.lock_timeout)


def _ended(found: AbathurError | Transient) -> Exception:
    return found if isinstance(found, Transient) else _Unended(found)
