"""The difference between a declaration and a schema of PostgreSQL is found and closed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from abathur.schema import (
    Backfill,
    Column,
    CopyRows,
    Index,
    InsertRows,
    PerDialect,
    Reference,
    Schema,
    Table,
    Trigger,
)
from tests.unit.planned import BARE, KEY, A, T, said
from tests.unit.planned_postgres import apply, connected, plan_of, rows

NUMBER = Column("id", "INTEGER", primary_key=True)
REFUSES = """
CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'no; not now';
END
$$
"""
REFUSE = Trigger(
    "t_refuses",
    "t",
    PerDialect(postgres="CREATE TRIGGER t_refuses BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION refuse()"),
    function=REFUSES,
)


@pytest.fixture
async def db(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgres_url) as connection:
        yield connection


async def test_a_new_schema_gets_everything_and_a_second_plan_is_empty(db: asyncpg.Connection) -> None:
    schema = Schema(
        "app",
        (
            Table(
                "t",
                (
                    NUMBER,
                    Column("a", "TEXT", default="CURRENT_TIMESTAMP"),
                    Column("n", "INTEGER", not_null=True, default="-1", check="n < 10"),
                    Column("half", "REAL", default="0.50"),
                    Column("raw", "BLOB", default="x'00ff'"),
                    Column("is_on", "BOOLEAN", not_null=True, default="true"),
                    Column("loud", "TEXT", generated="upper(a)"),
                    Column("up", "INTEGER", references=Reference("u")),
                ),
                unique=(("a", "n"),),
                checks=("n <> half",),
                storage={"fillfactor": "50", "autovacuum_vacuum_scale_factor": "0.02"},
            ),
            Table("u", (NUMBER, Column("of", "INTEGER", references=Reference("t", on_delete="CASCADE")))),
        ),
        indexes=(
            Index("t_a", "t", ("a DESC", "lower(a)"), where="n > 0 AND a IS NOT NULL"),
            Index("t_one", "t", ("n", "a"), unique=True),
        ),
        triggers=(REFUSE,),
    )
    plan = await apply(db, schema)
    assert said(plan) == [
        "create table t",
        "create table u",
        "create index t_a on t",
        "create unique index t_one on t",
        'add to t: FOREIGN KEY ("up") REFERENCES "u" ("id")',
        'add to u: FOREIGN KEY ("of") REFERENCES "t" ("id") ON DELETE CASCADE',
        "create trigger t_refuses on t",
    ]
    assert (await plan_of(db, schema)).notes == ()
    await db.execute("INSERT INTO t (a) VALUES ('x')")
    assert await rows(db, "SELECT id, n, half, raw, is_on, loud FROM t") == [
        (1, -1, 0.5, b"\x00\xff", 1, "X")
    ]
    with pytest.raises(asyncpg.RaiseError, match="no; not now"):
        await db.execute("DELETE FROM t")


async def test_a_missing_column_is_added_and_filled_and_older_values_stay(db: asyncpg.Connection) -> None:
    await db.execute("CREATE TABLE t (id text PRIMARY KEY, old text NOT NULL DEFAULT 'x')")
    await db.execute("INSERT INTO t VALUES ('1', 'seen')")
    table = Table(
        "t",
        (
            KEY,
            A,
            Column("b", "TEXT"),
            Column("c", "TEXT"),
            Column("n", "TEXT", not_null=True),
            Column("m", "INTEGER", not_null=True, default="7"),
            Column("late", "TEXT", default="CURRENT_DATE"),
            Column("checked", "INTEGER", check="checked > 0"),
        ),
    )
    schema = Schema(
        "app",
        (table,),
        backfills=(
            Backfill("t", "a", "missing", requires=("missing",)),
            Backfill("t", "a", "upper(old)", requires=("old",)),
            Backfill("t", "a", "'later'"),
            Backfill("t", "b", "id"),
        ),
    )
    before = await plan_of(db, schema)
    locks = {step.name or step.kind: step.lock for step in before.steps}
    assert "no row is read" in locks["m"]
    assert "gone through" in locks["checked"]
    assert locks["Backfill"].startswith("ROW EXCLUSIVE on t")
    plan = await apply(db, schema)
    assert said(plan)[-1] == "fill t: a, b"
    assert await rows(db, "SELECT id, old, a, b, c, n, m, late, checked FROM t") == [
        ("1", "seen", "SEEN", "1", None, None, 7, None, None)
    ]
    assert len(await db.fetchval("INSERT INTO t (id) VALUES ('2') RETURNING late")) == len("2026-11-25")


async def test_filling_fires_no_trigger_of_the_user_and_leaves_it_as_it_was(db: asyncpg.Connection) -> None:
    await db.execute(REFUSES)
    await db.execute("CREATE TABLE t (id text PRIMARY KEY)")
    await db.execute("INSERT INTO t VALUES ('1')")
    for name, state in (("plain", ""), ("always", "ENABLE ALWAYS"), ("off", "DISABLE")):
        await db.execute(
            f"CREATE TRIGGER {name} BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION refuse();"
            + (f"ALTER TABLE t {state} TRIGGER {name}" if state else "")
        )
    await apply(db, Schema("app", (T,), backfills=(Backfill("t", "a", "'x'"),)))
    assert await rows(db, "SELECT a FROM t") == [("x",)]
    states = await rows(
        db, "SELECT tgname::text, tgenabled::text FROM pg_trigger WHERE tgrelid = 't'::regclass"
    )
    assert sorted(states) == [("always", "A"), ("off", "D"), ("plain", "O")]


async def test_an_old_constraint_that_would_refuse_our_rows_is_lifted_and_nothing_else_changes(
    db: asyncpg.Connection,
) -> None:
    await db.execute("""
        CREATE TABLE parent (id text PRIMARY KEY);
        CREATE TABLE t (id text PRIMARY KEY, old text NOT NULL, p text CONSTRAINT up REFERENCES parent,
                        kept text NOT NULL DEFAULT '', number bigint NOT NULL GENERATED ALWAYS AS IDENTITY);
        INSERT INTO parent VALUES ('p');
        INSERT INTO t VALUES ('1', 'o', 'p');
    """)
    table = Table("t", (KEY, Column("p", "TEXT")), free_foreign_keys=("p",))
    plan = await apply(db, table)
    assert said(plan) == ["lift from t: NOT NULL on old and the foreign key up"]
    await db.execute("INSERT INTO t (id, p) VALUES ('2', 'gone')")
    assert await rows(db, "SELECT id, old, p, kept, number FROM t ORDER BY id") == [
        ("1", "o", "p", "", 1),
        ("2", None, "gone", "", 2),
    ]


async def test_a_missing_unique_or_check_is_added(db: asyncpg.Connection) -> None:
    await db.execute("CREATE TABLE t (id text PRIMARY KEY, a text, b text)")
    await db.execute("INSERT INTO t VALUES ('1', 'x', 'y')")
    table = Table(
        "t",
        (KEY, Column("a", "TEXT", check="a <> ''"), Column("b", "TEXT"), Column("c", "TEXT")),
        unique=(("a", "b"), ("a", "c")),
        checks=("a <> b",),
    )
    assert len([line for line in said(await apply(db, table)) if line.startswith("add to t: ")]) == 4
    with pytest.raises(asyncpg.CheckViolationError):
        await db.execute("INSERT INTO t VALUES ('2', 'z', 'z')")
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.execute("INSERT INTO t VALUES ('2', 'x', 'y')")


async def test_a_unique_index_of_the_same_columns_is_as_good_unless_it_is_partial(
    db: asyncpg.Connection,
) -> None:
    table = Table("t", (KEY, A, Column("b", "TEXT")), unique=(("a", "b"),))
    await db.execute("CREATE TABLE t (id text PRIMARY KEY, a text, b text)")
    await db.execute("CREATE UNIQUE INDEX partial ON t (b, a) WHERE a <> ''")
    await db.execute("CREATE UNIQUE INDEX expressed ON t (b, lower(a))")
    assert said(await plan_of(db, table)) == ['add to t: UNIQUE ("a", "b")']
    await db.execute("CREATE UNIQUE INDEX mine ON t (b, a) INCLUDE (id)")
    assert said(await plan_of(db, table)) == []


@pytest.mark.parametrize(
    ("before", "table", "found"),
    [
        ("CREATE VIEW t AS SELECT 1 AS id", BARE, "a view"),
        ("CREATE MATERIALIZED VIEW t AS SELECT 1 AS id", BARE, "a materialized view"),
        ("CREATE SEQUENCE t", BARE, "a sequence"),
        ("CREATE TYPE t AS (id text)", BARE, "a type"),
        ("CREATE TABLE t (id bigint PRIMARY KEY)", BARE, "bigint"),
        ("CREATE TABLE t (id varchar(9) PRIMARY KEY)", BARE, "character varying(9)"),
        ("CREATE TABLE t (id text)", BARE, "keyed by ()"),
        ("CREATE TABLE t (id text, a text, PRIMARY KEY (a, id))", BARE, "keyed by (a, id)"),
        ("CREATE TABLE t (a text)", BARE, "keyed by ()"),
        (
            "CREATE TABLE t (id text PRIMARY KEY, a text GENERATED ALWAYS AS (upper(id)) STORED)",
            T,
            "generated",
        ),
        ("CREATE TABLE t (id bigint PRIMARY KEY)", Table("t", (NUMBER,)), "without numbers"),
        (
            "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)",
            Table("t", (NUMBER,)),
            "ALWAYS",
        ),
    ],
)
async def test_what_cannot_hold_the_declaration_is_a_conflict(
    db: asyncpg.Connection, before: str, table: Table, found: str
) -> None:
    await db.execute(before)
    conflicts = (await plan_of(db, table)).conflicts
    assert any(found in str(conflict) for conflict in conflicts)
    assert all(conflict.remedy for conflict in conflicts)


@pytest.mark.parametrize(
    "before",
    [
        "CREATE TABLE t (id text PRIMARY KEY, a text) PARTITION BY HASH (id)",
        'CREATE TABLE t (id character varying PRIMARY KEY, a text COLLATE "C")',
        'CREATE UNLOGGED TABLE t (id text PRIMARY KEY, a text); CREATE TABLE "T" (x int)',
        'CREATE VIEW v AS SELECT 1; CREATE TABLE t (id text PRIMARY KEY, a text, mine int, "A" int)',
    ],
)
async def test_what_is_merely_looser_is_none(db: asyncpg.Connection, before: str) -> None:
    await db.execute(before)
    assert said(await plan_of(db, T)) == []
    assert (await plan_of(db, T)).conflicts == ()


async def test_serial_numbers_are_numbers(db: asyncpg.Connection) -> None:
    await db.execute("CREATE TABLE t (id bigserial PRIMARY KEY)")
    assert said(await plan_of(db, Table("t", (NUMBER,)))) == []


async def test_other_defaults_collations_and_storage_are_notes(db: asyncpg.Connection) -> None:
    await db.execute("""
        CREATE TABLE t (id text COLLATE "C" PRIMARY KEY, a text COLLATE "POSIX" DEFAULT 'it''s',
                        n bigint DEFAULT 5, m bigint DEFAULT -1::integer, f double precision DEFAULT 5,
                        up text COLLATE "C") WITH (fillfactor = 90);
    """)
    table = Table(
        "t",
        (
            KEY,
            Column("a", "TEXT", default="'it''s'"),
            Column("n", "INTEGER", default="6"),
            Column("m", "INTEGER", default="-1"),
            Column("f", "REAL", default="5.0"),
            Column("up", "TEXT", references=Reference("t")),
        ),
        storage={"fillfactor": "50"},
    )
    assert (await plan_of(db, table)).notes == (
        "t.a is sorted by the collation POSIX, not C",
        "t.n has the default 5, not 6",
        "t.up has no foreign key to t",
        "t has the storage parameter fillfactor 90, not 50",
    )


async def test_an_index_without_our_mark_is_replaced_once(db: asyncpg.Connection) -> None:
    await db.execute("CREATE TABLE t (id text PRIMARY KEY, a text, b text)")
    await db.execute("CREATE INDEX i ON t (b)")
    schema = Schema("app", (T,), indexes=(Index("i", "t", ("a",)),))
    assert said(await apply(db, schema)) == ["replace index i on t"]
    await db.execute("DROP INDEX i")
    await db.execute("CREATE INDEX i ON t (b)")
    assert said(await apply(db, schema)) == ["replace index i on t"]
    other = Schema("app", (T,), indexes=(Index("i", "t", ("a DESC",)),))
    assert said(await apply(db, other)) == ["replace index i on t"]


async def test_an_index_whose_building_was_broken_off_is_made_anew(db: asyncpg.Connection) -> None:
    schema = Schema("app", (T,), indexes=(Index("i", "t", ("a",), unique=True),))
    await apply(db, schema)
    await db.execute("DROP INDEX i")
    await db.execute("INSERT INTO t VALUES ('1', 'x'), ('2', 'x')")
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.execute("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)")
    await db.execute("DELETE FROM t")
    assert said(await apply(db, schema)) == ["replace unique index i on t"]


async def test_the_index_of_a_constraint_or_of_a_strangers_table_keeps_its_name(
    db: asyncpg.Connection,
) -> None:
    await db.execute("CREATE TABLE t (id text PRIMARY KEY, a text CONSTRAINT i UNIQUE)")
    schema = Schema("app", (T,), indexes=(Index("i", "t", ("a",)),))
    (conflict,) = (await plan_of(db, schema)).conflicts
    assert "i is an index of t" in str(conflict)
    await db.execute("ALTER TABLE t DROP CONSTRAINT i")
    await db.execute("CREATE TABLE theirs (x int)")
    await db.execute("CREATE INDEX i ON theirs (x)")
    (conflict,) = (await plan_of(db, schema)).conflicts
    assert "an index of theirs" in str(conflict)


async def test_a_trigger_is_replaced_when_it_or_its_function_is_not_the_declared_one(
    db: asyncpg.Connection,
) -> None:
    schema = Schema("app", (BARE,), triggers=(REFUSE,))
    await apply(db, schema)
    for harm in (
        "DROP TRIGGER t_refuses ON t; CREATE TRIGGER t_refuses AFTER INSERT ON t EXECUTE FUNCTION refuse()",
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
        "ALTER TABLE t DISABLE TRIGGER t_refuses",
        "ALTER TABLE t ENABLE REPLICA TRIGGER t_refuses",
        "COMMENT ON TRIGGER t_refuses ON t IS NULL",
    ):
        await db.execute(harm)
        assert said(await apply(db, schema)) == ["replace trigger t_refuses on t"], harm
    await db.execute("DROP FUNCTION refuse() CASCADE")
    assert said(await apply(db, schema)) == ["create trigger t_refuses on t"]


async def test_a_trigger_of_that_name_on_another_table_is_another_trigger(db: asyncpg.Connection) -> None:
    await db.execute(REFUSES)
    await db.execute("CREATE TABLE theirs (x int)")
    await db.execute("CREATE TRIGGER t_refuses BEFORE DELETE ON theirs EXECUTE FUNCTION refuse()")
    await apply(db, Schema("app", (BARE,), triggers=(REFUSE,)))
    assert await db.fetchval("SELECT count(*) FROM pg_trigger WHERE tgname = 't_refuses'") == 2


@pytest.mark.parametrize(
    "half_way", ["", "CREATE TABLE log (id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY)"]
)
async def test_the_rows_of_an_older_table_are_adopted_once_and_numbers_go_on_after_them(
    db: asyncpg.Connection, half_way: str
) -> None:
    await db.execute(f"""
        CREATE TABLE log_old (id bigint PRIMARY KEY, what text COLLATE "C");
        INSERT INTO log_old VALUES (1, 'a'), (9, 'b');
        {half_way};
    """)
    log = Table("log", (NUMBER, Column("what", "TEXT"), Column("who", "TEXT")))
    schema = Schema("app", (log,), copies=(CopyRows("log_old", "log"),))
    await apply(db, schema)
    assert await rows(db, "SELECT id, what, who FROM log ORDER BY id") == [(1, "a", None), (9, "b", None)]
    assert await db.fetchval("INSERT INTO log (what) VALUES ('c') RETURNING id") == 10
    await db.execute("DELETE FROM log WHERE id = 1")  # pruned: it must not come back
    assert (await plan_of(db, schema)).empty


async def test_rows_that_differ_under_one_id_are_a_conflict(db: asyncpg.Connection) -> None:
    await db.execute("""
        CREATE TABLE log_old (id bigint PRIMARY KEY, what text);
        CREATE TABLE log (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, what text);
        INSERT INTO log_old VALUES (1, 'a');
        INSERT INTO log VALUES (1, NULL);
    """)
    log = Table("log", (NUMBER, Column("what", "TEXT")))
    (conflict,) = (await plan_of(db, Schema("app", (log,), copies=(CopyRows("log_old", "log"),)))).conflicts
    assert "1 of 1" in str(conflict)


async def test_a_new_table_is_filled_from_what_was_there(db: asyncpg.Connection) -> None:
    await db.execute("CREATE TABLE t (id text PRIMARY KEY, a text)")
    await db.execute("INSERT INTO t VALUES ('1', 'x')")
    insert = InsertRows("part", "t", "INSERT INTO part SELECT a FROM t", requires=(("t", "a"),))
    schema = Schema("app", (T, Table("part", (KEY,))), inserts=(insert,))
    await apply(db, schema)
    assert await rows(db, "SELECT id FROM part") == [("x",)]


async def test_another_schema_of_the_database_is_neither_seen_nor_touched(db: asyncpg.Connection) -> None:
    await db.execute("CREATE SCHEMA IF NOT EXISTS other_of_test")
    try:
        await db.execute("CREATE TABLE other_of_test.t (x int)")
        assert said(await apply(db, T)) == ["create table t"]
    finally:
        await db.execute("DROP SCHEMA other_of_test CASCADE")


async def test_a_constraint_that_is_checked_late_is_no_obstacle_to_filling(db: asyncpg.Connection) -> None:
    await db.execute(REFUSES.replace("RAISE EXCEPTION 'no; not now'", "RETURN NEW"))
    await db.execute("""
        CREATE TABLE t (id text PRIMARY KEY, up text REFERENCES t DEFERRABLE INITIALLY DEFERRED);
        INSERT INTO t VALUES ('1', '1');
        CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION refuse();
    """)
    table = Table("t", (KEY, Column("up", "TEXT"), A), unique=(("a", "id"),))
    await apply(db, Schema("app", (table,), backfills=(Backfill("t", "a", "'x'"),)))
    assert await rows(db, "SELECT a FROM t") == [("x",)]


async def test_a_column_that_points_to_another_table_comes_with_its_foreign_key(
    db: asyncpg.Connection,
) -> None:
    await db.execute("CREATE TABLE t (id text PRIMARY KEY)")
    up = Column("up", "TEXT", references=Reference("later", on_delete="SET NULL"))
    await apply(db, Schema("app", (Table("t", (KEY, up)), Table("later", (KEY,)))))
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await db.execute("INSERT INTO t VALUES ('1', 'nowhere')")
