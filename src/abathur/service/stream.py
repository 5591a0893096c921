"""The JetStream stream of events and its consumer: made, read back, and known by when they were made."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import nats.errors
import nats.js.errors
from attrs import frozen
from nats.aio.client import Client
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from abathur.chat.streams import MOST_GAPS
from abathur.errors import NatsUnavailableError, StreamConflictError
from abathur.service.connection import place_of
from abathur.service.subjects import Tree

ACK_WAIT: Final = 5.0
"""Seconds after which an event that was taken and not stored is delivered again."""
IN_FLIGHT: Final = MOST_GAPS
"""Events that may be taken and not stored at a time, by all instances. Each may be a gap before others that
are stored, and if gaps were closed, what is in them would be taken for a repetition when it comes."""
MOST_BYTES: Final = 256 * 1024 * 1024
"""Bytes that events may take up in the server while the service is away; then the oldest go."""
OVERLAP: Final = 10065
"""JetStream's number for: another stream takes these subjects."""
TAKEN: Final = 10058
"""And for: there is a stream of this name, with another configuration."""
NONE: Final = (10039, 10076)
"""And for: it is not enabled for this account, or not at all."""


@frozen
class Stream:
    """A stream with its consumer, as they are."""

    name: str
    consumer: str
    made: str
    """What tells this stream from another of the same name: when it was made."""


async def has_jetstream(connection: Client) -> bool:
    """Whether the server has JetStream for this user. Raises NatsUnavailableError where nobody says."""
    try:
        await connection.jsm().account_info()
    except nats.errors.NoRespondersError:
        return False
    except nats.js.errors.APIError as error:
        is_unavailable = isinstance(error, nats.js.errors.ServiceUnavailableError)
        if error.err_code in NONE or (is_unavailable and error.err_code is None):  # or nobody listens there
            return False
        if is_unavailable:  # it has one, that cannot answer just now: streams of it may well take events
            raise NatsUnavailableError(place_of(connection), f"its {error.description}") from None
        raise
    except (nats.errors.TimeoutError, TimeoutError):
        raise NatsUnavailableError(
            place_of(connection),
            "its JetStream does not answer; the user may lack the right to publish to $JS.API.>",
        ) from None
    return True


async def ensure_events(connection: Client, tree: Tree) -> Stream:
    """The stream that takes the events, made if it is missing. Raises StreamConflictError."""
    config = StreamConfig(
        name=f"{tree.stream_name}_events",
        description="Events for the abathur database service, each until it is stored",
        subjects=list(tree.events),
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_bytes=MOST_BYTES,
        max_msg_size=512 * 1024,
    )
    made = await _ensure(connection, config)
    stamp = f"{made.created.timestamp():.6f}".replace(".", "_")  # no dot may be in a name
    consumer = f"service-{stamp}"
    await connection.jsm().add_consumer(
        str(config.name),
        ConsumerConfig(
            durable_name=consumer,
            ack_policy=AckPolicy.EXPLICIT,
            deliver_policy=DeliverPolicy.ALL,
            ack_wait=ACK_WAIT,
            max_ack_pending=IN_FLIGHT,
        ),
    )
    told = await connection.jsm().consumer_info(str(config.name), consumer)
    wrong = [
        f"its consumer's {name} is {found!r}, not {wanted!r}"
        for name, found, wanted in (
            ("ack_policy", told.config.ack_policy, AckPolicy.EXPLICIT),
            ("deliver_policy", told.config.deliver_policy, DeliverPolicy.ALL),
            ("ack_wait", told.config.ack_wait, ACK_WAIT),
            ("max_ack_pending", told.config.max_ack_pending, IN_FLIGHT),
            ("filter_subject", told.config.filter_subject or None, None),
        )
        if found != wanted
    ]
    if wrong:
        raise StreamConflictError(str(config.name), wrong)
    return Stream(str(config.name), consumer, f"{config.name}@{made.created.isoformat()}")


async def ensure_tasks(connection: Client, tree: Tree, statuses: tuple[str, ...]) -> frozenset[str]:
    """The stream that keeps the events of tasks for their readers; or a user's own, of some or all of them.

    Returns the statuses whose events a stream takes. It drops what was published twice within its window,
    by the message's id.
    """
    config = StreamConfig(
        name=f"{tree.stream_name}_task_events",
        description="Changes of the status of abathur tasks, for a week",
        subjects=[tree.task_event(status) for status in statuses],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=7 * 86_400,
        max_bytes=MOST_BYTES,
        duplicate_window=120,
    )
    try:
        await _ensure(connection, config)
    except StreamConflictError:
        taken = set()
        for status in statuses:
            with contextlib.suppress(nats.js.errors.NotFoundError):
                await connection.jsm().find_stream_name_by_subject(tree.task_event(status))
                taken.add(status)
        return frozenset(taken)
    return frozenset(statuses)


async def _ensure(connection: Client, config: StreamConfig) -> Any:
    """Make a stream, or take the one that is there.

    It is read back, because older servers ignore what they do not know.
    """
    manager = connection.jsm()
    try:
        await manager.stream_info(str(config.name))
    except nats.js.errors.NotFoundError:
        try:
            await manager.add_stream(config)
        except nats.js.errors.BadRequestError as error:
            if error.err_code == OVERLAP:
                raise StreamConflictError(
                    str(config.name), ["it cannot be made, as another stream takes some of its subjects"]
                ) from None
            if error.err_code != TAKEN:  # else another instance has made it meanwhile
                raise
    told = await manager.stream_info(str(config.name))
    differing = _differing(told.config, config)
    if [name for name, *_ in differing] == ["subjects"] and set(told.config.subjects or ()) < set(
        config.subjects or ()
    ):
        await manager.update_stream(told.config.evolve(subjects=config.subjects))  # of an older version
        told = await manager.stream_info(str(config.name))
        differing = _differing(told.config, config)
    if differing:
        raise StreamConflictError(str(config.name), [_said(*one) for one in differing])
    return told


def _differing(found: StreamConfig, wanted: StreamConfig) -> list[tuple[str, Any, Any]]:
    """What of a stream is not as it has to be. Sizes are the operator's to change."""
    names = ("subjects", "retention", "storage")
    pairs = [(name, getattr(found, name), getattr(wanted, name)) for name in names]
    return [
        (name, one, other)
        for name, one, other in pairs
        if (
            sorted(one or ()) != sorted(other or ())
            if name == "subjects"
            else (one or None) != (other or None)
        )
    ]


def _said(name: str, found: Any, wanted: Any) -> str:
    """What is wrong with a stream."""
    if name == "subjects":
        return f"it takes {', '.join(found or ()) or 'nothing'}"
    return f"its {name} is {getattr(found, 'value', found)}, not {getattr(wanted, 'value', wanted)}"
