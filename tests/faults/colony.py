"""Workers and producers on one database, which are killed and stopped; at the end all is compared."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from pathlib import Path

from attrs import define, field

from tests.faults.children import Child, Start
from tests.faults.proof import check

LEASE = 0.5


@define
class Total:
    """What the colonies of one test came to."""

    kills: int = 0
    stops: int = 0
    tasks: int = 0
    acknowledged: int = 0
    moves: int = 0
    refused: int = 0
    lost: list[str] = field(factory=list)
    unfinished: list[str] = field(factory=list)
    twice: list[str] = field(factory=list)
    wrong: list[str] = field(factory=list)
    """Tasks whose result is not that of their last claim."""

    @property
    def bad(self) -> int:
        return sum(map(len, (self.lost, self.unfinished, self.twice, self.wrong)))


class Colony:
    """4 workers and 2 producers on one database, a file or a URL. Who is killed is replaced at once."""

    def __init__(self, start: Start, path: Path | str, total: Total, *mutant: str) -> None:
        self._start, self.path, self._total, self._mutant = start, path, total, mutant
        self._everybody: list[Child] = []
        self._slots: dict[str, Child] = {}
        self._draw = random.Random()
        for slot in [*(f"worker-{n}" for n in range(4)), *(f"producer-{n}" for n in range(2))]:
            self._place(slot)

    def _place(self, slot: str) -> None:
        program = slot.partition("-")[0]
        more = (LEASE, "", *self._mutant) if program == "worker" else ()
        child = self._start(program, self.path, f"{slot}.{len(self._everybody)}", *more)
        self._slots[slot] = child
        self._everybody.append(child)

    def begin(self) -> None:
        """Wait until everybody has done something: who opens a database does not wait for its server."""
        for child in self._slots.values():
            child.line(0)

    def wait(self) -> None:
        """Let everybody work for a moment, and let those go on that were stopped long enough."""
        end = time.monotonic() + self._draw.uniform(0.02, 0.2)
        while (now := time.monotonic()) < end:
            for child in self._slots.values():
                if child.stopped_until is not None and child.stopped_until <= now:
                    child.send(signal.SIGCONT)
                    child.stopped_until = None
            time.sleep(0.005)

    def stop_one(self) -> None:
        """SIGSTOP a worker for longer than its lease."""
        going = [
            child
            for child in self._slots.values()
            if child.program == "worker" and child.stopped_until is None and child.lines
        ]
        if going:
            child = self._draw.choice(going)
            child.send(signal.SIGSTOP)
            child.stopped_until = time.monotonic() + LEASE * self._draw.uniform(1.1, 1.8)
            self._total.stops += 1

    def kill_one(self) -> None:
        """Kill -9 anybody, whatever it is doing: also one that is starting or stopped."""
        slot = self._draw.choice(list(self._slots))
        child = self._slots[slot]
        assert child.is_alive, f"{slot} ended by itself: {child.errors}"
        child.end(kill=True)
        self._total.kills += 1
        self._place(slot)

    def refused(self) -> int:
        return sum(child.lines.count("lost") for child in self._everybody)

    def finish(self) -> None:
        """Kill everybody, let two others do what is left, and compare with what everybody has said."""
        for child in self._slots.values():
            assert child.is_alive, child.errors
            child.end(kill=True)
        finishers = [self._start("worker", self.path, f"finisher-{n}", 5, "until empty") for n in range(2)]
        for child in finishers:
            assert child.end(timeout=120) == 0, child.errors
        accepted: set[str] = set()
        completions: Counter[str] = Counter()
        fences: dict[str, int] = {}
        for child in [*self._everybody, *finishers]:
            assert "Traceback" not in child.errors, child.errors
            for line in child.lines:
                if child.program == "producer":
                    accepted.update(line.split())
                elif line != "lost":
                    task_id, fence = line.split()
                    completions[task_id] += 1
                    fences[task_id] = int(fence)
        found, moved = check(self.path)
        total = self._total
        total.tasks += len(found)
        total.acknowledged += len(accepted)
        total.moves += moved
        total.refused += self.refused()
        total.lost += accepted - set(found)
        total.unfinished += [one for one, task in found.items() if task.status != "completed"]
        total.twice += [one for one, times in completions.items() if times > 1]
        total.wrong += [
            one
            for one, task in found.items()
            if (task.result or {}).get("fence") != task.fence or fences.get(one, task.fence) != task.fence
        ]
        assert set(completions) <= set(found)
