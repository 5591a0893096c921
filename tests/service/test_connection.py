"""Servers that cannot be reached, that refuse, and that are refused; and credentials, which stay secret."""

from __future__ import annotations

import asyncio
import logging
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats
import nkeys
import pytest

from abathur import errors
from abathur.service import Access, DatabaseService
from abathur.service.connection import Connecting, keep_alive, masked
from abathur.service.ending import end
from abathur.testing.nats_server import NatsServer
from tests.nats import Caller, until

SECRET = "hunter2-canary"
pytestmark = [  # nats-py leaves a connection that was cut off to the garbage collector, which says so
    pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
USERS = f"""
authorization {{
  users: [
    {{ user: "service", password: "{SECRET}" }}
    {{ user: "quotes", password: "q", permissions: {{
        publish: ["rosey.db.row.quotes.>", "rosey.db.schema.quotes.>"], subscribe: ["_INBOX_quotes.>"] }} }}
    {{ user: "deaf", password: "d", permissions: {{ publish: [">"], subscribe: ["_INBOX.>"] }} }}
  ]
}}
"""


async def refused(access: Access | str, tmp_path: Path) -> errors.ServiceError:
    service = DatabaseService(access, tmp_path / "a.db")
    with pytest.raises(errors.ServiceError) as caught:
        await service.start()
    assert not service.is_running
    await service.stop()
    return caught.value


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = await refused(f"nats://u:{SECRET}@127.0.0.1:{port}", tmp_path)
    assert isinstance(error, errors.NatsUnavailableError)
    assert f"127.0.0.1:{port}" in str(error)
    assert SECRET not in str(error)


async def test_a_server_that_accepts_and_says_nothing_is_unavailable(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        error = await refused(f"nats://127.0.0.1:{silent.getsockname()[1]}", tmp_path)
    assert isinstance(error, errors.NatsUnavailableError)


async def test_wrong_credentials_are_refused_and_right_ones_are_not(
    own_server: Callable[..., NatsServer], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = own_server(config=USERS)
    for access in (
        Access.of(server.url),
        Access.of(server.url, user="service", password="wrong"),
        Access.of(server.url, token=SECRET),
    ):
        error = await refused(access, tmp_path)
        assert isinstance(error, errors.NatsRefusedError)
        assert SECRET not in "".join(traceback.format_exception(error))
    access = Access.of(server.url, user="service", password=SECRET)
    async with DatabaseService(access, tmp_path / "a.db") as service:
        assert service.nats.is_connected
        assert SECRET not in service.describe() + repr(service) + repr(access)
    assert SECRET not in caplog.text


async def test_credentials_come_from_the_environment(
    own_server: Callable[..., NatsServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = own_server(config=USERS)
    monkeypatch.setenv("ABATHUR_NATS_USER", "service")
    monkeypatch.setenv("ABATHUR_NATS_PASSWORD", SECRET)
    async with DatabaseService({"database": {"url": str(tmp_path / "a.db")}, "nats": {"url": server.url}}):
        pass


async def test_a_user_who_may_not_subscribe_is_told_so_at_the_start(
    own_server: Callable[..., NatsServer], tmp_path: Path
) -> None:
    server = own_server(config=USERS, jetstream=False)
    error = await refused(Access.of(server.url, user="deaf", password="d"), tmp_path)
    assert isinstance(error, errors.NatsRefusedError)
    assert "permissions violation" in str(error).lower()


async def test_an_nkey_is_read_from_a_file(own_server: Callable[..., NatsServer], tmp_path: Path) -> None:
    import os

    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    (tmp_path / "user.nk").write_bytes(bytes(seed))
    server = own_server(config=f"authorization {{ users: [ {{ nkey: {public} }} ] }}")
    async with DatabaseService(
        Access.of(server.url, nkey=tmp_path / "user.nk"), tmp_path / "a.db"
    ) as service:
        assert service.nats.is_connected
    with pytest.raises(errors.InvalidInputError, match="no file"):
        Access.of(server.url, nkey=tmp_path / "nobody.nk")


def elsewhere(server: NatsServer) -> str:
    """A URL that leads to the server, and not by an address of the loopback."""
    return server.url.replace("127.0.0.1", "0.0.0.0")


async def test_a_server_that_lets_anybody_in_is_refused_unless_only_this_machine_reaches_it(
    own_server: Callable[..., NatsServer], tmp_path: Path
) -> None:
    server = own_server()
    error = await refused(elsewhere(server), tmp_path)
    assert isinstance(error, errors.UnprotectedServerError)
    assert "0.0.0.0" in str(error)
    for host in ("localhost", "127.0.0.1"):
        async with DatabaseService(server.url.replace("127.0.0.1", host), tmp_path / "a.db") as service:
            assert service.nats.is_connected
    protected = own_server(config=USERS)
    access = Access.of(elsewhere(protected), user="service", password=SECRET)
    async with DatabaseService(access, tmp_path / "a.db") as service:
        assert service.nats.is_connected


async def test_a_connection_that_was_passed_in_is_looked_at_too(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path
) -> None:
    client = await connected(elsewhere(own_server()))
    with pytest.raises(errors.UnprotectedServerError):
        await DatabaseService(client, tmp_path / "a.db").start()
    assert client.is_connected


async def test_a_user_who_is_bound_to_a_plugin_reaches_no_other_one(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path
) -> None:
    server = own_server(config=USERS)
    said: list[str] = []

    async def heard(error: Exception) -> None:
        said.append(str(error).lower())

    async with DatabaseService(Access.of(server.url, user="service", password=SECRET), tmp_path / "a.db"):
        client = await connected(
            server.url, user="quotes", password="q", inbox_prefix="_INBOX_quotes", error_cb=heard
        )
        quotes = Caller(client=client, prefix="rosey", timeout=1)
        assert "success" in await quotes.ask("db.schema.quotes.list")
        for subject in ("db.schema.other.list", "tasks.list", "db.kv.list"):
            with pytest.raises(nats.errors.TimeoutError):
                await Caller(client=client, prefix="rosey", timeout=0.1).ask(
                    subject, {"plugin_name": "other"}
                )
        await client.flush()
        assert sum("permissions violation for publish" in one for one in said) == 3


@pytest.mark.parametrize(
    "given",
    [
        {"url": "http://127.0.0.1:4222"},
        {"url": "nats://127.0.0.1:4222", "passwort": "x"},
        {"url": "nats://127.0.0.1:4222", "creds": "/nowhere/x.creds"},
    ],
)
def test_access_that_cannot_be_meant_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(errors.InvalidInputError) as caught:
        Access.of(**given)
    assert str(caught.value) != "x"


def test_a_url_is_masked_wherever_it_is_shown() -> None:
    assert masked(f"nats://user:{SECRET}@host:4222") == "nats://host:4222"
    assert masked(f"tls://{SECRET}@a:1,nats://{SECRET}@b:2") == "tls://a:1,nats://b:2"
    assert SECRET not in repr(Access.of(f"nats://u:{SECRET}@host:4222"))


async def test_a_service_without_jetstream_says_so(
    own_server: Callable[..., NatsServer], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server(jetstream=False)
    async with DatabaseService(server.url, tmp_path / "a.db") as service:
        assert service.events_mode == "at-most-once"
        assert "at most once" in service.describe()
    assert "There is no JetStream" in caplog.text
    with pytest.raises(errors.NatsRefusedError, match="no JetStream"):
        await DatabaseService(server.url, tmp_path / "b.db", jetstream=True).start()


async def test_a_server_that_answers_nothing_any_more_is_connected_to_anew(
    own_server: Callable[..., NatsServer],
) -> None:
    server = own_server()
    said: list[str] = []
    connection = await Connecting(Access.of(server.url)).connect()
    keeper = asyncio.create_task(keep_alive(connection, every=0.05, patience=0.2, said=said.append))
    try:
        server.pause()
        while not said:
            await asyncio.sleep(0.01)
        server.resume()
        while not (connection.stats["reconnects"] and connection.is_connected):
            await asyncio.sleep(0.01)
        await connection.flush()
    finally:
        server.resume()
        await end([keeper])
        await connection.close()
    assert "did not answer" in said[0]


async def test_a_server_that_comes_back_without_users_is_left(
    own_server: Callable[..., NatsServer], tmp_path: Path
) -> None:
    server = own_server(config=USERS)
    access = Access.of(elsewhere(server), user="service", password=SECRET)
    async with DatabaseService(access, tmp_path / "a.db") as service:
        server.stop()
        server._config = ""
        server.start()
        with pytest.raises(errors.UnprotectedServerError):
            async with asyncio.timeout(20):
                await service.failed()
        await until(lambda: _is_closed(service))


async def _is_closed(service: DatabaseService) -> bool:
    return service.nats.is_closed


async def test_servers_that_a_server_tells_of_are_not_used(
    own_server: Callable[..., NatsServer], tmp_path: Path
) -> None:
    """It tells of addresses of its own here; they might as well be anybody's."""
    server = own_server(
        config='client_advertise: "127.0.0.1:1"\ncluster { name: c, listen: "127.0.0.1:-1" }', jetstream=False
    )
    async with DatabaseService(server.url, tmp_path / "a.db") as service:
        assert [one.port for one in service.nats.servers] == [server.port]
        assert service.nats.discovered_servers == []
