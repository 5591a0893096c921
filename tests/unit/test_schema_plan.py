"""The difference between a declaration and a database is found, and closed, whatever was there."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from attrs import evolve

from abathur.schema import (
    Backfill,
    Column,
    CopyRows,
    Index,
    InsertRows,
    Schema,
    Table,
    Trigger,
    VirtualTable,
)
from abathur.schema.plan import Plan
from tests.unit.planned import BARE, KEY, OPTIONS, A, T, apply, plan_of, rows, said


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA legacy_alter_table=ON")
        yield connection


def test_a_new_database_gets_everything_and_a_second_plan_is_empty(db: sqlite3.Connection) -> None:
    schema = Schema(
        "app",
        (T,),
        indexes=(Index("t_a", "t", ("a",)),),
        triggers=(Trigger("t_up", "t", "CREATE TRIGGER t_up AFTER INSERT ON t BEGIN SELECT 1; END;"),),
        virtual_tables=(VirtualTable("found", "fts5", ("a",)),),
    )
    assert said(apply(db, schema)) == [
        "create table t",
        "create virtual table found",
        "create index t_a on t",
        "create trigger t_up on t",
    ]


def test_a_missing_column_is_added_and_filled_and_older_values_stay(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (id TEXT PRIMARY KEY, old TEXT NOT NULL DEFAULT 'x')")
    db.execute("INSERT INTO t VALUES ('1', 'seen')")
    schema = Schema(
        "app",
        (
            Table(
                "t",
                (
                    KEY,
                    A,
                    Column("b", "TEXT"),
                    Column("c", "TEXT"),
                    Column("n", "TEXT", not_null=True),
                ),
            ),
        ),
        backfills=(
            Backfill("t", "a", "missing", requires=("missing",)),
            Backfill("t", "a", "upper(old)", requires=("old",)),
            Backfill("t", "a", "'later'"),
            Backfill("t", "b", "id"),
        ),
    )
    plan = apply(db, schema)
    assert said(plan)[-1] == "fill t: a, b"
    assert rows(db, "SELECT * FROM t") == [("1", "seen", "SEEN", "1", None, None)]


def test_a_value_that_is_null_in_an_older_column_is_not_filled(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT)")
    db.execute("INSERT INTO t VALUES ('1', NULL)")
    schema = Schema("app", (T,), backfills=(Backfill("t", "a", "'x'"),))
    assert said(apply(db, schema)) == []
    assert rows(db, "SELECT a FROM t") == [(None,)]


def test_filling_fires_no_trigger_of_the_user_and_keeps_it(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (id TEXT PRIMARY KEY)")
    db.execute("CREATE TABLE log (n)")
    db.execute("INSERT INTO t VALUES ('1')")
    trigger = "CREATE TRIGGER mine AFTER UPDATE ON t BEGIN INSERT INTO log VALUES (1); END"
    db.execute(trigger)
    schema = Schema("app", (T,), backfills=(Backfill("t", "a", "'x'"),))
    apply(db, schema)
    assert rows(db, "SELECT * FROM log") == []
    assert rows(db, "SELECT sql FROM sqlite_master WHERE name = 'mine'") == [(trigger,)]


def test_an_old_constraint_that_would_refuse_our_rows_is_lifted_and_nothing_else_changes(
    db: sqlite3.Connection,
) -> None:
    db.executescript("""
        CREATE TABLE parent (id TEXT PRIMARY KEY);
        CREATE TABLE child (id TEXT, t INTEGER REFERENCES t(id) ON DELETE CASCADE);
        CREATE TABLE t (
            id INTEGER PRIMARY KEY AUTOINCREMENT, template TEXT NOT NULL, -- the oldest name
            p TEXT CONSTRAINT up NOT NULL REFERENCES parent(id) ON DELETE SET NULL, kept TEXT COLLATE NOCASE
            CHECK (kept <> ''), loud TEXT GENERATED ALWAYS AS (upper(kept)) VIRTUAL, UNIQUE (template, p),
            FOREIGN KEY (p) REFERENCES parent(id)
        );
        CREATE VIEW seen AS SELECT template FROM t;
        CREATE VIEW broken AS SELECT gone FROM nowhere;
        CREATE INDEX mine ON t (kept) WHERE kept IS NOT NULL;
        CREATE TRIGGER watch AFTER DELETE ON t BEGIN DELETE FROM child WHERE t = OLD.id; END;
        INSERT INTO parent VALUES ('p');
        INSERT INTO t (id, template, p, kept) VALUES (1, 'a', 'p', 'x'), (9, 'b', 'p', NULL);
        INSERT INTO child VALUES ('c', 1);
        DELETE FROM t WHERE id = 9;
    """)
    table = Table(
        "t",
        (
            Column("id", "INTEGER", primary_key=True, autoincrement=True),
            Column("p", "TEXT"),
            Column("kept", "TEXT", collate="NOCASE", check="kept <> ''"),
        ),
        free_foreign_keys=("p",),
    )
    plan = apply(db, table)
    lifted = "NOT NULL on template and NOT NULL on p and the foreign key on p"
    assert said(plan) == [f"rebuild t without {lifted}; every row and column is kept"]
    assert rows(db, "SELECT * FROM t") == [(1, "a", "p", "x", "X")]
    assert rows(db, "SELECT * FROM child") == [("c", 1)]
    assert rows(db, "SELECT template FROM seen") == [("a",)]
    db.execute("INSERT INTO t (kept) VALUES ('new')")
    assert rows(db, "SELECT max(id) FROM t") == [(10,)]  # 9 was given away, and is not given again
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO t (kept) VALUES ('')")
    kept = {
        row["name"] for row in db.execute("SELECT name FROM sqlite_master WHERE name IN ('mine', 'watch')")
    }
    assert kept == {"mine", "watch"}


def test_a_rebuild_keeps_the_rowids_that_no_column_shows(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (id TEXT PRIMARY KEY, gone TEXT NOT NULL)")
    db.execute("INSERT INTO t (rowid, id, gone) VALUES (7, 'a', 'g'), (3, 'b', 'g')")
    apply(db, BARE)
    assert rows(db, "SELECT rowid, id FROM t ORDER BY rowid") == [(3, "b"), (7, "a")]


def test_a_table_without_rowids_is_rebuilt_too(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (a TEXT, b TEXT, old TEXT NOT NULL, PRIMARY KEY (a, b)) WITHOUT ROWID")
    db.execute("INSERT INTO t VALUES ('1', '2', '3')")
    apply(db, Table("t", (A, Column("b", "TEXT")), primary_key=("a", "b")))
    assert rows(db, "SELECT * FROM t") == [("1", "2", "3")]


def test_other_letters_in_a_name_and_a_broken_view_are_no_obstacle(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE T (ID TEXT PRIMARY KEY, Old TEXT NOT NULL, Up TEXT REFERENCES T(ID))")
    db.execute("INSERT INTO T VALUES ('1', 'x', 'an orphan')")
    db.execute("CREATE VIEW broken AS SELECT gone FROM nowhere")
    db.execute(
        "CREATE TRIGGER t AFTER UPDATE ON T BEGIN SELECT gone FROM nowhere; END"
    )  # named like its table
    schema = Schema("app", (Table("t", (KEY, A)),), backfills=(Backfill("t", "a", "old", requires=("old",)),))
    assert [step.kind for step in apply(db, schema).steps][2:] == ["Relax", "AddColumn", "Backfill", "Stamp"]
    assert rows(db, "SELECT id, old, up, a FROM t") == [("1", "x", "an orphan", "x")]
    assert "Relax" not in {step.kind for step in plan_of(db, schema).steps}


def test_what_the_user_added_stays(db: sqlite3.Connection) -> None:
    apply(db, BARE)
    db.execute("ALTER TABLE t ADD COLUMN mine TEXT NOT NULL DEFAULT 'm'")
    db.execute("CREATE TABLE notes (n)")
    db.execute("CREATE INDEX notes_n ON notes (n)")
    db.execute("CREATE VIEW v AS SELECT * FROM t")
    assert plan_of(db, BARE).empty


def test_an_index_with_another_definition_is_replaced(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT, b TEXT)")
    db.execute("CREATE INDEX i ON t (b)")
    schema = Schema("app", (T,), indexes=(Index("i", "t", ("a",)),))
    assert said(apply(db, schema)) == ["replace index i on t"]


def test_an_index_of_a_column_that_was_not_there_is_made_anew_when_the_column_comes(
    db: sqlite3.Connection,
) -> None:
    db.execute("CREATE TABLE t (id TEXT PRIMARY KEY)")
    db.execute("INSERT INTO t VALUES ('1'), ('2')")
    db.execute('CREATE INDEX mine ON t ("a")')  # SQLite takes this for the string 'a'
    db.execute('CREATE INDEX ours ON t ("a")')
    schema = Schema("app", (T,), indexes=(Index("ours", "t", ("a",)),), backfills=(Backfill("t", "a", "id"),))
    assert said(apply(db, schema))[1:3] == ["replace index mine on t", "replace index ours on t"]
    assert rows(db, "PRAGMA integrity_check") == [("ok",)]
    assert rows(db, "SELECT id FROM t INDEXED BY mine WHERE a = '2'") == [("2",)]


def test_a_trigger_with_another_body_is_replaced(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (id TEXT PRIMARY KEY)")
    db.execute("CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END")
    trigger = Trigger("x", "t", "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 2; END")
    assert said(apply(db, Schema("app", (BARE,), triggers=(trigger,)))) == ["replace trigger x on t"]


AUDIT = Table(
    "log", (Column("id", "INTEGER", primary_key=True), Column("what", "TEXT"), Column("who", "TEXT"))
)
ADOPTING = Schema(
    "app", (AUDIT,), indexes=(Index("log_what", "log", ("what",)),), copies=(CopyRows("log_old", "log"),)
)


@pytest.mark.parametrize(
    "half_way",
    [
        "",
        "CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT)",
        "CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT); INSERT INTO log SELECT id, what FROM log_old",
    ],
)
def test_the_rows_that_a_crashed_older_migration_left_behind_are_adopted_once(
    db: sqlite3.Connection, half_way: str
) -> None:
    db.executescript(f"""
        CREATE TABLE log_old (id INTEGER PRIMARY KEY, what TEXT);
        CREATE INDEX log_what ON log_old (what);
        INSERT INTO log_old VALUES (1, 'a'), (2, 'b');
        {half_way};
    """)
    assert "replace index log_what on log" in said(apply(db, ADOPTING)) or half_way == ""
    assert rows(db, "SELECT id, what, who FROM log") == [(1, "a", None), (2, "b", None)]
    assert rows(db, "SELECT count(*) FROM log_old") == [(2,)]
    db.execute("DELETE FROM log WHERE id = 1")  # pruned: it must not come back
    assert plan_of(db, ADOPTING).empty


def test_rows_that_differ_under_one_id_are_a_conflict(db: sqlite3.Connection) -> None:
    db.executescript("""
        CREATE TABLE log_old (id INTEGER PRIMARY KEY, what TEXT);
        CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT);
        INSERT INTO log_old VALUES (1, 'a');
        INSERT INTO log VALUES (1, 'b');
    """)
    (conflict,) = plan_of(db, ADOPTING).conflicts
    assert (conflict.table, conflict.column) == ("log", "id")
    assert "1 of 1" in str(conflict)
    assert "log_old" in conflict.remedy


def test_a_new_table_is_filled_from_what_was_there(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (id TEXT PRIMARY KEY, parts TEXT)")
    db.execute("INSERT INTO t VALUES ('1', '[\"x\", \"y\"]')")
    insert = InsertRows(
        "part",
        "the JSON in t",
        "INSERT INTO part SELECT value FROM t, json_each(t.parts)",
        requires=(("t", "parts"),),
    )
    schema = Schema(
        "app", (Table("t", (KEY, Column("parts", "TEXT"))), Table("part", (KEY,))), inserts=(insert,)
    )
    apply(db, schema)
    assert rows(db, "SELECT id FROM part") == [("x",), ("y",)]
    db.execute("DELETE FROM part")
    assert plan_of(db, schema).empty


def test_a_plan_prints_its_sql_rows_and_locks(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (id TEXT PRIMARY KEY, gone TEXT NOT NULL)")
    db.execute("INSERT INTO t VALUES ('1', 'x')")
    plan = plan_of(db, T)
    text = plan.to_text()
    assert 'ALTER TABLE "t" ADD COLUMN "a" TEXT' in text
    assert "[1 rows; write lock" in text
    data = json.loads(json.dumps(plan.to_json()))
    assert [step["step"] for step in data["steps"]] == [
        "CreateTable",
        "CreateTable",
        "Relax",
        "AddColumn",
        "Stamp",
    ]
    assert Plan().to_text().startswith("Nothing to do")


def test_two_versions_do_not_stamp_each_other_for_ever(db: sqlite3.Connection) -> None:
    older, newer = OPTIONS, evolve(OPTIONS, version="2.0")
    mine = Table("t", (KEY, Column("a", "TEXT", default="1")))
    other = Table("t", (KEY, Column("a", "TEXT", default="2")))
    apply(db, mine, options=older)
    assert said(apply(db, other, options=newer)) == []  # only the stamp
    assert plan_of(db, mine, options=older).empty
    assert plan_of(db, other, options=newer).empty
    apply(db, Table("t", (KEY, Column("b", "TEXT"))), options=older)
    meta = dict(rows(db, "SELECT key, value FROM abathur_meta"))
    assert meta["version"] == "2.0"
    assert meta["declaration:app"] == Schema("app", (other,)).sha256


def test_the_history_says_what_was_applied_for_whom(db: sqlite3.Connection) -> None:
    apply(db, BARE)
    apply(db, T)
    assert [(row[0], json.loads(row[1])) for row in rows(db, "SELECT owner, steps FROM schema_history")] == [
        ("base", ["create table abathur_meta", "create table schema_history", "write the stamp"]),
        ("app", ["create table t"]),
        ("base", ["write the stamp"]),
        ("app", ["add column t.a"]),
    ]
