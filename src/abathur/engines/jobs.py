"""What waits for the next transaction: callers' scripts, gathered into batches of one kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import define, field

from abathur.script import Emitted, Script, ScriptFunction, start


@define(eq=False)
class Job:
    """One caller's script, and what became of it."""

    fn: ScriptFunction[Any]
    args: tuple[Any, ...]
    merged: bool
    reads: bool = False
    """It only reads, on a connection that is shared with the writer."""
    waiter: Any = None
    taken: bool = False
    done: bool = False
    settled: bool = False
    answer: Any = None
    error: BaseException | None = None

    def settle(self, answer: Any) -> None:
        """Keep the outcome; an exception among the answers of a merged script is its caller's."""
        self.settled = True
        if isinstance(answer, BaseException):
            self.error = answer
        else:
            self.answer = answer


@define(eq=False)
class Batch:
    """Jobs that one call of their script function answers together."""

    jobs: list[Job] = field(factory=list)

    def split(self) -> list[Batch]:
        """Each job by itself."""
        return [Batch([job]) for job in self.jobs]

    def start(self, now: int) -> Script[Any]:
        """Call the script function afresh for all of them."""
        first = self.jobs[0]
        args = ([job.args[0] for job in self.jobs],) if first.merged else first.args
        return start(first.fn, args, now)

    def answers(self, found: Any) -> list[tuple[Job, Any]]:
        """Each job with its part of what the script returned."""
        first = self.jobs[0]
        return list(zip(self.jobs, found, strict=True)) if first.merged else [(first, found)]

    def fail(self, error: BaseException) -> None:
        """Give every caller this error."""
        for job in self.jobs:
            job.error = error
            job.settled = True


def gather(jobs: Sequence[Job]) -> list[Batch]:
    """Merge jobs of one mergeable kind; keep the order in which the kinds first came, but read first.

    So a reader sees what was committed, and not what others are about to: their rows are sealed last.
    """
    batches: list[Batch] = []
    open_batches: dict[Any, Batch] = {}
    for job in jobs:
        batch = open_batches.get(job.fn) if job.merged else None
        if batch is None:
            batch = Batch()
            batches.append(batch)
            if job.merged:
                open_batches[job.fn] = batch
        batch.jobs.append(job)
    return sorted(batches, key=_writes) if len(batches) > 1 else batches


def _writes(batch: Batch) -> bool:
    return not batch.jobs[0].reads


def settle(answers: Iterable[tuple[Job, Any]], emitted: Emitted, committed: Emitted) -> None:
    """What follows a commit: keep its answers, and what it emitted with that of the commits before it."""
    for job, answer in answers:
        job.settle(answer)
    for topic, values in emitted.items():
        committed.setdefault(topic, []).extend(values)


def forget(emitted: Emitted, before: dict[str, int]) -> None:
    """Take back what was emitted after there were `before` values of each topic."""
    for topic, values in emitted.items():
        del values[before.get(topic, 0) :]


def without(group: Sequence[Batch], guilty: Batch, error: Exception) -> list[list[Batch]]:
    """What to run again after an error of `guilty` has cost everybody the transaction."""
    those = set(guilty.jobs)  # the batch itself may be a part of one of the group
    rest = [Batch(left) for batch in group if (left := [job for job in batch.jobs if job not in those])]
    if len(guilty.jobs) == 1:
        guilty.fail(error)
        return [rest] if rest else []
    return [rest + guilty.split()]


def one_by_one(group: Sequence[Batch], error: Exception) -> list[list[Batch]]:
    """What to run again when the end of the transaction has failed, so that nobody knows who is guilty."""
    singles = [single for batch in group for single in batch.split()]
    if len(singles) == 1:
        singles[0].fail(error)
        return []
    return [[single] for single in singles]
