"""Ways to a PostgreSQL database. Those called `test_no_...` have to fail, the others to pass.

It is copied into a project of its own. `PLAIN` is the URL of a database without a stamp, `DEVELOPMENT` and
`STAMPED` are those of schemas that are stamped development and test; `SOCKET` is the directory of the socket.
"""

import asyncio
import contextlib
import os
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from abathur import Database

PLAIN, DEVELOPMENT, STAMPED = (os.environ[name] for name in ("PLAIN", "DEVELOPMENT", "STAMPED"))
SOCKET = os.environ["SOCKET"]
USER = urlsplit(PLAIN).username


def schema_of(url):
    return parse_qs(urlsplit(url).query)["schema"][0]


async def ask(*args, **options):
    connection = await asyncpg.connect(*args, **options)
    try:
        return await connection.fetchval("SELECT 1")
    finally:
        await connection.close()


def test_no_asyncpg():
    asyncio.run(ask(PLAIN))


def test_no_asyncpg_by_options():
    asyncio.run(ask(host=SOCKET, user=USER, database="postgres"))


def test_no_asyncpg_by_the_environment(monkeypatch):
    for name, value in (("PGHOST", SOCKET), ("PGUSER", USER), ("PGDATABASE", "postgres")):
        monkeypatch.setenv(name, value)
    asyncio.run(ask())


def test_no_asyncpg_pool():
    async def main():
        async with asyncpg.create_pool(PLAIN, min_size=1, max_size=1) as pool:
            await pool.fetchval("SELECT 1")

    asyncio.run(main())


def test_no_asyncpg_swallowed():
    async def main():
        with contextlib.suppress(Exception):
            await ask(PLAIN)

    asyncio.run(main())


def test_no_psycopg():
    psycopg.connect(PLAIN).close()


def test_no_psycopg_by_options():
    psycopg.Connection.connect(host=SOCKET, user=USER, dbname="postgres").close()


def test_no_psycopg_by_the_environment(monkeypatch):
    for name, value in (("PGHOST", SOCKET), ("PGUSER", USER), ("PGDATABASE", "postgres")):
        monkeypatch.setenv(name, value)
    psycopg.connect().close()


def test_no_psycopg_by_a_service(monkeypatch, tmp_path):
    (tmp_path / "services").write_text(f"[mine]\nhost={SOCKET}\nuser={USER}\ndbname=postgres\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    psycopg.connect("service=mine").close()


def test_no_psycopg_swallowed():
    with contextlib.suppress(Exception):
        psycopg.connect(PLAIN)


def test_no_psycopg_asynchronous():
    async def main():
        async with await psycopg.AsyncConnection.connect(PLAIN) as connection:
            await connection.execute("SELECT 1")

    asyncio.run(main())


def test_no_sqlalchemy_on_psycopg():
    engine = sqlalchemy.create_engine(PLAIN.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))


def test_no_sqlalchemy_on_asyncpg():
    async def main():
        engine = create_async_engine(f"postgresql+asyncpg://{USER}@/postgres?host={SOCKET}")
        async with engine.begin() as connection:
            await connection.execute(sqlalchemy.text("SELECT 1"))

    asyncio.run(main())


def test_no_abathur_on_a_development_database():
    async def main():
        async with Database(DEVELOPMENT):
            pass

    asyncio.run(main())


def test_stamped_test():
    async def main():
        async with Database(STAMPED) as db:
            assert await db.tasks.list() == []
        await ask(PLAIN, server_settings={"search_path": schema_of(STAMPED)})

    asyncio.run(main())


@pytest.mark.parametrize("autocommit", [True, False])
def test_stamped_test_by_psycopg(autocommit):
    options = f"-c search_path={schema_of(STAMPED)}"
    with psycopg.connect(PLAIN, options=options, autocommit=autocommit) as connection:
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert connection.execute("SELECT value FROM abathur_meta WHERE key = 'environment'").fetchone() == (
            "test",
        )

    async def main():
        async with await psycopg.AsyncConnection.connect(PLAIN, options=options) as connection:
            await connection.execute("SELECT 1")

    asyncio.run(main())


@pytest.mark.abathur_allow_database(f"postgresql:///postgres?host={SOCKET}", reason="to see that it can be")
def test_marked():
    psycopg.connect(PLAIN).close()
    asyncio.run(ask(PLAIN))


def test_a_server_that_is_not_there_is_not_there():
    with pytest.raises(OSError):
        asyncio.run(ask("postgresql://127.0.0.1:1/nothing", timeout=5))
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect("postgresql://127.0.0.1:1/nothing", connect_timeout=5)
