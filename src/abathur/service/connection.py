"""The connection to a NATS server: its credentials, and the servers that are refused."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import nats.errors
from attrs import field, frozen
from nats.aio.client import Client
from nats.aio.msg import Msg

from abathur.errors import (
    InvalidInputError,
    NatsRefusedError,
    NatsUnavailableError,
    UnprotectedServerError,
)
from abathur.service.ending import is_cancelled

DEFAULT: Final = "nats://127.0.0.1:4222"
VARIABLES: Final = {
    "creds": "ABATHUR_NATS_CREDS",
    "nkey": "ABATHUR_NATS_NKEY",
    "user": "ABATHUR_NATS_USER",
    "password": "ABATHUR_NATS_PASSWORD",
    "token": "ABATHUR_NATS_TOKEN",
}
"""Where credentials are looked for that are not given: the paths of two files, and three values."""
INBOX: Final = "_INBOX_abathur"
"""The service's replies come to a prefix of its own, which nobody else's permissions need to name."""
SCHEMES: Final = ("nats", "tls", "ws", "wss")
REFUSED: Final = ("authorization violation", "authentication", "permissions violation", "user authentication")

NOT_LET_IN: Final = ("authorization violation", "authentication")
ENOUGH: Final = 4
"""Refusals one after another, after which there is no use in trying again."""


def _secret(value: Any) -> str:
    return "None" if value is None else "'***'"


@frozen(kw_only=True)
class Access:
    """Where a NATS server is, and how to get in. What is secret is shown by no repr."""

    url: str = field(default=DEFAULT, repr=lambda url: repr(masked(url)))
    """One URL, or several with commas between them."""
    creds: Path | None = None
    """A file of credentials, as `nsc` makes it."""
    nkey: Path | None = None
    """A file with the seed of an nkey."""
    user: str | None = None
    password: str | None = field(default=None, repr=_secret)
    token: str | None = field(default=None, repr=_secret)

    @classmethod
    def of(cls, url: str = DEFAULT, **given: Any) -> Access:
        """Access to a server, with what is not given taken from the environment. Raises InvalidInputError."""
        for one in str(url).split(","):
            parts = urlsplit(one)
            if "://" in one and parts.scheme not in SCHEMES:
                raise InvalidInputError(
                    f"{parts.scheme}:// is no address of a NATS server.",
                    "Expected nats://host:port, tls://, ws:// or wss://.",
                    f"Write {DEFAULT}.",
                )
        known = {name: value for name, value in given.items() if value is not None}
        if unknown := sorted(set(known) - set(VARIABLES)):
            raise InvalidInputError(
                f"The configuration of NATS has {', '.join(map(repr, unknown))}.",
                f"Expected url, {', '.join(VARIABLES)}.",
                "Correct its keys.",
            )
        if not known and not any("@" in one for one in url.split(",")):
            known = {name: os.environ[key] for name, key in VARIABLES.items() if os.environ.get(key)}
        for name in ("creds", "nkey"):
            if name in known:
                known[name] = Path(known[name])
                if not known[name].is_file():
                    raise InvalidInputError(
                        f"There is no file {known[name]} to read credentials from.",
                        f"Expected the path of a file, in {VARIABLES[name]} or --{name}.",
                        "Check the path; it is seen from here.",
                    )
        return cls(url=url, **known)

    def options(self) -> dict[str, Any]:
        """What nats-py is given."""
        found = {
            "user_credentials": self.creds and str(self.creds),
            "nkeys_seed": self.nkey and str(self.nkey),
            "user": self.user,
            "password": self.password,
            "token": self.token,
        }
        return {name: value for name, value in found.items() if value is not None}


def masked(url: str) -> str:
    """A server's URL for messages: without a user, a password or a token."""
    return ",".join(
        f"{scheme}{found}{rest.rpartition('@')[2]}"
        for scheme, found, rest in (
            one.partition("://") if "://" in one else ("", "", one) for one in str(url).split(",")
        )
    )


def place_of(connection: Client | None) -> str:
    """Where a connection leads, for messages."""
    at = connection.connected_url if connection is not None else None
    return masked(at.geturl()) if at is not None else "its address"


class Connection(Client):
    """nats-py's client, which also outlives messages that its parser cannot decode.

    A subject, a reply subject or a header that is no UTF-8 raises an error inside of nats-py's read loop,
    and then that reads nothing more: any user of the server could silence the service with one message.
    """

    async def flush(self, timeout: int = 10) -> None:
        """Wait until the server has dealt with everything that was sent.

        nats-py sends its PING ahead of what still waits to be sent, so the first answer says nothing. When a
        subscription ends, requests that the server delivers meanwhile would get no answer.
        """
        await super().flush(timeout)
        await super().flush(timeout)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Learn of no other servers: whoever runs the service says which are trusted with credentials."""
        await super()._process_info({**info, "connect_urls": []}, initial_connection)

    async def _process_headers(self, headers: Any) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (UnicodeDecodeError, IndexError):
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        return self.msg_class(
            subject=subject.decode("utf-8", "backslashreplace"),
            # Nobody listens to another subject than the one that was meant.
            reply=reply.decode("utf-8", "ignore") if reply.isascii() else "",
            data=data,
            headers=headers,
            _client=self,
            _sid=sid,
        )


class Connecting:
    """Connects, and keeps what the server says against it."""

    def __init__(self, access: Access, *, name: str = "abathur", wait: float = 5.0) -> None:
        self._access = access
        self._name = name
        self._wait = wait
        self.complaints: list[str] = []
        """What went wrong since it was last looked at, as nats-py says it."""
        self.heard: Callable[[str], None] = lambda _: None
        self.closed = asyncio.Event()
        """Set when the connection is over for good: the server does not let the user in any more."""
        self.reason: UnprotectedServerError | None = None
        """Why it is over, if the server was none to go on with."""
        self._refusals = 0
        self._connection: Connection | None = None
        self._ending: asyncio.Task[None] | None = None

    async def connect(self) -> Connection:
        """A connection that comes back by itself when the server does.

        Raises NatsUnavailableError, NatsRefusedError or UnprotectedServerError.
        """
        server = masked(self._access.url)
        connection = Connection()
        try:
            async with asyncio.timeout(self._wait):
                await connection.connect(
                    [one.strip() for one in self._access.url.split(",")],
                    name=self._name,
                    error_cb=self._complain,
                    closed_cb=self._closed,
                    reconnected_cb=self._reconnected,
                    inbox_prefix=INBOX,
                    connect_timeout=2,
                    reconnect_time_wait=0.25,  # type: ignore[arg-type]  # it sleeps for so many seconds
                    ping_interval=20,
                    allow_reconnect=False,  # who starts wants to hear what is wrong
                    max_reconnect_attempts=1,
                    **self._access.options(),
                )
        except (TimeoutError, OSError, nats.errors.Error, ValueError) as error:
            await _close(connection)
            raise self._told(server, error) from None
        except BaseException:
            await _close(connection)
            raise
        try:
            await refuse_unprotected(connection, server)
        except BaseException:
            await _close(connection)
            raise
        connection.options.update(allow_reconnect=True, max_reconnect_attempts=-1)
        self.complaints.clear()
        self._connection = connection
        return connection

    def _told(self, server: str, error: Exception) -> NatsRefusedError | NatsUnavailableError:
        said = list(self.complaints)
        if not isinstance(error, (TimeoutError, nats.errors.NoServersError)):
            said.append(_words(error))
        refused = [one for one in said if any(word in one.lower() for word in REFUSED)]
        if refused:
            return NatsRefusedError(server, refused[-1])
        return NatsUnavailableError(server, said[-1] if said else f"no answer within {self._wait:g} s")

    async def _closed(self) -> None:
        self.closed.set()

    async def _reconnected(self) -> None:
        self._refusals = 0
        if self._connection is None:
            return
        try:
            await refuse_unprotected(self._connection, masked(self._access.url))
        except UnprotectedServerError as error:
            self.reason = error
            self.heard(error.problem)
            # Not here: nats-py would wait for the very task that calls this.
            self._ending = asyncio.create_task(_close(self._connection))
            self.closed.set()

    async def _complain(self, error: Exception) -> None:
        # Never the arguments of CONNECT: an error of nats-py holds the server's words or the system's.
        said = _words(error)
        self.complaints = [*self.complaints[-20:], said]
        self.heard(said)
        if any(word in said.lower() for word in NOT_LET_IN):
            self._refusals += 1
            if self._refusals >= ENOUGH:
                self.closed.set()


async def settle(connection: Client, patience: float = 10.0) -> None:
    """The same for a connection that is somebody else's."""
    for _ in range(2):
        await connection.flush(timeout=patience)  # type: ignore[arg-type]  # it may be a fraction


def _words(error: Exception) -> str:
    """What went wrong, in the server's words or the system's."""
    words = getattr(error, "strerror", None) or str(error)
    return words.removeprefix("nats: ").strip("'") or type(error).__name__


async def _close(connection: Client) -> None:
    with contextlib.suppress(OSError, nats.errors.Error, AttributeError, AssertionError):
        await connection.close()


async def refuse_unprotected(connection: Client, server: str = "") -> None:
    """Refuse a server that asks nobody who it is, unless only this machine reaches it.

    Raises UnprotectedServerError.
    """
    said: Mapping[str, Any] = connection._server_info  # noqa: SLF001  # nats-py hands it out nowhere else
    if said.get("auth_required") or said.get("tls_verify"):
        return
    at = connection.connected_url
    if not await _is_loopback((at.hostname if at is not None else None) or ""):
        raise UnprotectedServerError(server or place_of(connection))


async def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return bool(found) and all(
        ipaddress.ip_address(str(one[4][0]).split("%")[0]).is_loopback for one in found
    )


async def keep_alive(
    connection: Client, *, every: float = 5.0, patience: float = 10.0, said: Callable[[str], None]
) -> None:
    """Reconnect when a server that is connected answers nothing any more; until it is cancelled.

    nats-py finds a connection dead that is cut off without a word after a minute or more, and one whose
    read loop has ended not at all.
    """
    while not is_cancelled():
        await asyncio.sleep(every)
        if not connection.is_connected or connection.is_draining:
            continue
        try:
            await connection.rtt(timeout=patience)  # type: ignore[arg-type]  # it may be a fraction
        except nats.errors.ConnectionClosedError:
            continue
        except (TimeoutError, nats.errors.Error, OSError) as error:
            said(f"the server did not answer within {patience:g} s ({type(error).__name__}); connecting anew")
            await connection.force_reconnect()
