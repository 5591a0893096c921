"""Real processes on one file, killed, stopped and competing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from abathur import Database
from tests.conformance.checks import QUERIES, check_invariants

ROOT = Path(__file__).parents[2]


class Process:
    """A program of `tests.faults.processes`; its output is read by a thread as it comes."""

    def __init__(self, *arguments: object) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.processes", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.lines: list[str] = []
        self.errors = ""
        self._new = threading.Condition()
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            with self._new:
                if line.endswith("\n"):  # a killed process may leave half a line
                    self.lines.append(line.strip())
                    self._new.notify_all()

    def _read_errors(self) -> None:
        assert self.popen.stderr is not None
        self.errors = self.popen.stderr.read()

    def line(self, number: int, timeout: float = 30) -> str:
        """The line with this number, counted from 0, as soon as it is there."""
        with self._new:
            assert self._new.wait_for(lambda: len(self.lines) > number, timeout), (self.lines, self.errors)
            return self.lines[number]

    def go(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write("go\n")
        self.popen.stdin.flush()

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def end(self, *, kill: bool = False, timeout: float = 60) -> int:
        """Wait for its end; returns its exit code."""
        if kill:
            self.popen.kill()
        try:
            code = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            pytest.fail(f"it did not end: {self.popen.args}\n{self.errors}")
        finally:
            for reader in self._readers:
                reader.join(10)
            for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return code


@pytest.fixture
def start():
    """Starts processes; what is left of them is killed after the test."""
    started: list[Process] = []

    def make(*arguments: object) -> Process:
        process = Process(*arguments)
        started.append(process)
        return process

    yield make
    for process in started:
        if process.popen.returncode is None:
            process.end(kill=True)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "agents.db"

    async def make() -> None:
        async with Database(path, environment="test"):
            pass

    asyncio.run(make())
    return path


def check(path: Path) -> tuple[dict[str, str], int]:
    """The statuses of all tasks and the number of transitions, after every check there is."""

    async def look() -> tuple[dict[str, str], int]:
        async with Database(path, queries=QUERIES, environment="test") as db:
            moved = await check_invariants(db)
            found: dict[str, str] = {}
            after = None
            while page := await db.tasks.list(limit=10_000, after=after):
                found.update((task.id, task.status) for task in page)
                after = page[-1].id
            return found, moved

    answer = asyncio.run(look())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    return answer


@pytest.mark.timeout(120)
def test_workers_and_producers_that_are_killed_lose_nothing_and_do_nothing_twice(start, path, figure):
    """R1 in small: 4 workers and 2 producers, each kill -9 at a random instant."""
    kills_wanted = 40
    draw = random.Random()
    everybody: list[Process] = []
    slots: dict[str, Process] = {}

    def place(slot: str) -> None:
        kind = slot.split("-", maxsplit=1)[0]
        more = ("0.5",) if kind == "worker" else ()
        process = start(kind, path, f"{slot}.{len(everybody)}", *more)
        slots[slot] = process
        everybody.append(process)

    for slot in [*(f"worker-{n}" for n in range(4)), *(f"producer-{n}" for n in range(2))]:
        place(slot)
    began = time.monotonic()
    for process in slots.values():
        process.line(0)
    kills = 0
    while kills < kills_wanted and time.monotonic() - began < 40:
        time.sleep(draw.uniform(0.05, 0.35))
        # One that has not said anything yet is still starting, and its death would show little.
        awake = [slot for slot, process in slots.items() if process.lines]
        if not awake:
            continue
        slot = draw.choice(awake)
        assert slots[slot].popen.poll() is None, slots[slot].errors
        slots[slot].end(kill=True)
        kills += 1
        place(slot)
    for process in slots.values():
        process.end(kill=True)
    finishers = [start("worker", path, f"finisher-{n}", "5", "until empty") for n in range(2)]
    for process in finishers:
        assert process.end(timeout=60) == 0, process.errors
    everybody += finishers

    accepted, completions = set(), Counter()
    for process in everybody:
        program = process.popen.args[3]
        for line in process.lines:
            if program == "producer":
                accepted.update(line.split())
            elif line != "lost":
                completions[line.split()[0]] += 1
    found, moved = check(path)
    lost = accepted - set(found)
    unfinished = [task_id for task_id, status in found.items() if status != "completed"]
    twice = [task_id for task_id, times in completions.items() if times > 1]
    assert not lost
    assert not unfinished
    assert not twice
    assert set(completions) <= set(found)
    assert kills == kills_wanted
    assert len(accepted) > 50
    figure(
        f"{kills} kills in {time.monotonic() - began:.0f} s, {len(found):,} tasks "
        f"({len(accepted):,} acknowledged), {moved:,} transitions: 0 lost, 0 unfinished, 0 twice",
    )


def zombies(start, path: Path, writes: list[str], *mutant: str) -> list[str]:
    """Workers that are stopped for longer than their lease while another does their task.

    Returns what each is told when it goes on, after the other has claimed and before it has completed.
    """

    async def make(count: int) -> list[str]:
        async with Database(path, environment="test") as db:
            # Each has an agent type of its own, so that none is given another's task.
            made = await db.tasks.enqueue_many(
                {"prompt": "x", "agent_type": f"zombie-{n}"} for n in range(count)
            )
            return [task.id for task in made]

    async def take_over() -> list[str]:
        async with Database(path, environment="test") as db:
            found = []
            deadline = time.monotonic() + 20
            while len(found) < len(writes) and time.monotonic() < deadline:
                found += await db.tasks.claim("other", limit=len(writes), lease=600)
                await asyncio.sleep(0.02)
            assert {claim.task.id for claim in found} == set(made)
            assert {claim.fence for claim in found} == {2}
            answers = []
            for process in stopped:
                process.send(signal.SIGCONT)
                process.go()
            answers = [process.line(1) for process in stopped]
            for claim in found:
                with contextlib.suppress(Exception):  # the mutant may have ended it
                    await db.tasks.complete(claim, {"by": "other"})
            results = [(await db.tasks.get(task_id)).result for task_id in made]
            return [*answers, *("right" if result == {"by": "other"} else "wrong" for result in results)]

    made = asyncio.run(make(len(writes)))
    stopped = [start("zombie", path, f"zombie-{n}", write, *mutant) for n, write in enumerate(writes)]
    for process in stopped:
        assert process.line(0).startswith("claimed"), process.errors
        process.send(signal.SIGSTOP)
    answers = asyncio.run(take_over())
    for process in stopped:
        assert process.end() == 0, process.errors
    return answers


WRITES = ["complete", "fail", "release", "heartbeat", "complete", "complete"]


@pytest.mark.timeout(90)
def test_a_worker_that_was_stopped_for_longer_than_its_lease_is_refused(start, path, figure):
    """R2 in small."""
    answers = zombies(start, path, WRITES)
    assert answers == ["lost"] * len(WRITES) + ["right"] * len(WRITES)
    found, _ = check(path)
    assert set(found.values()) == {"completed"}
    figure(f"{len(WRITES)} zombies: every late write refused, every result the right one")


@pytest.mark.timeout(90)
def test_without_the_fence_in_its_sql_the_same_test_fails(start, path):
    """The mutant shows that the test above has teeth."""
    answers = zombies(start, path, WRITES, "mutant")
    assert answers.count("accepted") == len(WRITES), answers
    assert "wrong" in answers


@pytest.mark.timeout(90)
def test_one_key_from_eight_processes_is_one_task(start, path, figure):
    """R23 in small."""
    keys = 300
    processes = [start("submitter", path, keys) for _ in range(8)]
    for process in processes:
        process.line(0)
    for process in processes:
        process.go()
    for process in processes:
        assert process.end() == 0, process.errors
    answers = [[task_id for line in process.lines[1:] for task_id in line.split()] for process in processes]
    assert len(answers[0]) == keys
    assert all(answer == answers[0] for answer in answers)
    found, moved = check(path)
    assert set(found) == set(answers[0])
    assert moved == keys
    figure(f"{keys} keys from 8 processes: {len(found)} tasks")


@pytest.mark.timeout(90)
def test_eight_processes_that_write_at_once_all_get_their_turn(start, path, figure):
    """R16 in small."""
    processes = [start("writer", path, 4) for _ in range(8)]
    for process in processes:
        process.line(0)
    for process in processes:
        process.go()
    counts, waits = [], []
    for process in processes:
        assert process.end() == 0, process.errors
        count, longest = process.line(1).split()
        counts.append(int(count))
        waits.append(float(longest))
    mean = sum(counts) / len(counts)
    figure(
        f"8 processes, 4 s: {sum(counts):,} transactions, slowest {min(counts) / mean:.0%} of the mean, "
        f"longest wait {max(waits) * 1000:.0f} ms",
    )
    assert min(counts) >= mean / 2, counts
    assert max(waits) < 2, waits
    found, _ = check(path)
    assert len(found) == sum(counts)
