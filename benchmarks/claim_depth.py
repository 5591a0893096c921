"""What a claim and its completion cost in a table of 1,000 rows and of 1,000,000 (--huge: 5,000,000).

The rows are made by SQL, in mixed statuses: of each 100, 70 completed, 5 failed, 10 ready (5 of them of
other agent types), 5 running under leases that hold, 5 scheduled for tomorrow, 5 blocked; each with an
audit row. All files get new tasks before each round, untimed. "behind": the old ready tasks have a low
priority, so that the new ones are claimed, and only the depth differs. "in front": the old ones are
claimed first, and they are scattered over the file. Timed: claim one and complete it, one after another;
and claim 100 in one call and complete them at once. durability=normal, so that a slow disk does not hide
what the table costs. Rounds of the files are interleaved.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

from abathur import Database
from benchmarks import loads
from benchmarks.bare import AGENT, INPUT_TEXT, PROMPT
from benchmarks.harness import Bench, median, ratio, spread

_DAY = 86_400_000  # milliseconds, as ranks are
BEHIND, IN_FRONT = "behind", "in front"

_STATUSES = """
CASE WHEN n % 100 < 70 THEN 'completed' WHEN n % 100 < 75 THEN 'failed' WHEN n % 100 < 85 THEN 'ready'
     WHEN n % 100 < 90 THEN 'running' WHEN n % 100 < 95 THEN 'scheduled' ELSE 'blocked' END"""
_TASKS = f"""
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :count)
INSERT INTO tasks (id, prompt, agent_type, status, input_data, submitted_at, last_updated_at, summary, fence,
                   attempt, worker, lease_expires_at, run_at, rank, unmet)
SELECT printf('01900000-0000-7000-8000-%012x', n), :prompt,
       CASE WHEN n % 100 BETWEEN 80 AND 84 THEN 'other' || (n % 7) ELSE '{AGENT}' END, {_STATUSES}, '{{}}',
       '2026-01-01T00:00:00.000000+00:00', '2026-01-01T00:00:00.000000+00:00', 'A task',
       n % 100 < 75 OR n % 100 BETWEEN 85 AND 89, n % 100 < 75 OR n % 100 BETWEEN 85 AND 89, 'w1',
       CASE WHEN n % 100 BETWEEN 85 AND 89 THEN :tomorrow + n END,
       CASE WHEN n % 100 BETWEEN 90 AND 94 THEN :tomorrow + n END,
       :rank - (:count - n), n % 100 >= 95
FROM numbers"""
_CONTENT = "INSERT INTO task_content (task_id, input) SELECT id, :input FROM tasks"
_AUDIT = """
INSERT INTO audit (timestamp, task_id, action_type, action_data, actor)
SELECT submitted_at, id, 'task.' || status, '{"from":"new"}', 'fill' FROM tasks"""
_COUNTS = """
INSERT INTO task_counts (agent_type, status, n)
SELECT agent_type, status, COUNT(*) FROM tasks GROUP BY agent_type, status"""
_ADOPTED = """
INSERT INTO abathur_meta (key, value) VALUES ('audit_starts_after', :count)
ON CONFLICT (key) DO UPDATE SET value = excluded.value"""

File = tuple[int, str]
Times = tuple[float, float]


def run(bench: Bench, *, huge: bool = False) -> None:
    counts = bench.pick([1_000_000, *([5_000_000] if huge else [])], [10_000])
    files = [(1_000, BEHIND), *((count, old) for count in counts for old in (BEHIND, IN_FRONT))]
    with bench.place() as place:
        found = asyncio.run(_run(bench, place, files))
    alone_few, batch_few = zip(*found[files[0]], strict=True)
    rows: list[list[Any]] = []
    for (count, old), rounds in found.items():
        alone, batch = zip(*rounds, strict=True)
        deep = [median(alone), ratio(alone, alone_few), spread(alone, alone_few)]
        batches = [median(batch), ratio(batch, batch_few), spread(batch, batch_few)]
        rows.append([f"{count:,} rows, old tasks {old}", *deep, *batches])
    bench.table(["us per task", "alone", "ratio", "rounds", "100 at once", "ratio ", "rounds "], rows)
    for name, _, alone_ratio, _, _, batch_ratio, _ in rows[1:]:
        bench.goal(f"{name} / 1,000 rows, alone", alone_ratio, "<=", 1.2)
        bench.goal(f"{name} / 1,000 rows, 100 at once", batch_ratio, "<=", 1.2)


async def _run(bench: Bench, place: Path, files: list[File]) -> dict[File, list[Times]]:
    found: dict[File, list[Times]] = {file: [] for file in files}
    databases = {}
    for count, old in files:
        path = place / f"{count} {old}.db"
        await loads.create(path)
        fill(path, count, old)
        databases[count, old] = Database(path, durability="normal")
        await databases[count, old].initialize()
    for number in range(bench.pick(9, 2) + 1):
        for file in files if number % 2 else reversed(files):
            times = await _measure(databases[file], bench.pick(300, 20), bench.pick(20, 2))
            if number:  # the first round warms up
                found[file].append(times)
    for db in databases.values():
        await db.close()
    return found


async def _measure(db: Database, alone: int, batches: int) -> Times:
    """Microseconds per task: one after another, and 100 at once."""
    await loads.enqueue(db, alone + 100 * batches, 100)
    began = time.perf_counter()
    for _ in range(alone):
        (claim,) = await db.tasks.claim("w1", agent_types=[AGENT])
        await db.tasks.complete(claim)
    between = time.perf_counter()
    for _ in range(batches):
        claims = await db.tasks.claim("w1", agent_types=[AGENT], limit=100)
        await asyncio.gather(*(db.tasks.complete(claim) for claim in claims))
    ended = time.perf_counter()
    return (between - began) / alone * 1e6, (ended - between) / (100 * batches) * 1e6


def fill(path: Path, count: int, old: str) -> None:
    """Make rows, fast: in one transaction that is not synchronised. Nothing seals them: they are adopted."""
    now = time.time_ns() // 1000
    values = {
        "count": count,
        "prompt": PROMPT,
        "input": INPUT_TEXT,
        "tomorrow": now + _DAY * 1000,
        # New tasks have priority 5.
        "rank": now // 1000 - _DAY * (6 if old == IN_FRONT else 4),
    }
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF").fetchall()
    connection.execute("BEGIN IMMEDIATE")
    for statement in (_TASKS, _CONTENT, _AUDIT, _COUNTS, _ADOPTED):
        connection.execute(statement, values)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
