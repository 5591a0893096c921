"""What reads the queue goes by its indexes."""

from __future__ import annotations

from abathur import sql
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
}


async def test_no_statement_of_these_reads_a_whole_table(make_db):
    """A plan that scans something without an index would grow with what is not asked about."""
    library = sql.library("sqlite")
    db = await make_db(queries={name: f"EXPLAIN QUERY PLAN {library[of].sql}" for name, of in PLANS.items()})
    for name, of in PLANS.items():
        values = {one: "[]" if one == "ids" else 1 for one in library[of].names}
        steps = [row["detail"] for row in await db.read(_plan, name, values)]
        scans = [step for step in steps if step.startswith("SCAN") and "INDEX" not in step]
        assert {scan.split()[1] for scan in scans} <= {"above", "before", "CONSTANT"}, (of, steps)
        assert not any("AUTOMATIC" in step for step in steps), (of, steps)


def _plan(name, values):
    return (yield from select(name, **values))
