"""`make mutants`: put small faults into the core, one at a time, and see which the tests notice.

It works on a copy, so that nobody is disturbed, remembers what it found in .mutants.json (a mutant that
is made again from the same text is not run again), stops when its time is over, and goes on the next
time. A tool of our own: mutmut runs pytest many times in one process and forks it, which these tests
do not stand, with their threads, event loops and checks for what is left behind.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.mutants.mutate import Mutant, mutants

ROOT: Final = Path(__file__).parents[2]
MEMORY: Final = ROOT / ".mutants.json"
TESTS_OF: Final[dict[str, tuple[str, ...]]] = {
    "src/abathur/tasks/claim.py": (
        "tests/conformance/test_claims.py",
        "tests/conformance/test_settling.py",
        "tests/conformance/test_audit.py",
        "tests/conformance/test_cancel_and_retry.py",
        "tests/conformance/test_dependencies.py",
        "tests/conformance/test_runner.py",
        "tests/property/test_tasks_against_a_model.py",
    ),
    "src/abathur/tasks/settle.py": (
        "tests/conformance/test_settling.py",
        "tests/conformance/test_claims.py",
        "tests/conformance/test_audit.py",
        "tests/conformance/test_cancel_and_retry.py",
        "tests/conformance/test_dependencies.py",
        "tests/conformance/test_runner.py",
        "tests/property/test_tasks_against_a_model.py",
    ),
    "src/abathur/engines/lane.py": (
        "tests/unit/test_lane.py",
        "tests/unit/test_group.py",
        "tests/conformance/test_lifecycle.py",
        "tests/conformance/test_scripts.py",
        "tests/conformance/test_runner.py",
        "tests/unit/test_runner_stop.py",
    ),
    "src/abathur/migrate.py": (
        "tests/unit/test_schema_migrate.py",
        "tests/unit/test_schema_conflicts.py",
        "tests/conformance/test_lifecycle.py",
        "tests/faults/test_older_databases.py",
        "tests/faults/test_bad_files.py",
        "tests/property/test_initialize.py",
    ),
}
"""The tests that run on a module's mutants, those that find most of them first."""
COPIED: Final = ("src", "tests", "docs", "pyproject.toml", "README.md", "CHANGELOG.md", "Makefile")
LEFT_OUT: Final = "not eight_processes and not killed and not (conformance and file and not lifecycle)"
"""Tests that are slow here and find nothing that the others do not; tasks are tested on memory."""
LONGEST: Final = 240.0
"""Seconds after which a mutant that hangs counts as noticed."""
GOAL: Final = 0.85


def main() -> int:
    """Run what has not been run yet; print the score and the survivors."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="stop after so many (default: 60)")
    parser.add_argument("--only", default="", help="modules whose path contains this text")
    parser.add_argument("--unchecked", action="store_true", help="do not run the unchanged tests first")
    parser.add_argument("--again", action="store_true", help="also run those again that had survived")
    options = parser.parse_args()
    chosen = [path for path in TESTS_OF if options.only in path]
    everything = {path: mutants(path, (ROOT / path).read_text()) for path in chosen}
    memory: dict[str, str] = json.loads(MEMORY.read_text()) if MEMORY.exists() else {}
    if options.again:
        memory = {key: outcome for key, outcome in memory.items() if outcome != "survived"}
    waiting = [mutant for found in everything.values() for mutant in found if mutant.key not in memory]
    random.Random(0).shuffle(waiting)  # what fits into the time is then a fair sample of all modules
    end = time.monotonic() + options.minutes * 60
    with tempfile.TemporaryDirectory(prefix="abathur-mutants-") as place:
        copy = Path(place)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(ROOT / name, copy / name)
        for path in () if options.unchecked else chosen:
            if any(mutant.path == path for mutant in waiting) and run(path, copy) != "survived":
                print(f"The tests of {path} fail as they are; mend that first.", file=sys.stderr)
                return 2
        for number, mutant in enumerate(waiting, 1):
            if time.monotonic() >= end:
                break
            began = time.monotonic()
            memory[mutant.key] = outcome = try_out(mutant, copy)
            MEMORY.write_text(json.dumps(memory, indent=0))
            took = time.monotonic() - began
            print(f"[{number}/{len(waiting)}] {outcome:8} {took:5.1f} s  {mutant}", flush=True)
    return report(everything, memory)


def try_out(mutant: Mutant, copy: Path) -> str:
    """Run the tests of the module on one mutant: ``killed``, ``timeout`` or ``survived``."""
    target = copy / mutant.path
    kept = target.read_text()
    target.write_text(mutant.source)
    try:
        return run(mutant.path, copy)
    finally:
        target.write_text(kept)


def run(path: str, copy: Path) -> str:
    """Run the tests of one module in a copy of the repository."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
    command += ["--timeout", "40", "-k", LEFT_OUT, *TESTS_OF[path]]
    process = subprocess.Popen(
        command,
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return "killed" if process.wait(LONGEST) else "survived"
    except subprocess.TimeoutExpired:
        return "timeout"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()


def report(everything: dict[str, list[Mutant]], memory: dict[str, str]) -> int:
    """Print the survivors as diffs and the score of each module. Returns the exit code."""
    for path, found in everything.items():
        before = (ROOT / path).read_text().splitlines(keepends=True)
        for mutant in found:
            if memory.get(mutant.key) == "survived":
                after = mutant.source.splitlines(keepends=True)
                print(f"\nsurvived: {mutant}")
                sys.stdout.writelines(difflib.unified_diff(before, after, path, path, n=1))
    print(f"\n{'module':32} {'mutants':>8} {'run':>6} {'killed':>8} {'survived':>9} {'score':>7}")
    good = True
    for path, found in everything.items():
        outcomes = [memory[mutant.key] for mutant in found if mutant.key in memory]
        survived = outcomes.count("survived")
        killed = len(outcomes) - survived
        score = killed / len(outcomes) if outcomes else 0.0
        good = good and score >= GOAL
        print(f"{path:32} {len(found):8} {len(outcomes):6} {killed:8} {survived:9} {score:7.1%}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
