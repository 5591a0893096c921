"""SQL is compared and edited by its tokens."""

from __future__ import annotations

import pytest

from abathur.schema.ddl import parse
from abathur.schema.tokens import contains, tokenize, tokens_equal, unquoted


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CREATE INDEX i ON t(a)", "create index if not exists I\n  on T ( A ) ;"),
        ('CREATE INDEX "i" ON `t`([a])', "CREATE INDEX i ON t(a)"),
        ("SELECT 1 -- why\n+ /* what */ 2", "SELECT 1+2"),
        ("a == 1 AND b != 2", "a = 1 AND b <> 2"),
        ("CREATE UNIQUE INDEX IF NOT EXISTS i ON t(a)", "CREATE UNIQUE INDEX i ON t(a)"),
        ("CREATE VIRTUAL TABLE IF NOT EXISTS v USING fts5(a)", "CREATE VIRTUAL TABLE v USING fts5(a)"),
    ],
)
def test_statements_that_mean_the_same_are_equal(one: str, other: str) -> None:
    assert tokens_equal(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("status = 'ready'", "status = 'READY'"),
        ("a || b", "a | b"),
        ('CREATE INDEX i ON t("a b")', "CREATE INDEX i ON t(a, b)"),
        ("x'00'", "'00'"),
        ("SELECT 5", "SELECT 5.0"),
        ("CREATE TABLE t(a CHECK (a IF NOT EXISTS))", "CREATE TABLE t(a CHECK (a))"),
    ],
)
def test_statements_that_differ_are_not_equal(one: str, other: str) -> None:
    assert not tokens_equal(one, other)


def test_every_token_says_where_it_stands() -> None:
    sql = """SELECT "it's", 'it''s', [a]]; -- end"""
    assert [sql[token.start : token.end] for token in tokenize(sql)] == [
        "SELECT", '"it\'s"', ",", "'it''s'", ",", "[a]", "]", ";",
    ]  # fmt: skip


def test_an_unfinished_string_or_comment_does_not_stop_the_tokenizer() -> None:
    assert tokenize("SELECT 'open /* and open")
    assert tokenize("SELECT /* open")[-1].key == "select"


def test_a_part_is_found_in_a_statement_by_its_tokens() -> None:
    assert contains("CREATE TABLE t (a CHECK ( a  >  0 ))", "check (a > 0)")
    assert not contains("CREATE TABLE t (a DEFAULT 'check (a > 0)')", "check (a > 0)")


@pytest.mark.parametrize(("text", "name"), [('"a""b"', 'a"b'), ("`a`", "a"), ("[a b]", "a b"), ("a", "a")])
def test_quotes_are_taken_from_a_name(text: str, name: str) -> None:
    assert unquoted(text) == name


HARD = """CREATE TABLE "odd, (name" (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- the key, with a comma
    "check" VARCHAR(20) NOT NULL DEFAULT 'a, b)' COLLATE NOCASE,
    parent TEXT CONSTRAINT up REFERENCES t(id) ON DELETE SET NULL NOT DEFERRABLE INITIALLY DEFERRED NOT NULL,
    n DECIMAL(10, 2) DEFAULT -1 CHECK (n > (0 - 2)),
    maybe TEXT DEFAULT NULL NULL UNIQUE ON CONFLICT IGNORE,
    twice TEXT GENERATED ALWAYS AS (upper("check" || ', ')) VIRTUAL,
    bare,
    CONSTRAINT one UNIQUE (parent, "check")
    CHECK (n <> 5), FOREIGN KEY (parent, n) REFERENCES u(a, b) ON DELETE SET DEFAULT
) STRICT"""


def test_a_table_is_taken_apart_into_its_columns_and_constraints() -> None:
    table = parse(HARD)
    names = ["id", "check", "parent", "n", "maybe", "twice", "bare", None, None]
    assert [part.name for part in table.definitions] == names
    kinds = [[clause.kind for clause in part.clauses] for part in table.definitions]
    assert kinds == [
        ["primary"], ["not", "default", "collate"], ["references", "not"], ["default", "check"],
        ["default", "null", "unique"], ["generated"], [], ["unique", "check"], ["foreign"],
    ]  # fmt: skip
    assert table.autoincrement
    assert not table.without_rowid
    assert [clause.columns for clause in table.clauses("foreign")] == [("parent", "n")]
    assert HARD[table.name_start : table.name_end] == '"odd, (name"'


def test_a_quoted_column_is_no_keyword() -> None:
    table = parse('CREATE TABLE t ("primary" TEXT, [unique] TEXT NOT NULL) WITHOUT ROWID')
    assert [part.name for part in table.definitions] == ["primary", "unique"]
    assert table.without_rowid
