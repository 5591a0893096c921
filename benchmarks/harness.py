"""What the benchmarks share: the machine, rounds, medians, tables, goals and files.

The machine is shared and noisy, so only ratios of one run are evidence. The contestants take turns
(A B, B A, A B, ...), and a ratio is the median of the ratios of the rounds.
"""

from __future__ import annotations

import gc
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
IN_MEMORY = ("tmpfs", "ramfs")


@define
class Bench:
    """One benchmark's settings, and what it found."""

    name: str
    quick: bool
    directory: Path
    figures: dict[str, Any] = field(factory=dict)
    goals: list[dict[str, Any]] = field(factory=list)

    def pick(self, full: T, quick: T) -> T:
        """A size: the real one, or the one of a smoke run."""
        return quick if self.quick else full

    @contextmanager
    def place(self) -> Iterator[Path]:
        """A directory for one measurement's files; it is removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="abathur-bench-", dir=self.directory) as directory:
            yield Path(directory)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print a table and keep it for --json."""
        self.figures.setdefault("tables", []).append([dict(zip(headers, row, strict=True)) for row in rows])
        lines = [list(headers), *([_cell(value) for value in row] for row in rows)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(headers))]
        for first, *rest in lines:
            cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
            print("  ".join(["", first.ljust(widths[0]), *cells]))
        print()

    def goal(self, what: str, value: float, relation: str, bound: float, unit: str = "") -> None:
        """Print a figure beside its goal; `relation` is ``>=`` or ``<=``."""
        met = value >= bound if relation == ">=" else value <= bound
        self.goals.append({"what": what, "value": value, "goal": f"{relation} {bound:g}{unit}", "met": met})
        print(
            f"  {'met   ' if met else 'MISSED'} {what}: {value:.3g}{unit} (goal {relation} {bound:g}{unit})"
        )


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def interleave(rounds: int, contestants: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Let everybody run once per round, in every other round in reverse order."""
    found: dict[str, list[T]] = {name: [] for name in contestants}
    for number in range(rounds):
        order = list(contestants)
        for name in order if number % 2 == 0 else reversed(order):
            gc.collect()
            found[name].append(contestants[name]())
    return found


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the rounds' ratios."""
    return median([one / other for one, other in zip(above, below, strict=True)])


def spread(above: Sequence[float], below: Sequence[float]) -> str:
    """The smallest and the largest ratio of a round."""
    ratios = [one / other for one, other in zip(above, below, strict=True)]
    return f"{min(ratios):.2f}-{max(ratios):.2f}"


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


# ------------------------------------------------------------------------------------- the machine


def file_system(directory: Path) -> str:
    """The type of the file system that a directory is on, as Linux tells it."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    real = directory.resolve()
    fits = [(len(point), kind) for point, kind in mounts if real.is_relative_to(point)]
    return max(fits)[1] if fits else "unknown"


def real_disk() -> Path:
    """A directory for temporary files that is not in memory, if there is one."""
    places = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]
    good = [place for place in places if os.access(place, os.W_OK) and file_system(place) not in IN_MEMORY]
    return (good or places)[0]


def machine(directory: Path) -> str:
    """One line on what the figures were measured with."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"files in {directory} on {file_system(directory)}{load}"
    )


# ---------------------------------------------------------------------------------- other processes


def python(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start this interpreter with this program's import path."""
    paths = [str(Path(entry or ".").resolve()) for entry in sys.path]
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **options,
    )
