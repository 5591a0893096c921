"""Group commit: many callers' scripts in one transaction, each caller with its own outcome.

Runs on the writer's thread. Calls of one kind arrive merged in a `Batch`. When something fails,
only the guilty caller gets the error: a savepoint is rolled back and the members of its batch run
one by one. Nobody is told "done" without a commit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from abathur.engines.base import Closing, GivenClock
from abathur.engines.clock import Clock
from abathur.engines.connection import Executor
from abathur.engines.faults import TRANSACTION_IS_GONE
from abathur.engines.jobs import Batch, Job, forget, one_by_one, settle, without
from abathur.errors import EngineError, OpenError
from abathur.script import Emitted, ScriptFunction, drive, start


class _Lost(Exception):  # noqa: N818  # a signal inside of this module
    """The transaction cannot go on because of this batch."""

    def __init__(self, batch: Batch, error: Exception) -> None:
        self.batch = batch
        self.error = error


SAVEPOINT: Final = "abathur_batch"


class GroupCommit:
    """Runs batches in as few transactions as their errors allow."""

    def __init__(
        self,
        executor: Executor,
        clock: Clock | GivenClock,
        closing: Closing | None,
        acquire: Callable[[], None],
        release: Callable[[], None],
        recorded: ScriptFunction[int] | None = None,
    ) -> None:
        self._execute = executor
        self._clock = clock
        self._closing = closing
        self._acquire = acquire
        self._release = release
        self._recorded = recorded
        self._data_version: int | None = None

    def __call__(self, batches: list[Batch]) -> Emitted:
        """Settle every job of `batches`; return what the committed scripts emitted."""
        committed: Emitted = {}
        groups = [batches]
        while groups:
            group = groups.pop(0)
            try:
                self._acquire()
            except (EngineError, OpenError) as error:
                _fail(group, error)
                continue
            try:
                again = self._transact(group, committed)
            finally:
                self._release()
            groups[:0] = again
        return committed

    def _transact(self, group: list[Batch], committed: Emitted) -> list[list[Batch]]:
        """One transaction. Returns the groups that have to be run again without the guilty one."""
        emitted: Emitted = {}
        answers: list[tuple[Job, Any]] = []
        try:
            self._execute.begin("BEGIN IMMEDIATE")
        except (EngineError, OpenError) as error:
            _fail(group, error)
            return []
        try:
            if self._recorded is not None:
                self._catch_up(self._recorded)
            now = self._clock.now()
            for batch in group:
                answers += self._run(batch, now, emitted, savepoint=len(group) > 1)
            if emitted and self._closing is not None:
                drive(self._closing.script(emitted, now), self._execute, {})
            self._execute.commit()
            if emitted and self._closing is not None:
                self._closing.committed()
        except _Lost as lost:
            self._execute.roll_back()
            return _without(group, lost)
        except Exception as error:  # noqa: BLE001  # it goes to the callers
            self._execute.roll_back()
            return _one_by_one(group, error)
        except BaseException:
            self._execute.roll_back()
            raise
        settle(answers, emitted, committed)
        return []

    def _catch_up(self, recorded: ScriptFunction[int]) -> None:
        """Let the clock show no less than what others have recorded since our last transaction.

        They may have seen a clock of the host that was ahead for a moment, and have counted their
        leases from there. To ask whether anybody has written costs 2 us.
        """
        version = self._execute.connection.execute("PRAGMA data_version").fetchone()["data_version"]
        if version != self._data_version:
            self._clock.at_least(drive(start(recorded, (), 0), self._execute, {}))
            self._data_version = version

    def _run(self, batch: Batch, now: int, emitted: Emitted, *, savepoint: bool) -> list[tuple[Job, Any]]:
        if not savepoint:
            try:
                return self._drive(batch, now, emitted)
            except Exception as error:
                raise _Lost(batch, error) from error
        before = {topic: len(values) for topic, values in emitted.items()}
        self._execute.control(f"SAVEPOINT {SAVEPOINT}")
        try:
            answers = self._drive(batch, now, emitted)
        except Exception as error:
            if not self._execute.connection.in_transaction or isinstance(error, TRANSACTION_IS_GONE):
                raise _Lost(batch, error) from error
            self._execute.control(f"ROLLBACK TO {SAVEPOINT}")
            self._execute.control(f"RELEASE {SAVEPOINT}")
            forget(emitted, before)
            if len(batch.jobs) == 1:
                return [(batch.jobs[0], error)]
            return [
                answer
                for single in batch.split()
                for answer in self._run(single, now, emitted, savepoint=True)
            ]
        self._execute.control(f"RELEASE {SAVEPOINT}")
        return answers

    def _drive(self, batch: Batch, now: int, emitted: Emitted) -> list[tuple[Job, Any]]:
        return batch.answers(drive(batch.start(now), self._execute, emitted))


def _without(group: list[Batch], lost: _Lost) -> list[list[Batch]]:
    if isinstance(lost.error, TRANSACTION_IS_GONE):
        # Nobody was applied, not even those that had failed by themselves: they were judged
        # against rows that are gone.
        _fail(group, lost.error)
        return []
    return without(group, lost.batch, lost.error)


def _one_by_one(group: list[Batch], error: Exception) -> list[list[Batch]]:
    if isinstance(error, TRANSACTION_IS_GONE):
        _fail(group, error)
        return []
    return one_by_one(group, error)


def _fail(group: list[Batch], error: BaseException) -> None:
    for batch in group:
        batch.fail(error)
