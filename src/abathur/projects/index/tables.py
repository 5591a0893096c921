"""The tables of the index: in a project's store the files and chunks, in the registry the jobs.

A chunk's words are computed by the database, from the chunk itself: on PostgreSQL as a `tsvector` with a
GIN index, on SQLite as the text that a full-text table is kept equal to by triggers. So rows that come
by another way, by a move or a restored copy, are searchable as well.
"""

from __future__ import annotations

from typing import Final

from abathur.schema.declare import Column, Index, PerDialect, Reference, Schema, Table, Trigger, VirtualTable

ROOTS: Final = Table(
    # The directories that were indexed: a project may have several, each a clone or a worktree.
    "index_roots",
    (
        Column("id", "INTEGER", primary_key=True),
        Column("root", "TEXT", not_null=True),
        Column("indexed_at", "INTEGER"),
    ),
    unique=(("root",),),
)

FILES: Final = Table(
    "index_files",
    (
        Column("id", "INTEGER", primary_key=True),
        Column("root_id", "INTEGER", not_null=True, references=Reference("index_roots")),
        Column("path", "TEXT", not_null=True),  # from the root, with slashes
        Column("size", "INTEGER", not_null=True),
        Column("mtime_ns", "INTEGER", not_null=True),  # -1: not to be trusted, look at the content
        Column("sha256", "TEXT", not_null=True),
        Column("chunks", "INTEGER", not_null=True),
        Column("skipped", "TEXT"),  # why it has no chunks: `binary`
        Column("indexed_at", "INTEGER", not_null=True),
    ),
    unique=(("root_id", "path"),),
)

# What is no letter and no digit, in ASCII; of other text `folded` has nothing else left.
_SEPARATORS: Final = r"[\u0001-\u002f\u003a-\u0060\u007b-\u007f]+"
_SOURCE: Final = "coalesce(head || ' ', '') || coalesce(folded, body)"

CHUNKS: Final = Table(
    "index_chunks",
    (
        Column("id", "INTEGER", primary_key=True),
        Column("file_id", "INTEGER", not_null=True, references=Reference("index_files")),
        Column("ordinal", "INTEGER", not_null=True),
        Column("first_line", "INTEGER", not_null=True),
        Column("last_line", "INTEGER", not_null=True),
        Column("head", "TEXT"),  # of the first chunk: the words of the file's path
        Column("body", "TEXT", not_null=True),
        Column("folded", "TEXT"),  # the words of a body that is not plain ASCII
        Column(
            "terms",
            "TEXT",
            postgres="tsvector",
            generated=PerDialect(
                sqlite=_SOURCE,
                postgres="to_tsvector('simple'::regconfig, regexp_replace("
                f"lower(({_SOURCE}) COLLATE \"C\"), '{_SEPARATORS}', ' ', 'g'))",
            ),
        ),
    ),
)

TEXT: Final = VirtualTable(
    "index_text",
    "fts5",
    ("terms", "content='index_chunks'", "content_rowid='id'", "tokenize='unicode61 remove_diacritics 0'"),
)

_REMOVE: Final = "INSERT INTO index_text (index_text, rowid, terms) VALUES ('delete', old.id, old.terms);"
_ADD: Final = "INSERT INTO index_text (rowid, terms) VALUES (new.id, new.terms);"


def _kept(name: str, event: str, body: str) -> Trigger:
    sql = f"CREATE TRIGGER IF NOT EXISTS {name} AFTER {event} ON index_chunks BEGIN {body} END"
    return Trigger(name, "index_chunks", PerDialect(sqlite=sql))


INDEX: Final = Schema(
    owner="abathur_index",
    tables=(ROOTS, FILES, CHUNKS),
    virtual_tables=(TEXT,),
    indexes=(
        # replace the chunks of a file
        Index("index_chunks_of", "index_chunks", ("file_id", "ordinal"), unique=True),
        # search
        Index("index_chunks_terms", "index_chunks", (PerDialect(postgres="terms"),), using="gin"),
    ),
    triggers=(
        _kept("index_chunks_added", "INSERT", _ADD),
        _kept("index_chunks_removed", "DELETE", _REMOVE),
        _kept("index_chunks_changed", "UPDATE", f"{_REMOVE} {_ADD}"),
    ),
)
"""What a project's store holds."""

JOBS: Final = Schema(
    owner="abathur_index_jobs",
    tables=(
        Table(
            "index_jobs",
            (
                Column("id", "TEXT", primary_key=True),  # that of the task whose parts do the work
                Column(
                    "plan_id", "TEXT", not_null=True
                ),  # that of the task which walks and makes the batches
                Column("project_id", "TEXT", not_null=True),
                Column("root", "TEXT", not_null=True),
                Column("scope", "TEXT", not_null=True),  # below the root; empty for all of it
                Column("force", "INTEGER", not_null=True),
                Column("open", "INTEGER", not_null=True),  # 0 when it has ended, as far as was looked
                Column("follows", "TEXT", not_null=True),  # JSON: the jobs that it waits for
                Column("plan", "TEXT"),  # JSON: what the walk has found
            ),
        ),
    ),
    indexes=(
        Index("index_jobs_open", "index_jobs", ("id",), where="open = 1"),
        # the last jobs of a project
        Index("index_jobs_of", "index_jobs", ("project_id", "id")),
    ),
)
"""What the registry holds."""
