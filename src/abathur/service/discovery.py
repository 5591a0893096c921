"""Discovery and statistics: what `nats.micro` tells of this instance to whoever asks $SRV."""

from __future__ import annotations

import re
from typing import Final

from nats.aio.client import Client
from nats.micro.service import EndpointInfo, EndpointStats, Service, ServiceConfig, ServiceInfo, ServiceStats

from abathur._version import __version__
from abathur.service.dispatch import Counted
from abathur.service.ending import let_go

NAME: Final = "abathur-database"


class Discovery(Service):
    """nats-py's micro service, which answers for endpoints whose subscriptions are the service's own.

    Its own endpoints run one handler after another, and drop at the end what they have not begun.
    """

    def __init__(
        self, connection: Client, prefix: str, endpoints: dict[str, tuple[str, str, Counted]]
    ) -> None:
        numbers = re.findall(r"\d+", __version__)[:3]
        super().__init__(
            connection,
            ServiceConfig(
                name=f"{NAME}-{prefix.replace('.', '-')}",
                version=".".join([*numbers, "0", "0", "0"][:3]),
                description="Rows, keys, chat statistics and tasks of an abathur database",
                metadata={"prefix": prefix, "abathur": __version__},
            ),
        )
        self._counted = endpoints
        """`{name: (subject, queue group, counts)}`."""

    async def end(self, patience: float) -> None:
        """Tell nobody any more, within so many seconds. nats-py's `stop` needs a server that answers."""
        for subscription in self._subscriptions.values():
            await let_go(subscription, patience)
        self._subscriptions = {}
        await self.stop()

    def info(self) -> ServiceInfo:
        """What it is, with its endpoints."""
        told = super().info()
        told.endpoints = [
            EndpointInfo(name=name, subject=subject, queue_group=queue, metadata={})
            for name, (subject, queue, _) in self._counted.items()
        ]
        return told

    def stats(self) -> ServiceStats:
        """What it has done, by endpoint."""
        told = super().stats()
        told.endpoints = [
            EndpointStats(
                name=name,
                subject=subject,
                queue_group=queue,
                num_requests=counted.requests,
                num_errors=counted.errors,
                last_error=counted.last_error,
                processing_time=counted.nanoseconds,
                average_processing_time=counted.nanoseconds // max(counted.requests, 1),
            )
            for name, (subject, queue, counted) in self._counted.items()
        ]
        return told
