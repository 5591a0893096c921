"""A move that is killed again and again goes on where it was, and ends with an equal database."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from abathur import Claim, Database, moving
from abathur.errors import UnfinishedMoveError
from tests.conformance.moves import everything
from tests.faults.children import Start

KILLS = 12
TASKS = 400


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Where it is moved from and to."""
    made = {"file": str(tmp_path / "agents.db"), "other": str(tmp_path / "other.db")}
    if "postgres" in request.param:
        made["postgres"] = request.getfixturevalue("postgres_url")
    source, target = (made[one] for one in request.param)
    return source, target


async def fill(url: str, tasks: int) -> Claim:
    """Tasks of which a quarter is done, and one is running, whose claim is returned."""
    async with Database(url, environment="test", durability="normal") as db:
        for start in range(0, tasks, 1000):
            some = range(start, min(start + 1000, tasks))
            await db.tasks.enqueue_many([{"prompt": f"{n}", "key": f"{n}", "input": {"n": n}} for n in some])
        for _ in range(tasks // 4 // 100):
            claims = await db.tasks.claim("w", limit=100, lease=3600)
            await asyncio.gather(*(db.tasks.complete(claim, {"by": "w"}) for claim in claims))
        await db.audit.checkpoint()
        (claim,) = await db.tasks.claim("w", lease=3600)
        return claim


async def is_refused(url: str) -> bool:
    """Whether nobody else can open the target now."""
    db = Database(url, environment="test")
    try:
        if not await db.exists():
            return True
        await db.initialize()
    except UnfinishedMoveError:
        return True
    else:
        return not await db.tasks.list()  # it was killed before its first page
    finally:
        await db.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "places", [("file", "other"), ("file", "postgres"), ("postgres", "file")], ids=" to ".join, indirect=True
)
async def test_a_move_that_is_killed_goes_on(places, start: Start, figure):
    source, target = places
    claim = await fill(source, TASKS)
    draw, kills = random.Random(), 0
    for n in range(KILLS + 1):
        child = start("mover", source, target, 25)
        if n < KILLS:
            wanted, deadline = draw.randint(1, 5 + n), time.monotonic() + 30
            while len(child.lines) < wanted and time.monotonic() < deadline and child.is_alive:
                await asyncio.sleep(0.001)
        if n < KILLS and "moved" not in " ".join(child.lines):
            child.end(kill=True)
            kills += 1
            assert await is_refused(target)
            continue
        assert child.end() == 0, child.errors
        break
    last = child.lines[-1].split()
    assert last[0] == "moved"
    async with Database(source) as here, Database(target) as there:
        assert await everything(here) == await everything(there)
        assert str(await here.audit.head()) == str(await there.audit.head())
        assert (await there.audit.verify()).ok
        await there.tasks.complete(claim, {"by": "w"})
    figure(f"{kills} kills, {len(last) - 1} tables equal")


@pytest.mark.slow
async def test_a_large_queue_goes_to_postgresql_and_back_with_equal_digests(postgres_url, tmp_path, figure):
    source, back = str(tmp_path / "agents.db"), str(tmp_path / "back.db")
    await fill(source, 5_000)
    took = []
    digests = []
    for here, there in ((source, postgres_url), (postgres_url, back)):
        first, second = Database(here), Database(there, durability="normal")
        try:
            done = await moving.move(first, second)
        finally:
            await first.close()
            await second.close()
        took.append(done.took_ms / 1000)
        digests.append([(one.name, one.rows, one.digest) for one in done.tables])
    assert digests[0] == digests[1]
    rows = sum(rows for _, rows, _ in digests[0])
    figure(f"5,000 tasks, {rows:,} rows, to PostgreSQL in {took[0]:.1f} s and back in {took[1]:.1f} s")
