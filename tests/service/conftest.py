"""A service on each engine for the tests of a module, and what asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import nats
import pytest
from attrs import define

from abathur import Database
from abathur.errors import MissingExtraError
from abathur.service import DatabaseService
from abathur.testing.nats_fixtures import (  # noqa: F401  # fixtures, which pytest finds here
    _abathur_anyio_database_service,
    _abathur_anyio_nats_client,
    database_service,
    nats_client,
    nats_server,
    schema_registered,
)
from abathur.testing.nats_server import NatsServer, program
from tests import schemas
from tests.conftest import require
from tests.nats import Caller, older, remove_streams

PREFIXES = (f"t{number}" for number in count())
COMMON = {"environment": "test", "durability": "normal"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a module's service opens when it first needs it, and the tasks that it makes, are no test's."""
    served = {item.path for item in items if "served" in getattr(item, "fixturenames", ())}
    for item in items:
        if item.path in served:
            item.add_marker(pytest.mark.leaks_allowed("the service is the module's"))


@define(kw_only=True)
class Served(Caller):
    """A service that runs, and a client of its server."""

    service: DatabaseService
    server: NatsServer

    @property
    def db(self) -> Database:
        return self.service.db


@pytest.fixture(scope="session", autouse=True)
def _there_is_a_server(request: pytest.FixtureRequest) -> None:
    """Where one is required, its absence is a failure."""
    try:
        program()
    except MissingExtraError as error:
        require(request, "nats", str(error))


@pytest.fixture(scope="module", params=["file", "postgres"])
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def module_url(
    engine: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A new place for a database on this engine, for the tests of a module."""
    if engine == "file":
        yield str(tmp_path_factory.mktemp("service") / "agents.db")
        return
    server = request.getfixturevalue("postgres_server")
    schema = schemas.a_name()
    yield schemas.place(server, schema)
    schemas.drop(server, schema)


@pytest.fixture(scope="module")
async def served(module_url: str, nats_server: NatsServer) -> AsyncIterator[Served]:  # noqa: F811
    """A service with a database of the module's, on each engine."""
    async with (
        Database(module_url, **COMMON) as db,
        DatabaseService(nats_server.url, db, next(PREFIXES)) as service,
    ):
        client = await nats.connect(nats_server.url)
        made = Served(client=client, prefix=service.prefix, service=service, server=nats_server)
        yield made
        await remove_streams(service)
        await client.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Callable[..., NatsServer]]:
    """Makes servers of the test's own, to be stopped and killed."""
    made: list[NatsServer] = []

    def make(**options: Any) -> NatsServer:
        made.append(NatsServer(tmp_path / f"nats-{len(made)}", **options).start())
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture
async def connected() -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Connects clients of nats-py, which are closed after the test."""
    async with AsyncExitStack() as stack:

        async def make(url: str, **options: Any) -> Any:
            client = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, **options)
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
def older_server(request: pytest.FixtureRequest) -> Path:
    """An older nats-server, if there is one."""
    found = older()
    if found is None:
        require(request, "nats-older", "there is no nats-server before 2.10 (Debian 12 has one)")
    return found
