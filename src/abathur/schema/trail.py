"""The tables of the audit trail, and the triggers that keep them as they were written."""

from __future__ import annotations

from typing import Final

from abathur.schema.declare import Column, PerDialect, Table, Trigger

AUDIT: Final = Table(
    "audit",
    (
        # As older databases have them.
        Column("id", "INTEGER", primary_key=True, autoincrement=True),
        Column("timestamp", "TIMESTAMP", not_null=True),
        Column("agent_id", "TEXT"),
        Column("task_id", "TEXT"),
        Column("action_type", "TEXT", not_null=True),
        Column("action_data", "TEXT"),
        Column("result", "TEXT"),
        Column("memory_operation_type", "TEXT"),
        Column("memory_namespace", "TEXT"),
        Column("memory_entry_id", "INTEGER"),
        # Ours: who did it. `agent_id` has a foreign key to `agents` in older databases.
        Column("actor", "TEXT"),
    ),
    free_foreign_keys=("task_id",),
)

SEALS: Final = Table(
    "audit_seals",
    (
        Column("id", "INTEGER", primary_key=True),
        Column("writer", "TEXT", not_null=True),
        Column("sequence", "INTEGER", not_null=True),
        Column("sealed_at", "INTEGER", not_null=True),
        Column("ids", "TEXT", not_null=True),
        Column("digests", "TEXT", not_null=True),
        Column("previous", "TEXT", not_null=True),
        Column("hash", "TEXT", not_null=True),
    ),
)

CHECKPOINTS: Final = Table(
    # The head of the trail now and then: it joins the seals of all writers up to `last_seal`.
    "audit_checkpoints",
    (
        Column("last_seal", "INTEGER", primary_key=True),
        Column("last_row", "INTEGER", not_null=True),
        Column("previous", "INTEGER", not_null=True),
        Column("made_at", "INTEGER", not_null=True),
        Column("hash", "TEXT", not_null=True),
    ),
)

TOMBSTONES: Final = Table(
    # Which rows of the trail were pruned. The long column is last: most readers stop before it.
    "audit_tombstones",
    (
        Column("id", "INTEGER", primary_key=True),
        Column("first_row", "INTEGER", not_null=True),
        Column("last_row", "INTEGER", not_null=True),
        Column("n", "INTEGER", not_null=True),
        Column("made_at", "INTEGER", not_null=True),
        Column("digest", "TEXT", not_null=True),
        Column("ids", "TEXT", not_null=True),
    ),
)

READERS: Final = Table(
    # Who reads the trail from its start to its end, and how far they are: see audit/readers.py.
    "audit_readers",
    (
        Column("name", "TEXT", primary_key=True),
        Column("last_id", "INTEGER", not_null=True, default="0"),
        Column("holder", "TEXT"),
        Column("fence", "INTEGER", not_null=True, default="0"),
        Column("held_until", "INTEGER", not_null=True, default="0"),
        Column("seen_at", "INTEGER", not_null=True, default="0"),
    ),
    without_rowid=True,
)


# One function for all of them. The search path is fixed when it is made, so that the guard is found
# whoever deletes; the error is of the class that SQLite's ABORT is translated to.
_REFUSES: Final = """
CREATE OR REPLACE FUNCTION abathur_append_only() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'DELETE' AND EXISTS (SELECT 1 FROM abathur_meta WHERE key = 'audit_guard') THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% is append-only: only `abathur prune` removes from it', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$
"""


def _append_only(table: str, columns: str) -> tuple[Trigger, ...]:
    """The triggers by which a table of the trail refuses to be changed, by accident or by careless SQL."""
    refuses = "EXECUTE FUNCTION abathur_append_only()"
    unless = "WHEN NOT EXISTS (SELECT 1 FROM abathur_meta WHERE key = 'audit_guard')"
    said = f"RAISE(ABORT, '{table} is append-only: only `abathur prune` removes from it')"
    return (
        Trigger(
            f"{table}_keeps_rows",
            table,
            PerDialect(
                sqlite=f"CREATE TRIGGER {table}_keeps_rows BEFORE DELETE ON {table} {unless}"
                f" BEGIN SELECT {said}; END",
                postgres=f"CREATE TRIGGER {table}_keeps_rows BEFORE DELETE ON {table} FOR EACH ROW {refuses}",
            ),
            function=_REFUSES,
        ),
        Trigger(
            f"{table}_keeps_values",
            table,
            PerDialect(
                sqlite=f"CREATE TRIGGER {table}_keeps_values BEFORE UPDATE OF {columns} ON {table}"
                f" BEGIN SELECT {said}; END",
                postgres=f"CREATE TRIGGER {table}_keeps_values BEFORE UPDATE OF {columns} ON {table}"
                f" FOR EACH ROW {refuses}",
            ),
            function=_REFUSES,
        ),
        Trigger(
            f"{table}_keeps_all",
            table,
            PerDialect(
                postgres=f"CREATE TRIGGER {table}_keeps_all BEFORE TRUNCATE ON {table}"
                f" FOR EACH STATEMENT {refuses}"
            ),
            function=_REFUSES,
        ),
    )


TRIGGERS: Final = (
    *_append_only(
        "audit",
        "id, timestamp, agent_id, task_id, action_type, action_data, result, actor",
    ),
    *_append_only("audit_seals", "id, writer, sequence, sealed_at, ids, digests, previous, hash"),
    *_append_only("audit_checkpoints", "last_seal, last_row, previous, hash"),
    *_append_only("audit_tombstones", "id, first_row, last_row, n, digest, ids"),
)
