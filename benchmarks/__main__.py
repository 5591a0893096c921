"""Run benchmarks: `python -m benchmarks [names...] [--quick] [--json FILE] [--directory DIR]`."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import IN_MEMORY, Bench, file_system, machine, real_disk

MODULES = {
    "throughput": "throughput",
    "latency": "latency",
    "initialize": "initialize",
    "import": "import_time",
    "guard": "guard",
    "claim_depth": "claim_depth",
    "graph": "graph",
    "indexing": "indexing",
    "pickup": "pickup",
    "processes": "processes",
    "projects": "projects",
    "postgres": "postgres",
    "postgres_pickup": "postgres_pickup",
    "postgres_processes": "postgres_processes",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(MODULES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--huge", action="store_true", help="claim_depth with 5,000,000 rows too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--directory", type=Path, default=real_disk(), help="where the database files lie")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(MODULES))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(MODULES)}")
    signal.signal(signal.SIGTERM, _ended)
    print(machine(arguments.directory))
    missed: list[str] = []
    found: dict[str, Any] = {"machine": machine(arguments.directory), "quick": arguments.quick}
    if file_system(arguments.directory) in IN_MEMORY:
        print("These files are in memory: name a directory on a disk with --directory.")
    print("A smoke run: its figures mean nothing.\n" if arguments.quick else "")
    for name in arguments.names or MODULES:
        module = importlib.import_module(f"benchmarks.{MODULES[name]}")
        bench = Bench(name, arguments.quick, arguments.directory)
        print(f"{name}: {inspect.cleandoc(module.__doc__ or '')}\n")
        began = time.perf_counter()
        if "huge" in inspect.signature(module.run).parameters:
            module.run(bench, huge=arguments.huge)
        else:
            module.run(bench)
        print(f"  ({time.perf_counter() - began:.0f} s)\n", flush=True)
        found[name] = {**bench.figures, "goals": bench.goals}
        missed += [f"{goal['what']} ({name})" for goal in bench.goals if not goal["met"]]
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if missed:
        print("missed: " + "; ".join(missed))


def _ended(number: int, _: object) -> None:
    """End in good order: servers and processes that were started are stopped, and files are removed."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
