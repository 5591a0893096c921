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
from abathur.engines.postgres_connection import Ending, Executor, connect, transaction
from abathur.engines.postgres_faults import DRIVER, Transient, is_orderly, translate
from abathur.engines.postgres_pool import LONGEST_PAUSE, Pool
from abathur.errors import AbathurError, OutcomeUnknownError, StatementError
from abathur.script import Built, Emitted, ScriptFunction, drive_async, start

BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
SAVEPOINT: Final = "abathur_batch"

NUMBER: Final = Built("SELECT pg_current_xact_id_if_assigned()::text AS xid")
NUMBER_AND_NOTIFY: Final = "SELECT pg_current_xact_id()::text AS xid, pg_notify(?, ?)"
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
        self._notify = Built(NUMBER_AND_NOTIFY, (channel, sender))

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
                again = without(group, guilty.batch, guilty.error) if _is_alone(group) else [group]
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
                run = self._run_carefully if careful and not _is_alone(group) else self._run
                answers += await run(batch, execute, now, emitted)
            await self._commit(raw, await self._end(execute, emitted, now), emitted)
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

    async def _end(self, execute: Executor, emitted: Emitted, now: int) -> str | None:
        """Drive the closing script and notify, which goes along with its last statements; the number."""
        ending = Ending(execute)
        try:
            if emitted and self._closing is not None:
                await drive_async(self._closing.script(emitted, now), ending, {})
            (row,) = await ending.last(self._notify if emitted else NUMBER)
        except Transient:
            raise
        except Exception as error:
            raise _Unended(error) from error
        return row["xid"]  # type: ignore[no-any-return]

    async def _commit(self, raw: asyncpg.Connection, number: str | None, emitted: Emitted) -> None:
        """COMMIT, and find out what became of it if the connection is lost meanwhile."""
        name = self._options.server.name
        try:
            done = await raw.execute("COMMIT")
        except DRIVER as error:
            found = translate(error, name, "COMMIT")
            if not (isinstance(found, Transient) and found.lost):
                raise _ended(found) from error
            if number is None:
                return
            sealed = self._closing.landed if emitted and self._closing is not None else None
            if not await self._was_committed(number, sealed, is_orderly=is_orderly(error)):
                raise found from error
        else:
            if done != "COMMIT":  # what the server answers when an error in the transaction was passed over
                raise _Unended(StatementError("COMMIT", f"the server answered {done}"))

    async def _was_committed(
        self, number: str, sealed: ScriptFunction[bool | None] | None, *, is_orderly: bool
    ) -> bool:
        """Ask the server, when it can be reached again, what became of a transaction.

        A server that has crashed gives the numbers of those transactions again of which nothing had come
        to its disk. So "committed" may be said of somebody else's, unless the seal is there as well, or
        the server has ended the connection in good order.
        """
        began = time.monotonic()
        pause = 0.02
        while time.monotonic() < began + self._options.lock_timeout:
            status = await self._outcome(number, sealed)
            if status == "aborted":
                return False
            if status == "sealed" or (status == "committed" and is_orderly):
                return True
            if status in ("committed", None):  # None: it was so long ago that the server has forgotten
                break
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        # The chain of seals may go on after that transaction or not, so a new one is begun.
        self._closing = self._new_closing() if self._new_closing else None
        raise OutcomeUnknownError(self._options.server.name, round(time.monotonic() - began, 1))

    async def _outcome(self, number: str, sealed: ScriptFunction[bool | None] | None) -> str | None:
        """What the server says now, or whether the seal of the transaction is there."""
        try:
            connection = await connect(self._options)
        except (Transient, AbathurError):
            return "unreachable"
        try:
            status: str | None = await connection.fetchval(OUTCOME, number)
            if status == "committed" and sealed is not None:
                execute = Executor(connection, self._options, locks=False)
                landed = await drive_async(start(sealed, (), 0), execute, {})
                status = {True: "sealed", False: "aborted", None: status}[landed]
        except asyncpg.InvalidParameterValueError:
            return "aborted"  # a number that was not given yet: the server lost the transaction in a crash
        except (Transient, *DRIVER):
            return "unreachable"
        else:
            return status
        finally:
            connection.terminate()


def _is_alone(group: list[Batch]) -> bool:
    """Whether there is one caller only, so that a rollback takes nobody else along."""
    return len(group) == 1 and len(group[0].jobs) == 1


def _ended(found: AbathurError | Transient) -> Exception:
    return found if isinstance(found, Transient) else _Unended(found)
