"""An index that is killed again and again is in the end what it would have been."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from abathur import Database
from abathur.projects.index import jobs
from abathur.projects.index.chunks import chunks
from abathur.projects.index.values import IndexingJob
from abathur.script import Built, Script

FILES, KILLS = 120, 3
PROGRAM = """
import sys
from abathur import indexer
from abathur.cli import main
indexer.LEASE, indexer.FILES, indexer.SLICE = 0.7, 5, 2_000
main(sys.argv[1:])
"""
"""`abathur index` with small batches, and leases that are soon over."""


def tree(place: Path) -> dict[str, str]:
    """A project; returns {path: text}."""
    (place / ".abathur").mkdir(parents=True)
    (place / ".abathur" / "config.json").write_text(
        json.dumps({"version": "1.0", "project": {"name": "crew"}})
    )
    made = {}
    for number in range(FILES):
        path = f"d{number % 7}/f{number}.txt"
        made[path] = f"unique{number} common\n" * (1 + number % 90)
        (place / path).parent.mkdir(exist_ok=True)
        (place / path).write_text(made[path])
    return made


def start(url: str, place: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PROGRAM, "--database", url, "index", str(place), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


async def killed(db: Database, job: IndexingJob, url: str, place: Path, wait: float) -> None:
    """Let a process index for a while, and kill it."""
    process = start(url, place)
    deadline = time.monotonic() + 30
    while not (await db.tasks.list(agent_type=jobs.BATCH, status="running") or process.poll() is not None):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    await asyncio.sleep(wait)
    process.kill()
    process.communicate()
    assert (await db.projects.indexing(job)).status in ("running", "completed")


def contents() -> Script[dict[str, tuple[int, str]]]:
    """{path: (number of chunks, the text that they make)}."""
    rows = yield Built(
        "SELECT f.path, f.chunks, c.body FROM index_files AS f JOIN index_chunks AS c ON c.file_id = f.id"
        " ORDER BY f.path, c.ordinal"
    )
    found: dict[str, tuple[int, str]] = {}
    for row in rows:
        _, text = found.get(row["path"], (0, ""))
        found[row["path"]] = (row["chunks"], text + row["body"])
    return found


def check_words() -> Script[None]:
    """Raise an error if the full-text table does not agree with the chunks."""
    yield Built("INSERT INTO index_text (index_text, rank) VALUES ('integrity-check', 1)")


@pytest.mark.parametrize("engine", ["file", "postgres"])
@pytest.mark.row("R1")
async def test_an_index_that_is_killed_at_random_moments_is_whole_in_the_end(
    engine, budget, tmp_path, request, monkeypatch, figure
):
    monkeypatch.setenv("HOME", str(tmp_path))
    draw = budget.draw()
    kills = repeated = 0
    for number in budget(quick=1, long=300):
        place = tmp_path / f"work{number}"
        texts = tree(place)
        url = str(tmp_path / f"registry{number}.db")
        if engine == "postgres":
            url = request.getfixturevalue("postgres_url")
        async with Database(url, environment="test") as db:
            job = await db.projects.start_indexing(place)
            for _ in range(KILLS):
                await killed(db, job, url, place, draw.uniform(0, 0.3))
                kills += 1
            out, said = await asyncio.to_thread(start(url, place).communicate, timeout=60)
            assert json.loads(out)["job_id"], said
            parts = await db.tasks.list(parent=job.id, limit=1_000)
            repeated += sum(part.attempt - 1 for part in parts)
            store = await db.projects.store(job.project_id)
            assert await store.read(contents) == {
                path: (len(chunks(text)), text) for path, text in texts.items()
            }
            for one in draw.sample(range(FILES), 10):
                hits = await db.projects.search(f"unique{one} common", job.project_id)
                assert {hit.path for hit in hits} == {f"d{one % 7}/f{one}.txt"}
            if engine == "file":
                await store.run(check_words)
            await db.projects.close()
            if engine == "postgres":
                await store_removed(db, job)
    assert repeated <= 2 * kills  # the two batches that each killed process was at
    figure(f"{kills} kills, {repeated} batches done again")


async def store_removed(db: Database, job: IndexingJob) -> None:
    """Drop the schema of a store, which lies beside the test's own."""
    import asyncpg

    connection = await asyncpg.connect(db.engine.address.partition("schema=")[0].rstrip("?&"))
    try:
        await connection.execute(f'DROP SCHEMA "{job.database_name}" CASCADE')
    finally:
        await connection.close()
