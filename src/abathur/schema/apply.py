"""The transaction that brings a database to what is declared: all of it, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, evolve, frozen

from abathur.errors import MigrationError, SchemaConflictError
from abathur.schema import steps
from abathur.schema.declare import Schema
from abathur.schema.found import Fingerprint, Found
from abathur.schema.inspect import inspect, violations
from abathur.schema.plan import Conflict, Options, Plan, make_plan
from abathur.schema.render import quoted
from abathur.script import Built, Emit, Script, ScriptFunction, start
from abathur.times import iso

_TOUCHING = (steps.Relax, steps.AddColumn, steps.Backfill)


@define
class Progress:
    """Where a transaction is, for the message of an error that ends it."""

    step: steps.Step | None = None
    doing: str = "the inspection"
    found: Found | None = None
    """What there was before the first step, once that is known."""

    def at(self, doing: str, step: steps.Step | None = None) -> None:
        self.step, self.doing = step, doing


@frozen(kw_only=True)
class Work:
    """What `converge` needs besides the moment: `clock` gives seconds, for the record only.

    `admit` decides from the stamp whether the database may be opened, and with which options: on
    PostgreSQL another process may have written the stamp while this one waited for the lock.
    """

    name: str
    schemas: Sequence[Schema]
    options: Options
    progress: Progress
    clock: Callable[[], float]
    probe: ScriptFunction[object] | None = None
    admit: Callable[[Fingerprint], Options] | None = None


def converge(work: Work, now: int) -> Script[Plan]:
    """Inspect, make the plan, execute it, check and record it. Returns the plan that was applied."""
    began = work.clock()
    progress, dialect = work.progress, work.options.dialect
    found = progress.found = yield from inspect(dialect, work.schemas)
    options = work.options if work.admit is None else work.admit(found.fingerprint)
    plan = make_plan(work.schemas, found, evolve(options, now=now))
    if plan.conflicts:
        raise SchemaConflictError(work.name, plan.conflicts)
    stamp = [step for step in plan.inside if isinstance(step, steps.Stamp)]
    changes = [step for step in plan.inside if not isinstance(step, steps.Stamp)]
    touched = list(dict.fromkeys(step.table for step in changes if isinstance(step, _TOUCHING)))
    progress.at("the check of foreign keys before the first step")
    before = yield from violations(dialect, [table for table in touched if table.lower() in found.tables])
    for step in changes:
        progress.at(step.describe(), step)
        for statement in step.statements:
            yield statement
    progress.at("the check of foreign keys after the last step")
    new = (yield from violations(dialect, touched)) - before
    if new:
        (table, parent), count = next(iter(new.items()))
        raise MigrationError(
            work.name, progress.doing, f"{count} rows of {table} point to rows of {parent} that are not there"
        )
    for step in stamp:
        progress.at(step.describe(), step)
        for statement in step.statements:
            yield statement
    if changes and work.probe is not None:  # after the stamp: on PostgreSQL it gives the trail its ids
        progress.at("the trial after the steps (a task enqueued, claimed, completed and undone)")
        yield from _undone(work.probe, now)
    if plan.inside:
        progress.at("the record in schema_history")
        yield from _record(work, plan, now, took_ms=(work.clock() - began) * 1000)
    return plan


def _undone(probe: ScriptFunction[object], now: int) -> Script[None]:
    """Run a script and take back everything it did, what it emits included.

    A CHECK or a trigger of the user escapes every inspection, and shows only in real writes.
    """
    yield Built("SAVEPOINT abathur_trial")
    script = start(probe, (), now)
    answer: list[Any] | None = None
    while True:
        try:
            step = script.send(answer)  # type: ignore[arg-type]  # the first send must be None
        except StopIteration:
            break
        answer = [] if isinstance(step, Emit) else (yield step)
    yield Built("ROLLBACK TO abathur_trial")
    yield Built("RELEASE abathur_trial")


def _record(work: Work, plan: Plan, now: int, took_ms: float) -> Script[None]:
    """One row of history for each owner whose tables were changed; the stamp is the first owner's."""
    owners = {table.name: schema.owner for schema in work.schemas for table in schema.tables}
    owners |= {table.name: schema.owner for schema in work.schemas for table in schema.virtual_tables}
    done: dict[str, list[str]] = {}
    for step in plan.inside:
        done.setdefault(owners.get(step.table.lower(), work.schemas[0].owner), []).append(step.describe())
    for schema in work.schemas:
        if schema.owner in done:
            yield Built(
                "INSERT INTO schema_history (owner, applied_at, version, took_ms, declaration, steps) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    schema.owner,
                    iso(now),
                    work.options.version,
                    round(took_ms, 3),
                    schema.sha256,
                    json.dumps(done[schema.owner]),
                ),
            )


def look(schemas: Sequence[Schema], options: Options, now: int) -> Script[tuple[Found, Plan]]:
    """Inspect and compare, without changing anything."""
    found = yield from inspect(options.dialect, schemas)
    return found, make_plan(schemas, found, evolve(options, now=now))


def count_rows(plan: Plan, found: Found) -> Script[Plan]:
    """The plan with the numbers of rows that its larger steps go over."""
    rows: dict[str, int] = {}
    for table in dict.fromkeys(step.table for step in plan.steps if step.rows is None):
        if table.lower() in found.tables:
            there = quoted(table)
            rows[table] = (yield Built(f"SELECT count(*) AS n FROM {there}"))[0]["n"]
    return plan.counted(rows)


def duplicates(step: steps.CreateIndex) -> Conflict:
    """What stands in the way of a unique index that the database has refused."""
    columns = ", ".join(step.unique)
    return Conflict(
        step.table,
        columns,
        "filled with rows that are equal there",
        f"unique ({step.name})",
        f"Make them different: SELECT {columns}, count(*) FROM {step.table} GROUP BY {columns} "
        "HAVING count(*) > 1 shows them.",
    )


def misfits(step: steps.AddConstraint) -> Conflict:
    """What stands in the way of a constraint that the database has refused."""
    return Conflict(
        step.table,
        ", ".join(step.columns) or None,
        "filled with rows that do not fit",
        f"bound by {step.text}",
        "Change or delete these rows.",
    )
