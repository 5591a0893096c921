"""Wakes those of this process who wait for tasks, as soon as a commit concerns them.

Commits of this process are announced with what they moved; of other processes it is only known
that something was committed, so everybody looks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from abathur.script import Emitted
from abathur.states import CANCELLED, READY, TERMINAL
from abathur.tasks import moves
from abathur.tasks.moves import Move


class Doorbell:
    """Rings when there may be work. `sure` is True when a commit of this process made a task ready."""

    def __init__(self, agent_types: frozenset[str] | None) -> None:
        self.agent_types = agent_types
        self.sure = False
        self._event = asyncio.Event()

    def ring(self, *, sure: bool) -> None:
        self.sure = self.sure or sure
        self._event.set()

    async def wait(self) -> None:
        """Wait for the next ring, or return at once if it rang since the last `clear`."""
        await self._event.wait()

    def clear(self) -> None:
        """Wait for another ring from now on. `sure` stays until somebody has looked for work."""
        self._event.clear()


class Watch:
    """One per Database."""

    def __init__(self) -> None:
        self._ends: dict[str, set[asyncio.Event]] = {}
        self._bells: list[Doorbell] = []
        self._cancelled: list[Callable[[str | None], None]] = []
        self._moves: list[Callable[[Sequence[Move]], None]] = []

    def committed(self, emitted: Emitted) -> None:
        """Announce what a transaction of this process moved."""
        ready: set[str] = set()
        moved = moves.observed(emitted)
        for move in moved:
            if move.status == READY:
                ready.add(move.agent_type)
            elif move.status in TERMINAL:
                for event in self._ends.get(move.task_id, ()):
                    event.set()
                if move.status == CANCELLED:
                    for heard in self._cancelled:
                        heard(move.task_id)
        if ready:
            for bell in self._bells:
                if bell.agent_types is None or not bell.agent_types.isdisjoint(ready):
                    bell.ring(sure=True)
        if moved:
            for told in self._moves:
                told(moved)

    def elsewhere(self) -> None:
        """Another process has committed something."""
        for events in self._ends.values():
            for event in events:
                event.set()
        for bell in self._bells:
            bell.ring(sure=False)
        for heard in self._cancelled:
            heard(None)

    @contextmanager
    def for_end(self, task_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when the task may have ended."""
        event = asyncio.Event()
        self._ends.setdefault(task_id, set()).add(event)
        try:
            yield event
        finally:
            self._ends[task_id].discard(event)
            if not self._ends[task_id]:
                del self._ends[task_id]

    @contextmanager
    def for_ready(self, agent_types: frozenset[str] | None) -> Iterator[Doorbell]:
        """A bell that rings when a task of one of these agent types may be ready; None means any."""
        bell = Doorbell(agent_types)
        self._bells.append(bell)
        try:
            yield bell
        finally:
            self._bells.remove(bell)

    @contextmanager
    def for_cancelled(self, heard: Callable[[str | None], None]) -> Iterator[None]:
        """Call `heard` with the id of each task that is cancelled; None means: some may have been."""
        self._cancelled.append(heard)
        try:
            yield
        finally:
            self._cancelled.remove(heard)

    @contextmanager
    def for_moves(self, heard: Callable[[Sequence[Move]], None]) -> Iterator[None]:
        """Call `heard` with the changes of status of each commit of this process."""
        self._moves.append(heard)
        try:
            yield
        finally:
            self._moves.remove(heard)
