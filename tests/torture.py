"""`make torture`: each fault row gets its share of the time, and what it reached adds up over runs.

The tests are those that are marked with `row`, and others in tests/faults and tests/property that use
`budget`. They run one after another, so that no row slows another one down. A row that fails does not
stop the others. The totals are kept in .torture.json; a run that failed adds nothing to them.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest
from attrs import define, frozen

from tests.faults.budget import SECONDS

ROOT: Final = Path(__file__).parents[1]
MEMORY: Final = ROOT / ".torture.json"
PLACES: Final = ("tests/faults", "tests/property")


@frozen
class Row:
    """One test with its place in the table of faults."""

    name: str
    """``R1``; a test that belongs to no row has ``-``."""
    test: str
    """pytest's id of it."""
    weight: float
    is_timed: bool
    """Whether it takes the time that it is given; the others take what they need."""


@frozen
class Outcome:
    """What one run of one test reached."""

    passed: bool
    seconds: float
    done: int
    long: int
    figures: tuple[str, ...]
    output: str


@define
class _Collector:
    """A plugin that notes the tests instead of running them."""

    rows: list[Row]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            marker = item.get_closest_marker("row")
            is_timed = "budget" in getattr(item, "fixturenames", ())
            if marker is None and not is_timed:
                continue
            said = re.search(r"\bR\d+\b", getattr(getattr(item, "function", None), "__doc__", None) or "")
            name = marker.args[0] if marker else said[0] if said else "-"
            weight = marker.kwargs.get("weight", 1) if marker else 1
            self.rows.append(Row(name, item.nodeid, float(weight), is_timed))


def collect() -> list[Row]:
    """The tests of all rows, in the order of their numbers."""
    collector = _Collector([])
    with redirect_stdout(StringIO()) as said:
        code = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *PLACES], plugins=[collector])
    faulthandler.cancel_dump_traceback_later()  # tests/conftest.py: a pytest that is done must end soon
    if code:
        sys.exit(f"the tests cannot be collected:\n{said.getvalue()}")
    return sorted(
        collector.rows, key=lambda row: (int(row.name[1:] or 0) if row.name != "-" else 99, row.test)
    )


def shares(rows: list[Row], seconds: float) -> dict[str, float]:
    """Seconds for each test: its row's weight, shared with the timed tests of the same row."""
    timed = [row for row in rows if row.is_timed]
    members: dict[str, list[Row]] = {}
    for row in timed:
        members.setdefault(row.name, []).append(row)
    weights = {name: max(row.weight for row in some) for name, some in members.items()}
    unit = seconds / (sum(weights.values()) or 1)
    return {
        row.test: unit * weights[row.name] * row.weight / sum(one.weight for one in members[row.name])
        for row in timed
    }


def run(row: Row, seconds: float) -> Outcome:
    """Run one test for so many seconds, with no time-out but a generous one for a test that hangs."""
    with tempfile.TemporaryDirectory(prefix="abathur-torture-") as place:
        report = Path(place) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
        command += [f"--timeout={seconds * 3 + 600:.0f}", "-o", "timeout_func_only=true"]
        command += [f"--basetemp={place}/tmp", f"--junitxml={report}", "-o", "junit_family=xunit1", row.test]
        began = time.monotonic()
        process = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, SECONDS: f"{seconds:.1f}"},
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.monotonic() - began
        found = _properties(report) if report.exists() else []
    done = long = 0
    for name, value in found:
        if name == "budget":
            done, long = map(int, value.split())
    figures = tuple(value for name, value in found if name == "figure")
    return Outcome(process.returncode == 0, took, done, long, figures, process.stdout + process.stderr)


def _properties(report: Path) -> list[tuple[str, str]]:
    tree = ET.parse(report)  # pytest wrote it a moment ago
    return [(one.get("name", ""), one.get("value", "")) for one in tree.iter("property")]


def remember(memory: dict[str, Any], row: Row, outcome: Outcome) -> dict[str, Any]:
    """Add a run to the totals of its test."""
    empty = {"done": 0, "runs": 0, "failures": 0, "seconds": 0.0, "since": _today()}
    total: dict[str, Any] = memory.setdefault(row.test, empty)
    total["row"], total["long"] = row.name, max(outcome.long, total.get("long", 0))
    total["runs"] += 1
    total["seconds"] = round(total["seconds"] + outcome.seconds, 1)
    if outcome.passed:
        total["done"] += outcome.done
    else:
        total["failures"] += 1
        total["failed_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    return total


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def main() -> int:
    """Run the chosen rows and print the table; 1 if a test failed."""
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="for all rows together (default: 60)")
    parser.add_argument("--rows", default="", help='some of them, as in "R1 R2" (default: all)')
    options = parser.parse_args()
    os.chdir(ROOT)
    wanted = set(options.rows.replace(",", " ").split())
    rows = [row for row in collect() if not wanted or row.name in wanted]
    if missing := wanted - {row.name for row in rows}:
        sys.exit(f"There is no row {' or '.join(sorted(missing))}.")
    share = shares(rows, options.minutes * 60)
    memory: dict[str, Any] = json.loads(MEMORY.read_text()) if MEMORY.exists() else {}
    failed: list[tuple[Row, Outcome]] = []
    lines = []
    for row in rows:
        outcome = run(row, share.get(row.test, 0.0))
        total = remember(memory, row, outcome)
        MEMORY.write_text(json.dumps(memory, indent=1, sort_keys=True))
        if not outcome.passed:
            failed.append((row, outcome))
        words = "ok" if outcome.passed else "FAILED"
        for text in outcome.figures or (row.test.rpartition("::")[2],):
            print(f"{row.name:4} {words:6} {outcome.seconds:6.0f} s  {text}", flush=True)
        reached = f"{total['done']:,} of {total['long']:,}" if total["long"] else "whole"
        lines.append(
            f"{row.name:4} {outcome.done or '':>8} {reached:>20} {total['runs']:>5} {total['failures']:>9} "
            f"{total['since']}  {row.test.rpartition('::')[2]}"
        )
    for row, outcome in failed:
        print(f"\n{row.name} FAILED: {row.test}\n{outcome.output[-6000:]}")
    print(
        f"\n{'row':4} {'now':>8} {'in all, of the long':>20} {'runs':>5} {'failures':>9} {'since':10}  test"
    )
    print("\n".join(lines))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
