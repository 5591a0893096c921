"""The library's own tables. A new column, index or table is declared here, and nowhere else.

Columns that older databases have keep their names and types for ever. A column that is new needs a
default or may be NULL, and a `Backfill` if older rows need a value for it.
"""

from __future__ import annotations

from typing import Final

from abathur.schema.declare import (
    Backfill,
    Column,
    CopyRows,
    Index,
    InsertRows,
    PerDialect,
    Schema,
    Table,
)
from abathur.schema.trail import AUDIT, CHECKPOINTS, READERS, SEALS, TOMBSTONES, TRIGGERS

# PostgreSQL writes each version of a row anew. With room in its page, and no indexed column changed, a new
# version needs no entry in an index, and the next visitor of the page clears away the old one. (It is of no
# use for `tasks`: the status stands in the conditions of its indexes.)
_OFTEN_UPDATED: Final = {"fillfactor": "50"}

TASKS: Final = Table(
    "tasks",
    (
        # As older databases have them.
        Column("id", "TEXT", primary_key=True),
        Column("prompt", "TEXT", not_null=True, default="''"),
        Column("agent_type", "TEXT", not_null=True, default="'general'"),
        Column("priority", "INTEGER", not_null=True, default="5"),
        Column("status", "TEXT", not_null=True),
        Column("input_data", "TEXT", not_null=True),  # '{}' for ours: theirs is in task_content
        Column("result_data", "TEXT"),
        Column("error_message", "TEXT"),
        Column("retry_count", "INTEGER", default="0"),
        Column("max_retries", "INTEGER", default="3"),
        Column("max_execution_timeout_seconds", "INTEGER", default="3600", postgres="double precision"),
        Column("submitted_at", "TIMESTAMP", not_null=True),
        Column("started_at", "TIMESTAMP"),
        Column("completed_at", "TIMESTAMP"),
        Column("last_updated_at", "TIMESTAMP", not_null=True),
        Column("created_by", "TEXT"),
        Column("parent_task_id", "TEXT"),
        Column("dependencies", "TEXT"),
        Column("session_id", "TEXT"),
        Column("source", "TEXT", not_null=True, default="'human'"),
        Column("dependency_type", "TEXT", not_null=True, default="'sequential'"),
        Column("calculated_priority", "REAL", not_null=True, default="5.0"),
        Column("deadline", "TIMESTAMP"),
        Column("estimated_duration_seconds", "INTEGER", postgres="double precision"),
        Column("dependency_depth", "INTEGER", default="0"),
        Column("feature_branch", "TEXT"),
        Column("task_branch", "TEXT"),
        Column("worktree_path", "TEXT"),
        Column("summary", "TEXT", not_null=True, default="'Task'"),
        # Ours. Times are microseconds since the epoch.
        Column("fence", "INTEGER", not_null=True, default="0"),
        Column("attempt", "INTEGER", not_null=True, default="0"),
        Column("max_attempts", "INTEGER", not_null=True, default="3"),
        Column("worker", "TEXT"),
        Column("lease_expires_at", "INTEGER"),
        Column("run_at", "INTEGER"),
        Column("rank", "INTEGER", not_null=True, default="0"),
        Column("unmet", "INTEGER", not_null=True, default="0"),
        Column("dependents", "INTEGER", not_null=True, default="0"),
        Column("lift_at", "INTEGER"),
        Column("project_id", "TEXT"),
    ),
    # PostgreSQL's default waits until a fifth of the table is dead: the whole queue of a table that keeps
    # its past, over and over.
    storage={"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_analyze_scale_factor": "0.02"},
)

CONTENT: Final = Table(
    # Beside the row whose status changes: SQLite rewrites a whole record at each change.
    "task_content",
    (
        Column("task_id", "TEXT", primary_key=True),
        Column("input", "TEXT"),
        Column("result", "TEXT"),
    ),
    without_rowid=True,
)

EDGES: Final = Table(
    "task_dependencies",
    (
        Column("id", "TEXT", primary_key=True),
        Column("dependent_task_id", "TEXT", not_null=True),
        Column("prerequisite_task_id", "TEXT", not_null=True),
        Column("dependency_type", "TEXT", not_null=True, default="'sequential'"),
        Column("created_at", "TIMESTAMP", not_null=True),
        Column("resolved_at", "TIMESTAMP"),
        Column("on_failure", "TEXT", not_null=True, default="'block'"),
    ),
    unique=(("dependent_task_id", "prerequisite_task_id"),),
)

ATTEMPTS: Final = Table(
    # One row for each attempt that did not complete its task.
    "task_attempts",
    (
        Column("task_id", "TEXT", not_null=True),
        Column("fence", "INTEGER", not_null=True),
        Column("attempt", "INTEGER", not_null=True),
        Column("worker", "TEXT"),
        Column("started_at", "TEXT"),
        Column("ended_at", "TEXT", not_null=True),
        Column("outcome", "TEXT", not_null=True),
        Column("error", "TEXT"),
    ),
    primary_key=("task_id", "fence"),
    without_rowid=True,
)

PROGRESS: Final = Table(
    "task_progress",
    (
        Column("task_id", "TEXT", primary_key=True),
        Column("fraction", "REAL"),
        Column("message", "TEXT"),
        Column("updated_at", "INTEGER", not_null=True),
    ),
    without_rowid=True,
    storage=_OFTEN_UPDATED,
)

KEYS: Final = Table(
    # Idempotency keys: only the tasks that have one pay for it.
    "task_keys",
    (
        Column("key", "TEXT", primary_key=True),
        Column("task_id", "TEXT", not_null=True),
        Column("digest", "TEXT", not_null=True),
    ),
    without_rowid=True,
)

COUNTS: Final = Table(
    # Kept, not counted: `count(*) ... GROUP BY status` takes 4 s at 5,000,000 rows.
    "task_counts",
    (
        Column("agent_type", "TEXT", not_null=True),
        Column("status", "TEXT", not_null=True),
        Column("n", "INTEGER", not_null=True),
    ),
    primary_key=("agent_type", "status"),
    without_rowid=True,
    storage=_OFTEN_UPDATED,
)

WORKERS: Final = Table(
    # The runners at work. Each renews its row; what a dead one leaves is forgotten after minutes.
    "task_workers",
    (
        Column("id", "TEXT", primary_key=True),  # of one run: a name may be given to several
        Column("name", "TEXT", not_null=True),
        Column("agent_types", "TEXT", not_null=True),  # JSON: {name: tasks at a time, or null}
        Column("concurrency", "INTEGER", not_null=True),
        Column("host", "TEXT", not_null=True),
        Column("pid", "INTEGER", not_null=True),
        Column("started_at", "INTEGER", not_null=True),
        Column("seen_at", "INTEGER", not_null=True),
        Column("projects", "TEXT"),  # JSON: [ids], or NULL for any
    ),
    without_rowid=True,
    storage=_OFTEN_UPDATED,
)

META: Final = Table(
    "abathur_meta",
    (Column("key", "TEXT", primary_key=True), Column("value", "TEXT", not_null=True)),
    without_rowid=True,
    storage=_OFTEN_UPDATED,
)

HISTORY: Final = Table(
    "schema_history",
    (
        Column("id", "INTEGER", primary_key=True),
        Column("owner", "TEXT", not_null=True),
        Column("applied_at", "TEXT", not_null=True),
        Column("version", "TEXT", not_null=True),
        Column("took_ms", "REAL"),
        Column("declaration", "TEXT", not_null=True),
        Column("steps", "TEXT", not_null=True),
    ),
)

INDEXES: Final = (
    # Each costs about 4 KiB of log per lone commit, so each says what it is for.
    # claim: the next tasks of an agent type, without looking at any other row
    Index("tasks_ready", "tasks", ("agent_type", "rank", "id"), where="status = 'ready'"),
    # claim for some projects: the same, one project at a time. Tasks without one do not pay for it.
    Index(
        "tasks_ready_of",
        "tasks",
        ("project_id", "agent_type", "rank", "id"),
        where="status = 'ready' AND project_id IS NOT NULL",
    ),
    # promote: what has come due
    Index("tasks_due", "tasks", ("run_at",), where="status = 'scheduled'"),
    # rescue: whose lease is over; NULL for older rows without a lease
    Index("tasks_leases", "tasks", ("lease_expires_at",), where="status = 'running'"),
    # lift: whose deadline is near
    Index("tasks_lift", "tasks", ("lift_at",), where="status = 'ready' AND lift_at IS NOT NULL"),
    # cancel with its tree
    Index("tasks_children", "tasks", ("parent_task_id",), where="parent_task_id IS NOT NULL"),
    # reconcile: what an older version, or a crash of it, left behind
    Index("tasks_adrift", "tasks", ("id",), where="status = 'pending' OR (status = 'blocked' AND unmet = 0)"),
    # unblock: who waits for a task; prune: the edges that go with one. (Older databases have another
    # index for the first, idx_task_dependencies_prerequisite, which stays.)
    Index("task_dependencies_to", "task_dependencies", ("prerequisite_task_id",)),
    # prune: the keys that go with a task
    Index("task_keys_of", "task_keys", ("task_id",)),
    # the trail of one task (the definition of older databases)
    Index("idx_audit_task", "audit", ("task_id", "timestamp DESC")),
)

_DAY_MS: Final = 86_400_000
_MS: Final = "CAST(ROUND((julianday(substr({}, 1, 26)) - 2440587.5) * 86400000.0) AS INTEGER)"
# Text that is no time gives NULL, as on SQLite: it must not end the migration.
_MS_POSTGRES: Final = (
    "CASE WHEN {0} ~ '^[0-9]{{4}}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-5][0-9]:[0-5][0-9]|$)'"
    " THEN CAST(FLOOR(EXTRACT(EPOCH FROM CAST(substr({0}, 1, 26) AS timestamp)) * 1000) AS bigint) END"
)

BACKFILLS: Final = (
    Backfill("tasks", "prompt", "template_name", requires=("template_name",)),
    Backfill("tasks", "last_updated_at", "submitted_at"),
    Backfill("tasks", "summary", "substr(trim(prompt), 1, 140)", requires=("prompt",)),
    Backfill(
        "tasks",
        "attempt",
        "COALESCE(retry_count, 0) + CASE WHEN status IN ('running', 'completed', 'failed') THEN 1 ELSE 0 END",
        requires=("retry_count",),
    ),
    Backfill(
        "tasks",
        "max_attempts",
        PerDialect(
            sqlite="MAX(COALESCE(max_retries, 3), 0) + 1",
            postgres="GREATEST(COALESCE(max_retries, 3), 0) + 1",
        ),
        requires=("max_retries",),
    ),
    Backfill(
        "tasks",
        "rank",
        PerDialect(
            sqlite=f"COALESCE({_MS.format('submitted_at')}, 0) - {_DAY_MS} * priority",
            postgres=f"COALESCE({_MS_POSTGRES.format('submitted_at')}, 0) - {_DAY_MS} * priority",
        ),
    ),
    Backfill(
        "tasks",
        "lift_at",
        PerDialect(
            sqlite=f"({_MS.format('deadline')} - 3600000) * 1000"
            " - COALESCE(estimated_duration_seconds, 0) * 1000000",
            postgres=f"({_MS_POSTGRES.format('deadline')} - 3600000) * 1000"
            " - COALESCE(estimated_duration_seconds, 0) * 1000000",
        ),
        requires=("deadline", "estimated_duration_seconds"),
    ),
    Backfill(
        "tasks",
        "unmet",
        "(SELECT COUNT(*) FROM task_dependencies AS d JOIN tasks AS p ON p.id = d.prerequisite_task_id"
        " WHERE d.dependent_task_id = tasks.id AND d.resolved_at IS NULL AND p.status <> 'completed')",
    ),
)

INSERTS: Final = (
    InsertRows(
        "task_dependencies",
        "the JSON in tasks.dependencies",
        PerDialect(
            sqlite="INSERT OR IGNORE INTO task_dependencies"
            " (id, dependent_task_id, prerequisite_task_id, created_at, resolved_at)"
            " SELECT t.id || ':' || p.id, t.id, p.id, t.submitted_at,"
            " CASE WHEN p.status = 'completed' THEN COALESCE(p.completed_at, p.submitted_at) END"
            " FROM tasks AS t"
            " JOIN json_each(CASE WHEN json_valid(t.dependencies) THEN t.dependencies ELSE '[]' END)"
            " AS wanted"
            " JOIN tasks AS p ON p.id = wanted.value AND p.id <> t.id"
            # Not on PostgreSQL: no version of ours has written edges to that column there.
        ),
        requires=(("tasks", "dependencies"),),
    ),
    InsertRows(
        "task_counts",
        "the tasks that are there",
        "INSERT INTO task_counts (agent_type, status, n)"
        " SELECT agent_type, status, COUNT(*) FROM tasks GROUP BY agent_type, status",
        requires=(("tasks", "status"),),
    ),
)

LIBRARY: Final = Schema(
    owner="abathur",
    tables=(
        TASKS,
        CONTENT,
        EDGES,
        ATTEMPTS,
        PROGRESS,
        KEYS,
        COUNTS,
        WORKERS,
        AUDIT,
        SEALS,
        CHECKPOINTS,
        TOMBSTONES,
        READERS,
        META,
        HISTORY,
    ),
    indexes=INDEXES,
    triggers=TRIGGERS,
    backfills=BACKFILLS,
    inserts=INSERTS,
    # A crashed older migration leaves the rows behind under this name.
    copies=(CopyRows("audit_old", "audit"),),
)
