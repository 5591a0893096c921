"""Whatever is done to the trail by SQL is found, and the first row that it concerns is named.

A trail of two writers, with a checkpoint, a tombstone and a head that was pinned half-way, and another
one whose oldest part was cut off, in the midst of what a tombstone has the place of, are altered in a
copy of their file, after the triggers that protect it were dropped. Hypothesis draws what
is altered, removed, inserted or swapped. If the trail's tables hold then anything else than before,
`verify` must say so; when a single row of the trail was touched, it must name that one.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abathur import AuditHead, AuditReport, Database, Retention
from abathur.audit import cutting

HASHED = {
    "audit": ("timestamp", "task_id", "action_type", "action_data", "actor", "agent_id", "result"),
    "audit_seals": ("writer", "sequence", "sealed_at", "ids", "digests", "previous", "hash"),
    "audit_checkpoints": ("last_row", "previous", "hash"),
    "audit_tombstones": ("first_row", "last_row", "n", "digest", "ids"),
}
"""What is vouched for. `made_at`, of checkpoints and tombstones, is for people."""
KEY = {"audit_checkpoints": "last_seal"}


@frozen
class Trail:
    """The database, and what is known of it."""

    path: Path
    rows: tuple[int, ...]
    """The ids of the rows that are there, in order."""
    seals: tuple[int, ...]
    checkpoints: tuple[int, ...]
    head: AuditHead


@pytest.fixture(scope="module", params=["whole", "cut"])
def trail(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trail:
    path = tmp_path_factory.mktemp("trail") / "agents.db"
    is_cut = request.param == "cut"

    async def work(db: Database, other: Database) -> AuditHead:
        for n in range(6):
            await (db, other)[n % 2].tasks.enqueue(f"early {n}")
        if is_cut:
            for claim in await db.tasks.claim("w", limit=6):
                await db.tasks.complete(claim)
            await db.audit.checkpoint()
            await db.tasks.enqueue_many({"prompt": f"open {n}"} for n in range(6))
        for claim in await db.tasks.claim("w", limit=3):
            await other.tasks.complete(claim)
        pruned = await db.tasks.prune(Retention(completed=timedelta(0)))
        assert bool(pruned.seals) is is_cut
        await db.audit.checkpoint()
        head = await db.audit.head()
        await db.tasks.enqueue_many({"prompt": f"late {n}"} for n in range(3))
        await other.audit.checkpoint()
        for n in range(4):
            await (db, other)[n % 2].tasks.enqueue(f"last {n}")
        return head

    async def make() -> AuditHead:
        async with Database(path, environment="test") as db, Database(path, environment="test") as other:
            return await work(db, other)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "FEWEST", 5)
        head = asyncio.run(make())
    with closing(sqlite3.connect(path)) as connection:
        rows, seals, checkpoints = (
            tuple(row[0] for row in connection.execute(f"SELECT {key} FROM {table} ORDER BY 1"))
            for table, key in (("audit", "id"), ("audit_seals", "id"), ("audit_checkpoints", "last_seal"))
        )
    return Trail(path, rows, seals, checkpoints, head)


@pytest.fixture
def altered(trail: Trail, tmp_path: Path) -> Callable[[Any], tuple[bool, AuditReport]]:
    """Makes a change in a copy. Answers whether anything is different, and what `verify` says."""
    copy = tmp_path / "copy.db"

    async def verified() -> AuditReport:
        async with Database(copy, environment="test", backup=False) as db:
            return await db.audit.verify(head=trail.head)

    def make(change: Callable[[sqlite3.Connection], None]) -> tuple[bool, AuditReport]:
        shutil.copyfile(trail.path, copy)
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            triggers = connection.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'audit%'"
            ).fetchall()
            before = content(connection)
            connection.execute("BEGIN")
            for name, _ in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            try:
                change(connection)
            except sqlite3.IntegrityError:  # it drew something that the tables cannot hold
                connection.execute("ROLLBACK")
                connection.execute("BEGIN")
            else:
                for _, sql in triggers:
                    connection.execute(sql)
            connection.execute("COMMIT")
            different = content(connection) != before
        return different, asyncio.run(verified())

    return make


def content(connection: sqlite3.Connection) -> list[Any]:
    """Everything that the trail consists of."""
    return [
        [
            table,
            connection.execute(f"SELECT {KEY.get(table, 'id')}, {', '.join(names)} FROM {table}").fetchall(),
        ]
        for table, names in HASHED.items()
    ]


VALUES = st.one_of(
    st.none(),
    st.integers(-3, 60),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.floats(allow_nan=False),
    st.sampled_from([-(2**63), 2**63 - 1, 10**18]),
    st.sampled_from(["1-1", "1-3", "3-9", "0" * 64, '{"from": "new"}', "task.ready", "2026-01-01"]),
)
"""What somebody may put into a column: other types too."""


@frozen
class Change:
    """One statement or two on a table of the trail; `rows` are the ids that it is about."""

    what: str
    table: str
    rows: tuple[int, ...]
    column: str = ""
    value: Any = None

    def __call__(self, connection: sqlite3.Connection) -> None:
        key = KEY.get(self.table, "id")
        if self.what == "alter":
            sql = f"UPDATE {self.table} SET {self.column} = ? WHERE {key} = ?"
            connection.execute(sql, (self.value, self.rows[0]))
        elif self.what == "remove":
            connection.execute(f"DELETE FROM {self.table} WHERE {key} = ?", self.rows)
        elif self.what == "insert":  # a copy of another row, at an id of its own
            columns = ", ".join(HASHED[self.table])
            made = ", made_at" if self.table in ("audit_checkpoints", "audit_tombstones") else ""
            connection.execute(
                f"INSERT INTO {self.table} ({key}, {columns}{made})"
                f" SELECT ?, {columns}{made} FROM {self.table} WHERE {key} = ?",
                self.rows,
            )
        else:  # swap
            one, other = self.rows
            for found, to in ((one, -1000), (other, one), (-1000, other)):
                connection.execute(f"UPDATE {self.table} SET {key} = ? WHERE {key} = ?", (to, found))


@st.composite
def changes(draw: st.DrawFn, trail: Trail, tables: tuple[str, ...]) -> Change:
    table = draw(st.sampled_from(tables))
    there = {
        "audit": trail.rows,
        "audit_seals": trail.seals,
        "audit_checkpoints": trail.checkpoints,
        "audit_tombstones": (1,),
    }[table]
    # Nobody misses the last checkpoint: what it says is computed anew from the seals.
    swaps = ["swap"] if len(there) > 1 else []
    what = draw(st.sampled_from(["alter", "remove", "insert", *swaps]))
    if what == "alter":
        column = draw(st.sampled_from(HASHED[table]))
        return Change(what, table, (draw(st.sampled_from(there)),), column, draw(VALUES))
    if what == "remove":
        without_last = there[:-1] if table == "audit_checkpoints" else there
        return Change(what, table, (draw(st.sampled_from(without_last)),))
    if what == "insert":
        return Change(what, table, (draw(st.integers(-2, max(there) + 4)), draw(st.sampled_from(there))))
    one, other = draw(st.lists(st.sampled_from(there), min_size=2, max_size=2, unique=True))
    return Change(what, table, (one, other))


EXAMPLES = 75  # of each trail


def test_a_change_of_the_rows_is_found_and_the_first_row_is_named(trail, altered, figure):
    found = 0

    @settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data())
    def tampered(data: st.DataObject) -> None:
        nonlocal found
        change = data.draw(changes(trail, ("audit",)))
        different, report = altered(change)
        assert report.ok is not different, (change, report)
        if different:
            found += 1
            touched = change.rows[:1] if change.what == "insert" else change.rows
            assert report.first_bad == min(touched), (change, report)

    tampered()
    figure(f"{found} changes of single rows: every one found, and its row named")


def test_a_change_of_seals_checkpoints_or_tombstones_is_found(trail, altered, figure):
    found = 0

    @settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data())
    def tampered(data: st.DataObject) -> None:
        nonlocal found
        change = data.draw(changes(trail, ("audit_seals", "audit_checkpoints", "audit_tombstones")))
        different, report = altered(change)
        assert report.ok is not different, (change, report)
        assert report.ok or report.problem
        found += different

    tampered()
    figure(f"{found} changes of single seals, checkpoints and tombstones: every one found")


def test_several_changes_at_once_are_found(trail, altered, figure):
    found = 0

    @settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data())
    def tampered(data: st.DataObject) -> None:
        nonlocal found
        # Not of checkpoints: who removes all of them takes away nothing that the seals do not say.
        those = changes(trail, ("audit", "audit_seals", "audit_tombstones"))
        drawn = data.draw(st.lists(those, min_size=2, max_size=5))

        def change(connection: sqlite3.Connection) -> None:
            for one in drawn:
                one(connection)

        different, report = altered(change)
        assert report.ok is not different, (drawn, report)
        found += different

    tampered()
    figure(f"{found} bundles of changes: every one found")
