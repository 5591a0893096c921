"""What the demo shows while it runs, on standard error: a live view on a terminal, else lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from attrs import frozen

from abathur.cli.output import clean, has_rich, note
from abathur.models import Task

EVERY: Final = 1.0
"""Seconds between two lines."""


@frozen
class Moment:
    """How things stand."""

    ended: int
    total: int
    running: Sequence[Task]
    workers: Mapping[str, int]
    seconds: float


class Screen(Protocol):
    """Something that shows how things stand, and says what happens."""

    def update(self, moment: Moment) -> None: ...

    def say(self, text: str) -> None: ...


class Silent:
    """Shows nothing: the answer is for a program."""

    def update(self, moment: Moment) -> None:
        pass

    def say(self, text: str) -> None:
        pass


class Lines:
    """One line now and then, for a log or a pipe."""

    def __init__(self) -> None:
        self._next = 0.0

    def update(self, moment: Moment) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        note(
            f"{moment.seconds:5.1f} s  {moment.ended:>4} of {moment.total} tasks done, "
            f"{len(moment.running)} running on {len(moment.workers)} workers"
        )

    def say(self, text: str) -> None:
        note(text)


class Live:
    """A bar, and what each worker is doing."""

    def __init__(self, live: Any) -> None:
        self._live = live

    def update(self, moment: Moment) -> None:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=max(moment.total, 1), completed=moment.ended, width=36),
            f"{moment.ended}/{moment.total} tasks",
            f"{moment.seconds:.1f} s",
        )
        workers = Table.grid(padding=(0, 2))
        busy: dict[str, list[str]] = {}
        for task in moment.running:
            busy.setdefault(task.worker or "", []).append(task.summary)
        for name in sorted(moment.workers.keys() | busy.keys(), key=lambda name: (len(name), name)):
            is_alive = name in moment.workers
            doing = Text(clean("; ".join(busy.get(name, ["-"]))), overflow="ellipsis", no_wrap=True)
            state = Text(f"pid {moment.workers[name]}") if is_alive else Text("killed", style="bold red")
            workers.add_row(Text(name, style="cyan" if is_alive else "red"), state, doing)
        self._live.update(Group(head, workers), refresh=True)

    def say(self, text: str) -> None:
        self._live.console.print(clean(text), markup=False, highlight=False, style="bold")


@contextmanager
def screen(*, quiet: bool) -> Iterator[Screen]:
    """The screen that suits standard error."""
    if quiet:
        yield Silent()
    elif not has_rich(sys.stderr):
        yield Lines()
    else:
        from rich.console import Console
        from rich.live import Live as RichLive

        with RichLive(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
            yield Live(live)
