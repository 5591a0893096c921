"""What reads the queue, or the chat, goes by its indexes."""

from __future__ import annotations

import json

from abathur import Statement, sql
from tests.conformance.checks import select

PLANS = {
    "plan.above": "batches.above",
    "plan.ahead": "looking.ahead",
    "plan.head": "looking.head",
    "plan.held": "workers.held",
    "plan.expired": "looking.expired",
    "plan.ended": "looking.ended",
    "plan.durations": "looking.durations",
    "plan.last_moves": "batches.last_moves",
    "plan.parts": "batches.parts",
    "plan.edges": "batches.edges_of",
    "plan.table": "rows.find",
    "plan.tables": "rows.registered",
    "plan.key": "rows.key",
    "plan.keys": "rows.keys",
    "plan.requests": "storage.requests",
    "plan.ready_of": "tasks.ready_of",
    "plan.types_of": "tasks.next_ready_type_of",
    "plan.project": "projects.get",
    "plan.named": "projects.named",
    "plan.owner": "projects.owner",
    "plan.root": "projects.root",
    "plan.roots_of": "projects.roots_of",
    "plan.same": "projects.same_directory",
    "plan.happened": "projects.events",
    "plan.session": "projects.working_directory",
    "plan.chat_top": "chat.top",
    "plan.chat_user": "chat.user",
    "plan.chat_users": "batches.chat_users",
    "plan.chat_here": "chat.here",
    "plan.chat_unsent": "chat.unsent",
}
TEXTS = {"ids": "[]", "names": "[]", "pairs": "[]"} | dict.fromkeys(
    ("id", "agent_type", "later", "earlier", "project", "project_id", "name", "database_name", "root",
     "directory", "session", "username", "plugin", "key", "first", "before"),
    "x",
)  # fmt: skip
"""The parameters that are texts; the others are numbers."""


async def test_no_statement_of_these_reads_a_whole_table(make_db, dialect):
    """A plan that scans something without an index would grow with what is not asked about."""
    library = sql.library(dialect)
    explain, whole_tables = {"sqlite": SQLITE, "postgres": POSTGRES}[dialect]
    queries = {name: f"{explain} {library[of].sql}" for name, of in PLANS.items()}
    db = await make_db(queries={**queries, "plan.by_index": "SET LOCAL enable_seqscan = off"})
    for name, of in PLANS.items():
        values = {one: TEXTS.get(one, 1) for one in library[of].names}
        if of == "tasks.next_ready_type_of":
            values["after"] = "x"
        steps = await db.read(_plan, name, values, dialect == "postgres")
        assert not list(whole_tables(steps)), (of, steps)


def _plan(name, values, avoid):
    if avoid:  # nothing is a better plan for an empty table than to read all of it
        yield from select("plan.by_index")
    rows = yield Statement(name, **values)
    return [dict(row) for row in rows]


def _scans_of_sqlite(rows):
    for step in (row["detail"] for row in rows):
        if step.startswith("SCAN") and "INDEX" not in step:
            if step.split()[1] not in {"above", "before", "CONSTANT"}:  # the statements' own
                yield step
        elif "AUTOMATIC" in step:
            yield step


def _scans_of_postgres(rows):
    nodes = [json.loads(rows[0]["QUERY PLAN"])[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", ())
        if node["Node Type"] == "Seq Scan":
            yield node["Relation Name"]


SQLITE = ("EXPLAIN QUERY PLAN", _scans_of_sqlite)
POSTGRES = ("EXPLAIN (FORMAT JSON)", _scans_of_postgres)
