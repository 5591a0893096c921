"""The limit on PostgreSQL: the row changes of abathur in bare asyncpg, on one connection, in batches.

The schema is made by abathur's own `initialize()`, so tables and indexes are the same, and so are the
settings of the connection. Every row that abathur writes is written here too, with one prepared, set-based
statement per table: tasks, contents, audit rows, counts, the last audit id given, and one seal per
transaction. Claims lock their rows with SKIP LOCKED. Nothing is hashed and nobody is notified; what may be
prepared is prepared, as in bare.py. `same_rows` compares two schemas.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from abathur import sql
from abathur.engines.urls import Server, target_of
from abathur.ids import new_id
from abathur.times import iso
from benchmarks.bare import AGENT, LEASE, Claimed, Prepared
from benchmarks.pg_server import ours

_STATEMENTS = {
    "insert": """
        INSERT INTO tasks (id, prompt, agent_type, priority, status, input_data,
                           max_execution_timeout_seconds, submitted_at, last_updated_at, created_by, source,
                           summary, max_attempts, rank, unmet, dependents)
        SELECT id, prompt, agent, 5, 'ready', '{}', 3600, submitted, updated, actor, 'human', summary, 3,
               rank, 0, 0
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                    $8::bigint[]) AS b (id, prompt, agent, submitted, updated, actor, summary, rank)""",
    "content": "INSERT INTO task_content (task_id, input) SELECT * FROM unnest($1::text[], $2::text[])",
    "ready": """
        SELECT t.id, t.fence, t.prompt, c.input
        FROM tasks AS t LEFT JOIN task_content AS c ON c.task_id = t.id
        WHERE t.status = 'ready' AND t.agent_type = $1 ORDER BY t.rank, t.id LIMIT $2
        FOR UPDATE OF t SKIP LOCKED""",
    "claim": """
        UPDATE tasks SET status = 'running', fence = tasks.fence + 1, attempt = tasks.attempt + 1,
                         worker = b.worker, lease_expires_at = $4, started_at = $5, last_updated_at = $5
        FROM unnest($1::text[], $2::bigint[], $3::text[]) AS b (id, fence, worker)
        WHERE tasks.id = b.id AND tasks.fence = b.fence AND tasks.status || '' = 'ready'""",
    "complete": """
        UPDATE tasks SET status = 'completed', lease_expires_at = NULL, completed_at = $2,
                         last_updated_at = $2
        FROM unnest($1::text[]) AS b (id)
        WHERE tasks.id = b.id AND tasks.fence = 1 AND tasks.status || '' = 'running'""",
    "count": """
        INSERT INTO task_counts (agent_type, status, n) SELECT $1, * FROM unnest($2::text[], $3::bigint[])
        ON CONFLICT (agent_type, status) DO UPDATE SET n = task_counts.n + excluded.n""",
    "reserve": """
        UPDATE abathur_meta SET value = CAST(CAST(value AS bigint) + $1::bigint AS text)
        WHERE key = 'audit_issued' RETURNING CAST(value AS bigint)""",
    "audit": """
        INSERT INTO audit (id, timestamp, task_id, action_type, action_data, actor)
        SELECT $1::bigint + place, at, task, action, data, actor
        FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
             WITH ORDINALITY AS b (at, task, action, data, actor, place)""",
    "audit, ids by the sequence": """
        INSERT INTO audit (timestamp, task_id, action_type, action_data, actor)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])""",
    "seal": """
        INSERT INTO audit_seals (writer, sequence, sealed_at, ids, digests, previous, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $6)""",
}


class PgBare:
    """One connection; every method is one transaction.

    Without `shared_rows` it changes no row that every transaction changes: it keeps no counts, and takes
    the ids of audit rows from the sequence. Abathur cannot do that; it shows what those rows cost.
    """

    def __init__(self, connection: Any, *, shared_rows: bool = True) -> None:
        self._connection = connection
        self._shared_rows = shared_rows
        self._prepared: dict[str, Any] = {}
        self._writer = new_id()
        self._sequence = 0

    @classmethod
    async def open(cls, url: str, schema: str, *, shared_rows: bool = True) -> PgBare:
        bare = cls(await _connect(url, schema), shared_rows=shared_rows)
        for name, text in _STATEMENTS.items():
            bare._prepared[name] = await bare._connection.prepare(text)
        return bare

    async def close(self) -> None:
        await self._connection.close()

    async def enqueue(self, prepared: Sequence[Prepared]) -> None:
        tasks, contents, trail = zip(*prepared, strict=True)
        await self._connection.execute("BEGIN")
        await self._do("insert", *_columns(tasks))
        await self._do("content", *_columns(contents))
        await self._end(trail, Counter({"ready": len(tasks)}))

    async def claim(self, limit: int) -> Claimed:
        """Take the next tasks; returns (id, worker) of each."""
        return await self.turn([], limit)

    async def complete(self, taken: Claimed) -> None:
        await self.turn(taken, 0)

    async def turn(self, finished: Claimed, limit: int) -> Claimed:
        """Complete what is finished and claim the next tasks, in one transaction."""
        now = time.time_ns() // 1000
        at = iso(now)
        trail: list[tuple[Any, ...]] = []
        counts: Counter[str] = Counter()
        taken: Claimed = []
        await self._connection.execute("BEGIN")
        if finished:
            await self._do("complete", [task_id for task_id, _ in finished], at)
            data = '{"from":"running","fence":1,"attempt":1}'
            trail += [(at, task_id, "task.completed", data, who) for task_id, who in finished]
            counts.update(completed=len(finished), running=-len(finished))
        rows = await self._do("ready", AGENT, limit) if limit else []
        if rows:
            taken = [(row[0], f"w{place}") for place, row in enumerate(rows)]
            ids, workers = _columns(taken)
            await self._do("claim", ids, [row[1] for row in rows], workers, now + LEASE, at)
            data = '{"from":"ready","fence":1,"attempt":1}'
            trail += [(at, task_id, "task.running", data, who) for task_id, who in taken]
            counts.update(running=len(taken), ready=-len(taken))
        await self._end(trail, counts)
        return taken

    async def _end(self, trail: Sequence[tuple[Any, ...]], counts: Counter[str]) -> None:
        if trail:
            last = self._sequence  # any number of the right size, without the shared rows
            if self._shared_rows:
                names = sorted(name for name in counts if counts[name])  # locked in one order
                await self._do("count", AGENT, names, [counts[name] for name in names])
                last = (await self._do("reserve", len(trail)))[0][0]
                await self._do("audit", last - len(trail), *_columns(trail))
            else:
                await self._do("audit, ids by the sequence", *_columns(trail))
            self._sequence += 1
            digests, link = "0" * 16 * len(trail), "0" * 64
            span = f"{last - len(trail) + 1}-{last}"
            now = time.time_ns() // 1000
            await self._do("seal", self._writer, self._sequence, now, span, digests, link)
        await self._connection.execute("COMMIT")

    async def _do(self, name: str, *arguments: Any) -> list[Any]:
        return await self._prepared[name].fetch(*arguments)  # type: ignore[no-any-return]


async def _connect(url: str, schema: str) -> Any:
    from abathur.engines.postgres_connection import BY_KEY, Options, connect

    server = target_of(ours(url, schema))
    assert isinstance(server, Server)
    return await connect(Options(server, sql.library("postgres"), "full", 30.0), **BY_KEY)


def _columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


async def same_rows(url: str, one: str, other: str) -> None:
    """Check that two schemas got the same rows; seals may differ in number, as transactions do."""
    mine, theirs = await _shape(url, one), await _shape(url, other)
    assert mine.keys() == theirs.keys(), "other columns"
    for column, (filled, size) in mine.items():
        there, size_there = theirs[column]
        assert filled == there, f"{column}: {filled} values, but {there} in the limit's schema"
        assert abs(size - size_there) <= 0.05 * size + 5 * filled, (
            f"{column}: {size} bytes, but {size_there} in the limit's schema"
        )


async def _shape(url: str, schema: str) -> dict[str, tuple[int, int]]:
    connection = await _connect(url, schema)
    try:
        columns = await connection.fetch(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = $1"
            " AND table_name NOT IN ('audit_seals', 'abathur_meta', 'schema_history')",
            schema,
        )
        found = {}
        for table, column in columns:
            sums = f"COUNT({column}), COALESCE(SUM(LENGTH(CAST({column} AS text))), 0)"
            filled, size = await connection.fetchrow(f"SELECT {sums} FROM {table}")
            found[f"{table}.{column}"] = (filled, int(size))
        return found
    finally:
        await connection.close()
