"""What an import costs: the time of `python -c "import abathur"` less that of `python -c pass`.

Fresh processes with warm bytecode and a warm disk cache, taking turns; the difference of each round,
then its median. `from abathur import Database` and importing the dependencies alone are beside it;
`-X importtime` shows the largest parts, each without what it imports itself.
"""

from __future__ import annotations

import re
import subprocess
import time
from functools import partial

from benchmarks.harness import Bench, interleave, median, python

PROGRAMS = {
    "pass": "pass",
    "import abathur": "import abathur",
    "from abathur import Database": "from abathur import Database",
    "from abathur import Runner": "from abathur import Runner",
    "aiosqlite, anyio, attrs, json": "import aiosqlite, anyio, attrs, json",
}
_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|(\s+)(\S+)")


def run(bench: Bench) -> None:
    for program in PROGRAMS.values():
        _time(program)
    found = interleave(bench.pick(15, 2), {name: partial(_time, p) for name, p in PROGRAMS.items()})
    nothing = found.pop("pass")
    extra = {
        name: median([one - base for one, base in zip(times, nothing, strict=True)])
        for name, times in found.items()
    }
    bench.table(
        ["", "ms more than `pass`", "-X importtime, ms"],
        [[name, value, _import_time(PROGRAMS[name])[0]] for name, value in extra.items()],
    )
    parts = _import_time(PROGRAMS["from abathur import Database"])[1]
    bench.table(["largest parts of Database, alone", "ms"], [list(part) for part in parts[:12]])
    bench.goal("import abathur", extra["import abathur"], "<=", 120, " ms")
    bench.goal("from abathur import Database", extra["from abathur import Database"], "<=", 120, " ms")


def _time(program: str) -> float:
    began = time.perf_counter()
    process = python("-c", program)
    process.communicate()
    assert process.returncode == 0
    return (time.perf_counter() - began) * 1000


def _import_time(program: str) -> tuple[float, list[tuple[str, float]]]:
    """The total of what the program imports beyond what starting Python does, and the parts by size."""
    names = {match[4] for match in _LINE.finditer(_report("pass"))}
    parts = [(m[4], int(m[1]) / 1000) for m in _LINE.finditer(_report(program)) if m[4] not in names]
    return sum(ms for _, ms in parts), sorted(parts, key=lambda part: -part[1])


def _report(program: str) -> str:
    process = python("-X", "importtime", "-c", program, stderr=subprocess.PIPE)
    return process.communicate()[1]
