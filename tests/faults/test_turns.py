"""R16 and R23: many processes that write to one file at once all get their turn, and one key is one task."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from abathur import Database
from abathur.errors import LockTimeoutError
from tests.faults.children import Start
from tests.faults.conftest import new_database
from tests.faults.proof import check


def one_key(start: Start, path: Path | str, keys: int, prefix: str = "key") -> None:
    """8 processes submit the same keys at once: each key must be one task, and all must be told which."""
    processes = [start("submitter", path, keys, prefix) for _ in range(8)]
    for process in processes:
        process.line(0)
    for process in processes:
        process.go()
    for process in processes:
        assert process.end() == 0, process.errors
    answers = [[one for line in process.lines[1:] for one in line.split()] for process in processes]
    assert len(set(answers[0])) == keys
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.row("R23")
@pytest.mark.timeout(90)
def test_one_key_from_eight_processes_is_one_task(start, tmp_path, budget, figure):
    keys = 250
    total = 0
    for number in budget(quick=1_000, long=10_000, each=keys):
        path = new_database(tmp_path / f"{number}.db")
        one_key(start, path, keys)
        found, moved = check(path)
        assert len(found) == moved == keys
        total += keys
    figure(f"R23: {total:,} keys from 8 processes: {total:,} tasks")


@pytest.mark.row("R16")
@pytest.mark.timeout(120)
def test_eight_processes_that_write_at_once_all_get_their_turn(start, tmp_path, budget, figure):
    seconds = 10 if budget.seconds is None else 30
    slowest, waits, transactions = [], [], 0
    for number in budget(quick=1, long=5):
        path = new_database(tmp_path / f"{number}.db")
        processes = [start("writer", path, seconds) for _ in range(8)]
        for process in processes:
            process.line(0)
        for process in processes:
            process.go()
        counts = []
        for process in processes:
            assert process.end() == 0, process.errors
            count, longest = process.line(1).split()
            counts.append(int(count))
            waits.append(float(longest))
        mean = sum(counts) / len(counts)
        slowest.append(min(counts) / mean)
        transactions += sum(counts)
        assert min(counts) >= mean / 2, counts
        assert max(waits) < 2, waits
        found, _ = check(path)
        assert len(found) == sum(counts)
    figure(
        f"R16: 8 processes, {len(slowest)} x {seconds} s: {transactions:,} transactions, no error, slowest "
        f"{min(slowest):.0%} of the mean, longest wait {max(waits) * 1000:.0f} ms"
    )


@pytest.mark.row("R16")
@pytest.mark.timeout(60)
def test_a_process_that_is_stopped_while_it_holds_the_lock_is_named(start, path, figure):
    holder = start("holder", path)
    holder.line(0)
    holder.send(signal.SIGSTOP)

    async def wait() -> tuple[LockTimeoutError, float]:
        async with Database(path, environment="test", lock_timeout=0.5) as db:
            began = time.monotonic()
            with pytest.raises(LockTimeoutError) as caught:
                await db.tasks.enqueue("x")
            assert await db.tasks.list() == [], "who only reads does not wait"
            waited = time.monotonic() - began
            holder.end(kill=True)
            await db.tasks.enqueue("y")
            return caught.value, waited

    error, waited = asyncio.run(wait())
    assert error.pid == holder.pid
    assert str(holder.pid) in str(error)
    assert len(check(path)[0]) == 1
    figure(f"R16: a holder that is stopped is named after {waited:.1f} s; killed, it lets the next one in")
