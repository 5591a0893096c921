"""The limit: the row changes of abathur in the bare `sqlite3` module, in one thread, in batches.

The file is made by abathur's own `initialize()`, so tables and indexes are the same, and so are the
pragmas of the connection. Every row that abathur writes is written here too: tasks, contents, audit
rows, counts and one seal per transaction. What may be prepared is prepared: ids, texts, JSON, audit
data. Nothing is hashed: a seal gets a constant of the same length. `same_rows` compares the files.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from abathur.engines.sqlite import _pragmas
from abathur.ids import new_id
from abathur.times import iso

AGENT = "bench"
ACTOR = "benchmark:12345"
PROMPT = "Look at the change and say what is wrong with it. " * 5  # 250 characters
INPUT = {"text": "x" * 239}  # 250 characters of JSON
INPUT_TEXT = '{"text":"' + "x" * 239 + '"}'
SUMMARY = PROMPT[:139].rsplit(None, 1)[0] + "…"
LEASE = 30_000_000

_INSERT = """
INSERT INTO tasks (id, prompt, agent_type, priority, status, input_data, max_execution_timeout_seconds,
                   submitted_at, last_updated_at, created_by, source, summary, max_attempts, rank, unmet,
                   dependents)
VALUES (?, ?, ?, 5, 'ready', '{}', 3600, ?, ?, ?, 'human', ?, 3, ?, 0, 0)"""
_CONTENT = "INSERT INTO task_content (task_id, input) VALUES (?, ?)"
_AUDIT = "INSERT INTO audit (timestamp, task_id, action_type, action_data, actor) VALUES (?, ?, ?, ?, ?)"
_COUNT = """
INSERT INTO task_counts (agent_type, status, n) VALUES (?, ?, ?)
ON CONFLICT (agent_type, status) DO UPDATE SET n = task_counts.n + excluded.n"""
_SEAL = """
INSERT INTO audit_seals (writer, sequence, sealed_at, ids, digests, previous, hash)
VALUES (?, ?, ?, ?, ?, ?, ?)"""
_READY = """
SELECT t.id, t.fence, t.prompt, c.input FROM tasks AS t LEFT JOIN task_content AS c ON c.task_id = t.id
WHERE t.status = 'ready' AND t.agent_type = ? ORDER BY t.rank, t.id LIMIT ?"""
_CLAIM = """
UPDATE tasks SET status = 'running', fence = fence + 1, attempt = attempt + 1, worker = ?,
                 lease_expires_at = ?, started_at = ?, last_updated_at = ?
WHERE id = ? AND fence = ? AND status = 'ready'"""
_COMPLETE = """
UPDATE tasks SET status = 'completed', lease_expires_at = NULL, completed_at = ?, last_updated_at = ?
WHERE id = ? AND fence = ? AND status = 'running'"""

Prepared = tuple[Any, Any, Any]
Claimed = list[tuple[str, str]]


def batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def prepare(n: int) -> list[Prepared]:
    """The rows of `n` new tasks: in tasks, in task_content, in audit."""
    now = time.time_ns() // 1000
    at = iso(now)
    ids = [new_id() for _ in range(n)]
    rank = now // 1000 - 5 * 86_400_000
    return [
        (
            (task_id, PROMPT, AGENT, at, at, ACTOR, SUMMARY, rank + place // 100),
            (task_id, INPUT_TEXT),
            (at, task_id, "task.ready", '{"from":"new"}', ACTOR),
        )
        for place, task_id in enumerate(ids)
    ]


class Bare:
    """One connection; every method is one transaction."""

    def __init__(self, path: Path, *, durability: str = "full") -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, cached_statements=512)
        for pragma in (*_pragmas(durability), "foreign_keys=ON"):
            self.connection.execute(f"PRAGMA {pragma}").fetchall()
        self._cursor = self.connection.cursor()
        self._writer = new_id()
        self._sequence = 0
        (self._last_id,) = self._cursor.execute("SELECT COALESCE(MAX(id), 0) FROM audit").fetchone()

    def enqueue(self, prepared: Sequence[Prepared]) -> None:
        tasks, contents, trail = zip(*prepared, strict=True)
        cursor = self._cursor
        cursor.execute("BEGIN IMMEDIATE")
        cursor.executemany(_INSERT, tasks)
        cursor.executemany(_CONTENT, contents)
        cursor.executemany(_AUDIT, trail)
        self._end(len(tasks), [(AGENT, "ready", len(tasks))])

    def claim(self, limit: int) -> Claimed:
        """Take the next tasks; returns (id, worker) of each."""
        now = time.time_ns() // 1000
        at = iso(now)
        cursor = self._cursor
        cursor.execute("BEGIN IMMEDIATE")
        rows = cursor.execute(_READY, (AGENT, limit)).fetchall()
        if not rows:
            cursor.execute("COMMIT")
            return []
        taken = [(row[0], f"w{place}") for place, row in enumerate(rows)]
        cursor.executemany(
            _CLAIM,
            [(who, now + LEASE, at, at, row[0], row[1]) for row, (_, who) in zip(rows, taken, strict=True)],
        )
        data = '{"from":"ready","fence":1,"attempt":1}'
        cursor.executemany(_AUDIT, [(at, task_id, "task.running", data, who) for task_id, who in taken])
        self._end(len(rows), [(AGENT, "ready", -len(rows)), (AGENT, "running", len(rows))])
        return taken

    def complete(self, taken: Claimed) -> None:
        at = iso(time.time_ns() // 1000)
        cursor = self._cursor
        cursor.execute("BEGIN IMMEDIATE")
        cursor.executemany(_COMPLETE, [(at, at, task_id, 1) for task_id, _ in taken])
        data = '{"from":"running","fence":1,"attempt":1}'
        cursor.executemany(_AUDIT, [(at, task_id, "task.completed", data, who) for task_id, who in taken])
        self._end(len(taken), [(AGENT, "completed", len(taken)), (AGENT, "running", -len(taken))])

    def close(self) -> None:
        self.connection.close()

    def _end(self, appended: int, counts: list[tuple[str, str, int]]) -> None:
        self._cursor.executemany(_COUNT, counts)
        self._sequence += 1
        span = f"{self._last_id + 1}-{self._last_id + appended}"
        self._last_id += appended
        digests, link = "0" * 16 * appended, "0" * 64
        self._cursor.execute(
            _SEAL, (self._writer, self._sequence, time.time_ns() // 1000, span, digests, link, link)
        )
        self._cursor.execute("COMMIT")


def same_rows(one: Path, other: Path) -> None:
    """Check that two files got the same rows; seals may differ in number, as transactions do."""
    mine, theirs = _shape(one), _shape(other)
    for table, columns in mine.items():
        assert columns.keys() == theirs[table].keys(), f"{table}: other columns"
        for column, (filled, size) in columns.items():
            there, size_there = theirs[table][column]
            assert filled == there, f"{table}.{column}: {filled} values, but {there} in the limit's file"
            assert abs(size - size_there) <= 0.05 * size + 5 * filled, (
                f"{table}.{column}: {size} bytes, but {size_there} in the limit's file"
            )


def _shape(path: Path) -> dict[str, dict[str, tuple[int, int]]]:
    connection = sqlite3.connect(path)
    try:
        found: dict[str, dict[str, tuple[int, int]]] = {}
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            if table in ("audit_seals", "abathur_meta", "schema_history", "sqlite_sequence"):
                continue
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            sums = ", ".join(
                f"COUNT({name}), COALESCE(SUM(LENGTH(CAST({name} AS BLOB))), 0)" for name in names
            )
            values = connection.execute(f"SELECT {sums} FROM {table}").fetchone()
            found[table] = {
                name: (values[2 * place], values[2 * place + 1]) for place, name in enumerate(names)
            }
        return found
    finally:
        connection.close()
