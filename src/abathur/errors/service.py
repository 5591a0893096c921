"""Errors about the database service and its NATS server."""

from __future__ import annotations

from collections.abc import Sequence

from abathur.errors.base import AbathurError


class ServiceError(AbathurError):
    """The database service cannot work on this NATS server as it is."""


class NatsUnavailableError(ServiceError, ConnectionError):
    """No NATS server answers there."""

    def __init__(self, server: str, found: str) -> None:
        super().__init__(
            f"No NATS server can be reached at {server}: {found.removesuffix('.')}.",
            "Expected a nats-server that answers.",
            "See whether it runs, and whether host and port are right; "
            "`abathur doctor --nats URL` looks again.",
        )


class NatsRefusedError(ServiceError, PermissionError):
    """The NATS server does not let this user in, or does not let it do what the service needs."""

    def __init__(self, server: str, found: str) -> None:
        super().__init__(
            f"The NATS server at {server} refused: {found.removesuffix('.')}.",
            "Expected a user that may subscribe to the service's subjects and publish replies and events.",
            "Check the credentials (--creds, --nkey, or ABATHUR_NATS_USER with ABATHUR_NATS_PASSWORD), "
            "and the user's permissions in the server's configuration.",
        )


class UnprotectedServerError(ServiceError, PermissionError):
    """The NATS server lets anybody in, and is not on this machine's loopback."""

    def __init__(self, server: str) -> None:
        super().__init__(
            f"The NATS server at {server} asks nobody for credentials, and other machines can reach it.",
            "Expected a server with users or nkeys, or one on 127.0.0.1 or ::1.",
            "Whoever reaches it could read and change the database: give it an `authorization` or `accounts` "
            "block, or let it listen on the loopback only.",
        )


class StreamConflictError(ServiceError):
    """JetStream has a stream of our name, or one that takes our subjects, with other settings."""

    def __init__(self, stream: str, differing: Sequence[str]) -> None:
        self.differing = list(differing)
        super().__init__(
            f"The JetStream stream {stream} is not as the service needs it: {'; '.join(self.differing)}.",
            "Expected a stream of the service's own, with its subjects one by one.",
            f"Look with `nats stream info {stream}`. If nothing else uses it, remove it: the service makes "
            "it anew, and what it holds is lost; else give the service another prefix.",
        )
