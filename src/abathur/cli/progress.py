"""A bar on standard error for work that takes a while, where a person reads along.

with progress("Checking the trail") as bar:
await something(progress=bar)       # bar(done, total)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from abathur.cli.options import Settings
from abathur.cli.output import has_rich, is_terminal, note

Bar = Callable[[int, int], None]

DELAY: Final = 0.3
"""Seconds before anything is shown: what is done by then needs no bar."""
EVERY: Final = 2.0
"""Seconds between two lines where there is no rich to draw a bar."""


@contextmanager
def progress(title: str) -> Iterator[Bar]:
    """Show how far the work of this block is, by calls of `bar(done, total)`.

    A bar with rich, a line now and then without it; nothing when standard error is no terminal, and
    nothing with --json. The bar is gone when the block ends.
    """
    context = click.get_current_context(silent=True)
    settings = None if context is None else context.find_object(Settings)
    if not is_terminal(sys.stderr) or (settings is not None and settings.json):
        yield _silent
        return
    shown: _Rich | _Plain = _Rich(title) if has_rich(sys.stderr) else _Plain(title)
    try:
        yield shown.bar
    finally:
        shown.close()


def _silent(_done: int, _total: int) -> None:
    """Nobody reads along."""


class _Plain:
    """Lines such as `Checking the trail: 40 %`."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._next = time.monotonic() + DELAY

    def bar(self, done: int, total: int) -> None:
        if total and time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            note(f"{self._title}: {done * 100 // total} %")

    def close(self) -> None:
        """Leave the lines where they are."""


class _Rich:
    """A bar that is drawn anew in its place."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._begins = time.monotonic() + DELAY
        self._drawn: Any = None
        self._task: Any = None

    def bar(self, done: int, total: int) -> None:
        if self._drawn is None:
            if time.monotonic() < self._begins:
                return
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
            )
            self._drawn = Progress(*columns, console=Console(stderr=True), transient=True)
            self._drawn.start()
            self._task = self._drawn.add_task(self._title, total=total)
        self._drawn.update(self._task, completed=done, total=total)

    def close(self) -> None:
        if self._drawn is not None:
            self._drawn.stop()
