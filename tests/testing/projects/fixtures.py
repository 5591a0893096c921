"""The fixtures as others use them. It is copied into a project of its own."""

import asyncio
import os
from pathlib import Path

import pytest

SEEN = Path(os.environ["SEEN"])


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def is_new(db):
    async with db:
        assert await db.tasks.list() == []
        assert (await db.initialize()).environment == "test"
        await db.tasks.enqueue("a")
        with (SEEN / str(os.getpid())).open("a") as seen:
            seen.write(f"{db.url}\n")


@pytest.mark.parametrize("turn", range(2))
def test_plain(abathur_db, turn):
    asyncio.run(is_new(abathur_db))


@pytest.mark.anyio
@pytest.mark.parametrize("turn", range(2))
async def test_anyio(abathur_db, turn):
    await is_new(abathur_db)


@pytest.mark.asyncio
@pytest.mark.parametrize("turn", range(2))
async def test_asyncio(abathur_db, turn):
    await is_new(abathur_db)


def test_each_by_its_name(abathur_memory, abathur_path, abathur_postgres):
    for db in (abathur_memory, abathur_path, abathur_postgres):
        asyncio.run(is_new(db))
    assert abathur_path.path.exists()
    with pytest.raises(TypeError):
        _ = abathur_memory.path


def test_again_at_the_same_place(abathur_path):
    async def main():
        async with abathur_path as db:
            await db.tasks.enqueue("a")
        async with abathur_path.another(actor="me") as db:
            assert len(await db.tasks.list()) == 1

    asyncio.run(main())


def test_never_opened(abathur_db):
    assert "new" in repr(abathur_db)


@pytest.mark.anyio
async def test_with_a_clock(abathur_db, abathur_clock, task_factory):
    async with abathur_db as db:
        assert db.clock is abathur_clock
        await task_factory(agent_type="reviewer")


def test_left_open(abathur_db):
    async def main():
        await abathur_db.initialize()
        await abathur_db.tasks.enqueue("a")

    asyncio.run(main())
