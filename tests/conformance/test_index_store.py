"""The store of an index: its schema on every engine, how it is moved, and how searches are planned."""

from __future__ import annotations

import pytest
from attrs import evolve

from abathur import Database, indexer, moving
from abathur.errors import MissingModuleError
from abathur.projects.index import api, storing
from abathur.projects.index.query import parse
from abathur.projects.index.reading import Reading
from abathur.projects.index.storing import Entry
from abathur.projects.index.tables import INDEX
from abathur.schema import Schema, VirtualTable
from abathur.script import Statement
from abathur.sql import library

TEXTS = {
    "a.txt": "the first word\n",
    "sub/b.txt": "the second wörd\n",
    "c.py": "def third():\n    pass\n" * 200,
}


async def fill(db: Database, texts: dict[str, str] = TEXTS) -> int:
    root_id = await db.run(storing.root, "/somewhere")
    entries = [Entry.of(path, Reading(text, None, len(text), 1, path)) for path, text in texts.items()]
    await db.run(storing.put, root_id, entries)
    return root_id


async def found(db: Database, query: str) -> set[str]:
    hits = await db.read(api.look, parse(query), db.engine.dialect, 1_000)
    return {hit.path for hit in hits}


async def check(db: Database) -> None:
    """Fail unless the full-text table and the chunks agree."""
    if db.engine.dialect == "sqlite":
        await db.run(_check)


def _check():
    yield Statement("test.check", check="integrity-check")


CHECK = {
    # A rank of 1 compares with the content table too, from SQLite 3.42 on; before that it is done always.
    "test.check": {
        "sqlite": "INSERT INTO index_text (index_text, rank) VALUES (:check, 1)",
        "postgres": "SELECT CAST(:check AS text) AS checked",
    },
    "test.analyze": "ANALYZE",
    "test.explain": {
        "sqlite": "SELECT :query AS nothing, :limit AS more",
        "postgres": f"EXPLAIN {library('postgres')['index_words.search'].sql}",
    },
}


@pytest.fixture
async def store(make_db) -> Database:
    return await make_db(schema=INDEX, queries=CHECK)


async def test_the_schema_of_a_store_is_made_once(store, make_db, processes):
    assert (await store.plan()).empty
    again = await make_db(schema=INDEX)
    assert (await again.initialize(verify=True)).steps == ()
    assert (await again.plan()).notes == ()


async def test_what_is_written_again_is_found_by_its_new_words_alone(store):
    root_id = await fill(store)
    assert await found(store, "word") == {"a.txt", "sub/b.txt"}
    assert await found(store, "wörd first") == {"a.txt"}
    await fill(store, {"a.txt": "something else\n", "sub/b.txt": ""})
    assert await found(store, "word") == set()
    assert await found(store, "else") == {"a.txt"}
    known = await store.read(storing.known, root_id, "")
    assert set(known) == set(TEXTS)
    await check(store)
    await store.run(storing.remove, root_id, list(known))
    assert await found(store, "third") == set()
    assert await store.read(storing.totals) == (0, 0)
    await check(store)


async def test_a_batch_that_is_late_touches_no_other_file_that_has_its_number_by_now(store):
    root_id = await fill(store)
    seen = Reading("", None, 7, 7, "c.py")
    late = indexer._Slice(touched={"c.py": seen, "a.txt": evolve(seen, sha256="before")}, removed=["c.py"])
    await store.run(storing.remove, root_id, ["c.py"])
    await fill(store, {"new.txt": "brand new\n"})  # on SQLite it gets the number of the last one
    before = await store.read(storing.known, root_id, "")
    await store.run(indexer._write, "/somewhere", late)
    assert await store.read(storing.known, root_id, "") == before
    assert await found(store, "brand") == {"new.txt"}
    # Neither does a batch of a directory that was forgotten.
    assert await store.run(storing.forget_root, root_id)
    other = await store.run(storing.root, "/elsewhere")
    await store.run(storing.put, other, [Entry.of("a.txt", Reading("theirs\n", None, 7, 1, "x"))])
    await store.run(indexer._write, "/somewhere", indexer._Slice(removed=["a.txt"]))
    assert await found(store, "theirs") == {"a.txt"}
    await check(store)


async def test_a_transaction_that_fails_leaves_no_words(store):
    await fill(store)

    def broken(now):
        entry = Entry.of("d.txt", Reading("never seen\n", None, 1, 1, "x"))
        yield from storing.put(1, [entry], now)
        raise RuntimeError("in the midst of it")

    with pytest.raises(RuntimeError):
        await store.run(broken)
    assert await found(store, "never") == set()
    await check(store)


async def test_a_root_that_is_forgotten_goes_with_its_files(store, monkeypatch):
    monkeypatch.setattr(storing, "PAGE", 2)
    root_id = await fill(store)
    assert not await store.run(storing.forget_root, root_id)
    assert await store.run(storing.forget_root, root_id)
    assert await store.read(storing.totals) == (0, 0)
    assert await store.run(storing.settle_root, "/elsewhere", ["/elsewhere"]) == []
    await check(store)


async def test_a_store_is_moved_and_can_be_searched_and_written_there(store, backup, postgres_url, tmp_path):
    await fill(store)
    answers = {
        query: await found(store, query) for query in ("word", "wörd", "third", '"the second"', "sec*")
    }
    assert all(answers.values())
    there = Database(postgres_url, schema=INDEX, environment="test")
    back = Database(
        tmp_path / "back.db",
        schema=INDEX,
        environment="test",
        queries={"test.check": CHECK["test.check"]["sqlite"]},
    )
    try:
        moved = await moving.move(store, there)
        assert {table.name for table in moved.tables} >= {"index_roots", "index_files", "index_chunks"}
        assert {query: await found(there, query) for query in answers} == answers
        await fill(there, {"new.txt": "brand new\n"})
        assert await found(there, "brand") == {"new.txt"}
        await moving.move(there, back)
        assert {query: await found(back, query) for query in answers} == answers
        assert await found(back, "brand") == {"new.txt"}
        await fill(back, {"a.txt": "another word\n"})
        assert await found(back, "first") == set()
        await check(back)
    finally:
        await there.close()
        await back.close()


async def test_a_store_whose_module_is_missing_says_so_and_is_not_made(unopened, backup):
    lacking = Schema("lacking", virtual_tables=(VirtualTable("lacking_text", "fts9", ("x",)),))
    db = unopened(schema=lacking)
    try:
        with pytest.raises(MissingModuleError, match="fts9") as caught:
            await db.initialize()
        assert caught.value.module == "fts9"
    finally:
        await db.close()


async def test_a_search_reads_the_index_and_no_other_chunk(store):
    if store.engine.dialect != "postgres":
        return  # the full-text table is nothing but an index
    await fill(store, {f"f{number}.txt": f"word{number} common\n" for number in range(2_000)})
    rows = await store.run(_explain)
    plan = "\n".join(row["QUERY PLAN"] for row in rows)
    assert "index_chunks_terms" in plan, plan


def _explain():
    yield Statement("test.analyze")
    return (yield Statement("test.explain", query="'word7'", limit=10))
