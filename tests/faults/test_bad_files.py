"""R14: a bad file is a typed error or the right data, and never taken for a new one."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing

import pytest

from abathur import Database
from abathur.errors import (
    AbathurError,
    CorruptDatabaseError,
    EngineError,
    ForeignDatabaseError,
    MissingDirectoryError,
    NewerSchemaError,
    NotADatabaseError,
    OpenError,
    ReadOnlyDatabaseError,
)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A closed database with tasks, and what they say."""
    path = tmp_path_factory.mktemp("good") / "agents.db"

    async def make():
        async with Database(path, environment="test") as db:
            for n in range(30):
                await db.tasks.enqueue(f"prompt {n}", input={"n": n}, agent_type="ab"[n % 2])
            for claim in await db.tasks.claim("w", limit=10):
                await db.tasks.complete(claim, {"done": True})
            return await db.tasks.list()

    return path, asyncio.run(make())


def listing(directory):
    return sorted(path.name for path in directory.iterdir())


async def opened(path, **options):
    """(report, tasks, trail is good) of a database that may be bad; errors are the caller's."""
    db = Database(path, lock_timeout=2, **options)
    try:
        report = await db.initialize()
        return report, await db.tasks.list(limit=1000), await db.audit.verify()
    finally:
        await db.close()


async def refused(path, kind, **options):
    """Opening raises this error, leaves the bytes as they are, and leaves nothing beside them."""
    before = path.read_bytes()
    with pytest.raises(kind) as caught:
        await opened(path, **options)
    assert path.read_bytes() == before, "its bytes were changed"
    assert str(path) in str(caught.value)
    return caught.value


GARBAGE = {
    "text": b"Dear diary, today I wrote a file.\n" * 200,
    "one byte": b"x",
    "a short line": b"hello\n",
    "zeros": bytes(8192),
    "random": random.Random(1).randbytes(20_000),
    "almost the magic": b"SQLite format 2\0" + bytes(4080),
    "the magic and zeros": b"SQLite format 3\0" + bytes(4080),
    "the magic alone": b"SQLite format 3\0",
    "the magic and noise": b"SQLite format 3\0" + random.Random(2).randbytes(8176),
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_a_file_of_garbage_is_refused_and_left_as_it_is(tmp_path, name):
    path = tmp_path / "agents.db"
    path.write_bytes(GARBAGE[name])
    await refused(path, (NotADatabaseError, CorruptDatabaseError))


async def test_an_empty_file_is_a_new_database(tmp_path):
    path = tmp_path / "agents.db"
    path.touch()
    report, tasks, _ = await opened(path)
    assert report.created
    assert tasks == []


@pytest.mark.parametrize(
    "size", [1, 15, 16, 17, 50, 99, 100, 101, 511, 512, 1000, 4095, 4096, 4097, 8192, "half", -4096, -1]
)
async def test_a_truncated_database_is_refused_or_right_and_never_taken_for_new(tmp_path, good, size):
    source, tasks = good
    path = tmp_path / "agents.db"
    data = source.read_bytes()
    path.write_bytes(data[: len(data) // 2 // 4096 * 4096 if size == "half" else size])
    before = path.read_bytes()
    try:
        report, found, _ = await opened(path)
    except (OpenError, EngineError):
        assert path.read_bytes() == before
    else:
        assert not report.created
        assert report.steps == ()
        assert found == tasks


def spoilt(data: bytes, number: int, draw: random.Random) -> tuple[str, bytes]:
    """The bad file with this number: first each byte of the header, then anything."""
    changed = bytearray(data)
    if number < 100:
        changed[number] ^= draw.choice([0x01, 0x80, 0xFF])
        return "a byte of the header", changed
    how = draw.choice(["page head", "anywhere", "anywhere", "truncated", "noise", "zeros", "moved"])
    pages = len(data) // 4096
    page = draw.randrange(1, pages) * 4096
    if how == "page head":
        changed[page + draw.randrange(12)] ^= 0xFF
    elif how == "anywhere":
        changed[draw.randrange(100, len(data))] ^= 1 << draw.randrange(8)
    elif how == "truncated":
        del changed[draw.choice([50, draw.randrange(1, len(data)), page]) :]
    elif how == "noise":
        changed[page : page + 4096] = draw.randbytes(4096)
    elif how == "zeros":
        changed[page : page + 4096] = bytes(4096)
    else:
        other = draw.randrange(1, pages) * 4096
        changed[page : page + 4096] = data[other : other + 4096]
    return how, changed


@pytest.mark.row("R14")
@pytest.mark.timeout(120)
async def test_a_spoilt_file_is_noticed_or_does_no_harm(tmp_path, good, budget, figure):
    """Flipped, overwritten, moved and cut: a typed error or the right data, and never taken for new."""
    source, tasks = good
    data = source.read_bytes()
    draw = budget.draw()
    outcomes: Counter[str] = Counter()
    for number in budget(quick=600, long=3_000):
        directory = tmp_path / f"{number}"
        directory.mkdir()
        path = directory / "agents.db"
        how, changed = spoilt(data, number, draw)
        path.write_bytes(changed)
        try:
            report, found, trail = await opened(path)
        except AbathurError as error:
            outcomes[type(error).__name__] += 1
            if isinstance(error, (ForeignDatabaseError, NotADatabaseError, NewerSchemaError)):
                assert path.read_bytes() == changed
        else:
            assert not report.created, (number, how)
            same = found == tasks
            outcomes[
                "right" if same else "altered, and the trail says so" if not trail.ok else "altered"
            ] += 1
            # SQLite has no checksums: a byte of a text can change without anybody's knowing.
            assert same or number >= 100, (number, how)
        assert path.stat().st_size > 0, "nothing is ever deleted"
        shutil.rmtree(directory)
    figure(f"R14: {outcomes.total():,} bad files: {dict(outcomes.most_common())}")


async def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, said in ((tmp_path / "fifo", "named pipe"), (tmp_path, "directory")):
        db = Database(path)
        with pytest.raises(NotADatabaseError, match=said):
            await asyncio.wait_for(db.initialize(), 5)
        await db.close()
    assert listing(tmp_path) == ["fifo"]


async def test_a_missing_directory_is_not_made(tmp_path):
    with pytest.raises(MissingDirectoryError):
        await opened(tmp_path / "missing" / "agents.db")
    assert listing(tmp_path) == []


async def test_another_applications_file_is_refused_unless_it_is_adopted(tmp_path):
    path = tmp_path / "agents.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 252006674")
        connection.execute("CREATE TABLE theirs (a)")
        connection.execute("INSERT INTO theirs VALUES (17)")
        connection.commit()
    error = await refused(path, ForeignDatabaseError)
    assert error.application_id == 252006674
    assert "0x0f055112" in str(error)
    assert listing(tmp_path) == ["agents.db"], "not even a lock file"
    report, tasks, _ = await opened(path, adopt=True)
    assert report.steps
    assert tasks == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT a FROM theirs").fetchall() == [(17,)]


async def test_a_newer_schema_is_refused_and_both_versions_are_named(tmp_path, good):
    path = tmp_path / "agents.db"
    shutil.copyfile(good[0], path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("UPDATE abathur_meta SET value = '99.1' WHERE key = 'min_reader_version'")
        connection.commit()
    error = await refused(path, NewerSchemaError)
    assert error.needed == "99.1"
    assert "99.1" in str(error)
    assert error.ours in str(error)
    assert listing(tmp_path) == ["agents.db"]


async def test_a_newer_database_that_says_it_can_be_read_is_opened(tmp_path, good):
    path = tmp_path / "agents.db"
    shutil.copyfile(good[0], path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE abathur_meta SET value = '99.1' WHERE key = 'version'")
        connection.execute("ALTER TABLE tasks ADD COLUMN from_the_future TEXT")
        connection.commit()
    _, tasks, trail = await opened(path)
    assert tasks == good[1]
    assert trail.ok


async def test_a_directory_that_cannot_be_written_is_said(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    place = tmp_path / "closed"
    place.mkdir(mode=0o500)
    with pytest.raises(ReadOnlyDatabaseError):
        await opened(place / "agents.db")


async def test_a_good_file_is_right(good, tmp_path):
    path = tmp_path / "agents.db"
    shutil.copyfile(good[0], path)
    report, tasks, trail = await opened(path)
    assert (report.steps, tasks, trail.ok) == ((), good[1], True)
