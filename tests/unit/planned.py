"""A plan made and applied on a plain connection, for the tests of schemas."""

from __future__ import annotations

import sqlite3
from typing import Any, TypeVar

from abathur.schema import Column, Schema, Table
from abathur.schema.apply import Progress, Work, converge, count_rows, look
from abathur.schema.plan import Options, Plan
from abathur.schema.tables import HISTORY, META
from abathur.script import Built, Script, Statement, drive

Answer = TypeVar("Answer")
KEY = Column("id", "TEXT", primary_key=True)
A = Column("a", "TEXT")
BARE = Table("t", (KEY,))
T = Table("t", (KEY, A))
OURS = Schema("base", (META, HISTORY))
OPTIONS = Options(version="1.0", environment="test", database_id="d", is_file=False)


def run(db: sqlite3.Connection, script: Script[Answer]) -> Answer:
    def execute(built: Statement | Built) -> list[Any]:
        assert isinstance(built, Built)
        return db.execute(built.sql, tuple(built.params)).fetchall()

    return drive(script, execute, {})


def plan_of(db: sqlite3.Connection, declared: Schema | Table, options: Options = OPTIONS) -> Plan:
    schema = declared if isinstance(declared, Schema) else Schema("app", (declared,))
    found, plan = run(db, look([OURS, schema], options, 0))
    return run(db, count_rows(plan, found))


def apply(db: sqlite3.Connection, declared: Schema | Table, options: Options = OPTIONS) -> Plan:
    """Apply the plan, and see that nothing is left to do."""
    schema = declared if isinstance(declared, Schema) else Schema("app", (declared,))
    work = Work(name="db", schemas=[OURS, schema], options=options, progress=Progress(), clock=lambda: 0.0)
    db.execute("BEGIN")
    plan = run(db, converge(work, 0))
    db.execute("COMMIT")
    assert plan_of(db, schema, options=options).empty
    return plan


def said(plan: Plan) -> list[str]:
    """The steps in words, without those of the stamp's own tables."""
    return [step.describe() for step in plan.steps if step.table not in ("abathur_meta", "schema_history")]


def rows(db: sqlite3.Connection, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in db.execute(sql)]
