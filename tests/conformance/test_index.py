"""The index of a project: what a search finds in it, and what is done again when something changes."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from abathur import Database, indexer
from abathur.errors import InvalidInputError, NoProjectError, ProjectDirectoryError, UnknownProjectError
from abathur.projects import tools
from abathur.projects.index.values import IndexingJob
from tests.conformance.projects import World, repository
from tests.documents import ROOT


@asynccontextmanager
async def working(db: Database) -> AsyncIterator[None]:
    """A runner of the index's agents, for as long as the block lasts."""
    runner = indexer.runner(db)
    runner.grace = 0
    async with asyncio.TaskGroup() as group:
        group.create_task(runner.run())
        try:
            yield
        finally:
            runner.stop()


async def indexed(world: World, path: Path, **options: bool) -> IndexingJob:
    """Index a path, and wait until that is done."""
    job = await world.db.projects.start_indexing(path, **options)
    async with working(world.db):
        await world.db.tasks.wait(job.id, timeout=60)
    done = await world.db.projects.indexing(job)
    assert done.status == "completed", done.message
    return done


async def found(world: World, place: Path, query: str) -> list[str]:
    """The paths of the files that a search finds, by name."""
    hits = await world.db.projects.search(query, directory=place, limit=1_000)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    return sorted({hit.path for hit in hits})


def put(place: Path, path: str, text: str | bytes, *, age: float = 60) -> Path:
    file = place / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    then = time.time_ns() - int(age * 1e9)
    os.utime(file, ns=(then, then))
    return file


# -- what is found ---------------------------------------------------------------------------------


async def test_a_project_is_indexed_and_searched(world):
    place = world.repository()
    put(place, "src/lease.py", "def renew(lease):\n    '''Renew it.'''\n    return lease.fence + 1\n")
    put(place, "notes.md", "# Notes\n\nA lease has expired.\n")
    job = await indexed(world, place)
    assert (job.found, job.changed, job.done, job.indexed, job.removed) == (4, 4, 4, 4, 0)
    assert (job.progress, job.ended, job.skipped) == (1.0, True, {"ignored": 1})
    assert job.message == "4 files, 4 of them new or changed, 1 skipped"
    (hit,) = await world.db.projects.search("expired lease", directory=place)
    assert (hit.path, hit.root, hit.line, hit.first_line, hit.last_line) == (
        "notes.md", str(place), 3, 1, 3,
    )  # fmt: skip
    assert hit.snippet == "A lease has expired."
    assert await found(world, place, "lease") == ["notes.md", "src/lease.py"]
    by_id = await world.db.projects.search("fence", job.project_id)
    assert [one.path for one in by_id] == ["src/lease.py"]


CORPUS = {
    "lease.py": "def renew_lease(claim):\n    raise LeaseLostError('the lease is lost')\n",
    "notes.md": "# Leases\n\nA lease that has expired: naïve Größe. See RFC-1234, v1.2.3 and 1e5abc.\n",
    "more/japanese.txt": "全文検索とは文書を検索することである。データベース\n",
    "more/russian.txt": "Привет, мир! ПРИВЕТ\n",
    "more/turkish.txt": "İstanbul'da ﬁle\n",
    "web.html": "<a href='https://example.org/some/path?query=1'>mail me@example.org</a> -12 3.14 a-b-c\n",
    "sql.txt": "SELECT * FROM t WHERE x = 'AND OR NOT NEAR' -- \"quoted\" % _ \\ :* ! & | ()\n",
    "broken.txt": b"caf\xe9 au lait \xff",
    "long.txt": "word " * 5_000 + "needle " + "x" * 10_000 + " haystack",
}
QUERIES = {
    "lease": ["lease.py", "notes.md"],
    "LEASE": ["lease.py", "notes.md"],
    "leas*": ["lease.py", "notes.md"],
    "lease expired": ["notes.md"],
    "expired lease": ["notes.md"],
    '"lease that has"': ["notes.md"],
    '"that lease has"': [],
    '"lease that ha"*': ["notes.md"],
    "renew_lease": ["lease.py"],
    "renew-lease": ["lease.py"],
    "LeaseLost*": ["lease.py"],
    "LostError": [],
    "naive grosse": ["notes.md"],
    "NAÏVE größe": ["notes.md"],
    "1e5abc": ["notes.md"],
    "1e5*": ["notes.md"],
    "v1.2.3": ["notes.md"],
    "v1.2": ["notes.md"],
    "1234": ["notes.md"],
    "検索": ["more/japanese.txt"],
    "索検": [],
    "データベース": ["more/japanese.txt"],
    "привет": ["more/russian.txt"],
    "ISTANBUL": ["more/turkish.txt"],
    "file": ["more/turkish.txt"],
    "example.org": ["web.html"],
    "me@example.org": ["web.html"],
    "https://example.org/some/path": ["web.html"],
    "-12": ["web.html"],
    "3.14": ["web.html"],
    "a-b-c": ["web.html"],
    "AND OR NOT": ["sql.txt"],
    "where x = 'and or": ["sql.txt"],
    "select * from t": ["sql.txt"],
    "% _ quoted": ["sql.txt"],
    "caf": ["broken.txt"],
    "café": [],
    "needle haystack": [],  # in two chunks
    "needle": ["long.txt"],
    "haystack": ["long.txt"],
    "japanese.txt": ["more/japanese.txt"],  # the path is searched as well
    "more txt": ["more/japanese.txt", "more/russian.txt", "more/turkish.txt"],
    "nowhere": [],
    "x'; DROP TABLE index_files; --": [],
}


async def test_the_same_is_found_on_every_engine(world):
    place = world.repository()
    for path, text in CORPUS.items():
        put(place, path, text)
    await indexed(world, place)
    answers = {query: await found(world, place, query) for query in QUERIES}
    assert answers == QUERIES


async def test_the_best_is_first_and_no_more_than_asked_for(world):
    place = world.repository()
    put(place, "once.txt", "needle " + "hay " * 200)
    put(place, "often.txt", "needle needle needle\n")
    put(place, "other.txt", "hay " * 50)
    await indexed(world, place)
    hits = await world.db.projects.search("needle", directory=place)
    assert [hit.path for hit in hits] == ["often.txt", "once.txt"]
    assert [hit.path for hit in await world.db.projects.search("needle", directory=place, limit=1)] == [
        "often.txt"
    ]


@pytest.mark.parametrize(
    ("query", "limit"),
    [("", 10), ("***", 10), ("nul \0", 10), ("x" * 501, 10), ("x", 0), ("x", 1_001), ("x", True)],
)
async def test_a_search_for_nothing_is_refused(world, query, limit):
    place = world.repository()
    with pytest.raises(InvalidInputError):
        await world.db.projects.search(query, directory=place, limit=limit)


async def test_a_search_says_where_it_may_not_look(world):
    with pytest.raises(NoProjectError):
        await world.db.projects.search("x", directory=world.directory())
    with pytest.raises(UnknownProjectError):
        await world.db.projects.search("x", "no such project")
    assert await world.db.projects.search("x", directory=world.repository()) == []  # not indexed yet


async def test_this_repository_is_indexed(world):
    place = world.repository()
    (place / "src").symlink_to(ROOT / "src")  # links are not followed
    job = await indexed(world, place)
    assert job.skipped["link"] == 1
    (place / "src").unlink()
    for file in (ROOT / "src").rglob("*"):
        if file.suffix in (".py", ".sql"):
            put(place, str(file.relative_to(ROOT)), file.read_bytes())
    job = await indexed(world, place)
    assert job.indexed > 150
    assert job.chunks > 500
    assert (await indexed(world, place)).indexed == 0
    hits = await world.db.projects.search('"Runner: claims tasks"', directory=place)
    assert (hits[0].path, hits[0].line) == ("src/abathur/runner.py", 1)


# -- what is done again ----------------------------------------------------------------------------


async def test_only_what_has_changed_is_read_and_only_what_is_new_is_indexed(world):
    place = world.repository()
    for name in ("a", "b", "c"):
        put(place, f"{name}.txt", f"this is {name}, and same\n")
    first = await indexed(world, place)
    assert first.indexed == 5
    again = await indexed(world, place)
    # The two files of the repository are of this moment, so only their content tells.
    assert (again.found, again.indexed, again.chunks) == (5, 0, 0)
    assert again.changed == again.done == 2
    for name in ("main.py", "README.md"):
        put(place, name, (place / name).read_bytes())
    assert (await indexed(world, place)).changed == 2
    assert (await indexed(world, place)).changed == 0
    put(place, "a.txt", "this is a, and same\n", age=30)  # only its time has changed
    put(place, "b.txt", "this is B, and else\n", age=60)  # of the same length
    put(place, "b.txt", "this is B, and else\n", age=50)
    job = await indexed(world, place)
    assert (job.changed, job.indexed, job.removed) == (2, 1, 0)
    assert await found(world, place, "same") == ["a.txt", "c.txt"]
    assert await found(world, place, "else") == ["b.txt"]


async def test_with_force_everything_is_indexed_again(world):
    place = world.repository()
    file = put(place, "a.txt", "before\n")
    await indexed(world, place)
    seen = file.stat()
    put(place, "a.txt", "behind\n")
    os.utime(file, ns=(seen.st_mtime_ns, seen.st_mtime_ns))  # somebody sets the clock back
    assert (await indexed(world, place)).indexed == 0
    job = await indexed(world, place, force=True)
    assert (job.force, job.changed, job.indexed) == (True, 3, 3)
    assert await found(world, place, "behind") == ["a.txt"]
    assert await found(world, place, "before") == []


async def test_what_is_gone_leaves_the_index(world):
    place = world.repository()
    for path in ("a.txt", "sub/b.txt", "sub/c.txt", "binary.txt", "large.txt", "ignored.txt", "link.txt"):
        put(place, path, "some word\n")
    await indexed(world, place)
    (place / "a.txt").unlink()
    (place / "sub" / "b.txt").rename(place / "moved.txt")
    put(place, "binary.txt", b"some word\0")
    put(place, "large.txt", "some word\n" * 200_000)
    put(place, ".gitignore", "ignored.txt\n")
    (place / "link.txt").unlink()
    (place / "link.txt").symlink_to("sub/c.txt")
    job = await indexed(world, place)
    assert await found(world, place, "some") == ["moved.txt", "sub/c.txt"]
    assert job.skipped == {"ignored": 2, "binary": 1, "oversized": 1, "link": 1}
    again = await indexed(world, place)
    assert (again.indexed, again.removed) == (0, 0)
    (place / "sub" / "c.txt").unlink()
    assert (await indexed(world, place / "sub")).removed == 1
    assert await found(world, place, "some") == ["moved.txt"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE])
async def test_what_cannot_be_read_just_now_stays_in_the_index(world, monkeypatch, code):
    place = world.repository()
    put(place, "a.txt", "word first\n")
    await indexed(world, place)
    file = put(place, "a.txt", "word second\n", age=30)
    real, refused = os.open, []

    def refusing(path, *arguments, **options):
        if path == str(file) and not (code == errno.EMFILE and refused):
            refused.append(path)
            raise OSError(code, os.strerror(code))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refusing)
    job = await indexed(world, place)
    monkeypatch.undo()
    assert (refused, job.removed) == ([str(file)], 0)
    if code == errno.EACCES:
        assert job.skipped == {"ignored": 1, "unreadable": 1}
        assert await found(world, place, "first") == ["a.txt"]
        await indexed(world, place)  # and it is looked at again
    assert await found(world, place, "second") == ["a.txt"]


async def test_a_part_is_indexed_without_touching_the_rest(world):
    place = world.repository()
    put(place, "src/a.py", "word\n")
    put(place, "src2/b.py", "word\n")
    put(place, "src.py", "word\n")
    job = await indexed(world, place / "src")
    assert (job.path, job.found) == (str(place / "src"), 1)
    assert await found(world, place, "word") == ["src/a.py"]
    assert (await indexed(world, place / "src.py")).found == 1
    assert await found(world, place, "word") == ["src.py", "src/a.py"]
    assert (await indexed(world, place)).indexed == 3  # the other one, and those of the repository
    for file in ("src/a.py", "src.py"):
        (place / file).unlink()
    assert (await indexed(world, place / "src")).removed == 1
    assert await found(world, place, "word") == ["src.py", "src2/b.py"]


async def test_a_file_that_changes_while_it_is_indexed_is_looked_at_again(world, monkeypatch):
    place = world.repository()
    file = put(place, "a.txt", "first\n")
    from abathur.projects.index import reading

    real = reading._bytes

    def slow(descriptor: int, most: int) -> bytes:
        data = real(descriptor, most)
        if data == b"first\n":
            file.write_text("second version\n")
        return data

    monkeypatch.setattr(reading, "_bytes", slow)
    await indexed(world, place)
    assert await found(world, place, "second") == ["a.txt"]
    monkeypatch.undo()
    put(place, "a.txt", "third version\n")
    await indexed(world, place)
    assert await found(world, place, "third") == ["a.txt"]
    assert await found(world, place, "second") == []


async def test_a_file_that_vanishes_between_the_walk_and_the_reading_is_gone(world):
    place = world.repository()
    put(place, "a.txt", "word\n")
    put(place, "b.txt", "word\n")
    await indexed(world, place)
    put(place, "a.txt", "word again\n")
    put(place, "b.txt", "word again\n")
    (plan_only,) = [await world.db.projects.start_indexing(place)]
    (claim,) = await world.db.tasks.claim("w", agent_types=["abathur.index.plan"])
    await world.db.tasks.complete(claim, await indexer.plan(_Handed(world.db, claim)))
    (place / "a.txt").unlink()
    async with working(world.db):
        await world.db.tasks.wait(plan_only.id, timeout=60)
    job = await world.db.projects.indexing(plan_only)
    assert (job.changed, job.done, job.indexed, job.removed) == (4, 4, 1, 1)
    assert await found(world, place, "word") == ["b.txt"]


class _Handed:
    """What a handler uses of a Context."""

    def __init__(self, db, claim) -> None:
        self.db, self.task, self.input = db, claim.task, claim.task.input


# -- directories -----------------------------------------------------------------------------------


async def test_a_project_that_was_moved_is_not_indexed_anew(world):
    place = world.repository()
    put(place, "a.txt", "word\n")
    await indexed(world, place)
    there = place.rename(world.place / "elsewhere")
    job = await indexed(world, there)
    assert job.indexed == 0
    (hit,) = await world.db.projects.search("word", job.project_id)
    assert (hit.root, hit.path) == (str(there), "a.txt")


async def test_two_clones_of_a_project_are_both_in_its_index(world):
    place = world.repository()
    put(place, "a.txt", "word\n")
    job = await indexed(world, place)
    other = world.repository(project_id=job.project_id)
    put(other, "a.txt", "word other\n")
    assert (await indexed(world, other)).project_id == job.project_id
    hits = await world.db.projects.search("word", job.project_id)
    assert {(hit.root, hit.path) for hit in hits} == {(str(place), "a.txt"), (str(other), "a.txt")}
    assert (await indexed(world, place)).indexed == 0


@pytest.mark.parametrize("wrong", ["", "no/such/place", "nul\0", 7, None])
async def test_a_path_that_is_none_is_refused(world, wrong):
    with pytest.raises((ProjectDirectoryError, InvalidInputError, TypeError)):
        await world.db.projects.start_indexing(wrong)
    assert await world.db.tasks.list() == []


async def test_a_path_outside_of_the_project_is_refused(world):
    place, other = world.repository(), world.directory()
    project = (await world.here(place)).project_id
    put(other, "secret.txt", "x")
    (place / "way_out").symlink_to(other)
    for path in (
        other,
        other / "secret.txt",
        place / "way_out",
        place / "..",
        place / "way_out" / "secret.txt",
    ):
        with pytest.raises(InvalidInputError, match="not in the project"):
            await world.db.projects.start_indexing(path, project)
    with pytest.raises(NoProjectError):
        await world.db.projects.start_indexing(other)
    os.mkfifo(place / "pipe")
    with pytest.raises(ProjectDirectoryError, match="neither"):
        await world.db.projects.start_indexing(place / "pipe", project)


async def test_a_project_inside_another_one_is_not_indexed_into_it(world):
    place = world.repository()
    project = (await world.here(place)).project_id
    inner = repository(place / "sub" / "inner", "Inner")
    put(inner, "src/a.txt", "word\n")
    for path in (inner, inner / "src", inner / "src" / "a.txt"):
        with pytest.raises(InvalidInputError, match="is in a project of its own"):
            await world.db.projects.start_indexing(path, project)
    assert (await world.db.projects.start_indexing(place / "sub", project)).project_id == project
    assert (await world.db.projects.start_indexing(inner / "src")).project_id != project
    # One that was made a directory of the same project is a root of its own.
    await world.db.projects.adopt(project, inner)
    job = await world.db.projects.start_indexing(inner / "src", project)
    assert (job.project_id, job.path) == (project, str(inner / "src"))


async def test_a_task_that_asks_for_a_file_outside_reads_nothing(world):
    place = world.repository()
    put(world.place, "secret.txt", "treasure")
    (place / "way_out").symlink_to(world.place)
    job = await indexed(world, place)
    given = {"project_id": job.project_id, "root": str(place), "scope": "", "force": True}
    paths = ["../secret.txt", "/etc/passwd", "way_out/secret.txt", "sub/../../secret.txt"]
    forged = [{**given, "paths": paths}, {**given, "root": str(world.place), "paths": ["secret.txt"]}]
    later = await world.db.projects.start_indexing(place)
    await world.db.tasks.enqueue_many(
        {"prompt": "x", "agent_type": "abathur.index.batch", "input": one, "parent": later.id}
        for one in forged
    )
    async with working(world.db):
        await world.db.tasks.wait(later.id, timeout=60)
        while [one for one in await world.db.tasks.list(limit=1_000) if not one.ended]:
            await asyncio.sleep(0.02)
    assert await found(world, place, "treasure") == []


async def test_a_root_that_is_not_there_fails_and_keeps_its_index(world):
    place = world.repository()
    put(place, "a.txt", "word\n")
    job = await indexed(world, place)
    again = await world.db.projects.start_indexing(place)
    away = place.rename(world.place / "unmounted")
    async with working(world.db):
        while (await world.db.tasks.list(agent_type="abathur.index.plan", newest_first=True))[0].attempt < 1:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
    assert [hit.path for hit in await world.db.projects.search("word", job.project_id)] == ["a.txt"]
    assert "trying again: " in (message := (await world.db.projects.indexing(again)).message)
    assert "is not there" in message
    away.rename(place)
    plan = (await world.db.tasks.list(agent_type="abathur.index.plan", newest_first=True))[0]
    assert "is not there" in str(plan.error)
    assert (await world.db.projects.cancel_indexing(again)).status == "cancelled"


# -- tools -----------------------------------------------------------------------------------------


async def test_the_tools_answer_with_plain_values(world):
    place = world.repository()
    put(place, "a.txt", "the word\n")
    projects = world.db.projects
    started = await tools.start_indexing(projects, str(place))
    assert set(started) == {"job_id", "status", "project_id", "database_name"}
    assert started["status"] == "queued"
    async with working(world.db):
        await world.db.tasks.wait(started["job_id"], timeout=60)
    status = await tools.indexing_status(projects, started["job_id"])
    assert (status["status"], status["indexed"], status["progress"]) == ("completed", 3, 1.0)
    answer = await tools.search(projects, "word", started["project_id"], 5)
    assert [hit["path"] for hit in answer["hits"]] == ["a.txt"]
    assert answer == await tools.search(projects, "word", directory=str(place))
    with pytest.raises(InvalidInputError):
        await tools.indexing_status(projects, "nothing")
