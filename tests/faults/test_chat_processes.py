"""R22, the chat's part: a batch that several processes record is stored once, also when some of them die."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from abathur import Database
from tests.faults.children import Start
from tests.faults.conftest import new_database

BATCHES, SIZE = 40, 25


async def lines(path: Path | str) -> tuple[int, list[int]]:
    """How many lines were counted, and the numbers of those that are kept."""
    async with Database(path, environment="test") as db:
        counted = sum(one["chat_lines"] for one in await db.chat.top_chatters())
        assert (await db.chat.channel_stats())["total_users_seen"] == 7
        return counted, sorted(int(one["message"]) for one in await db.chat.recent(10_000))


def record_at_once(start: Start, path: Path | str) -> None:
    """Four processes record the same batches, each in its own order; two are killed on the way."""
    processes = [start("recorder", path, BATCHES, SIZE) for _ in range(4)]
    for process in processes:
        process.line(0)
    for process in processes:
        process.go()
    for process in processes[:2]:
        process.line(5)
        process.end(kill=True)
    for process in processes[2:]:
        assert process.end() == 0, process.errors
    said = [int(line.split()[1]) for process in processes for line in process.lines[1:]]
    # What a killed one had stored, and could not say any more, is at most one batch of its own.
    assert BATCHES * SIZE - 2 * SIZE <= sum(said) <= BATCHES * SIZE
    assert asyncio.run(lines(path)) == (BATCHES * SIZE, list(range(1, BATCHES * SIZE + 1)))


@pytest.mark.row("R22")
@pytest.mark.timeout(90)
def test_a_batch_that_four_processes_record_is_stored_once(start, tmp_path, budget, figure):
    rounds = 0
    for number in budget(quick=1, long=50):
        record_at_once(start, new_database(tmp_path / f"{number}.db"))
        rounds += 1
    figure(f"R22: {rounds} x {BATCHES * SIZE:,} events recorded by 4 processes, 2 of them killed: each once")


@pytest.mark.row("R22")
@pytest.mark.timeout(90)
def test_a_batch_that_four_processes_record_on_a_server_is_stored_once(start, postgres_url, figure):
    record_at_once(start, new_database(postgres_url))
    figure(
        f"R22: {BATCHES * SIZE:,} events recorded by 4 processes on PostgreSQL, 2 of them killed: each once"
    )
