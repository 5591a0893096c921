"""Record: write what happened in the chat, a batch in one transaction, each event once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from abathur.chat.events import Event
from abathur.errors import AbathurError
from abathur.script import Script


@frozen
class Refused:
    """An event that was not stored, because it is wrong: it will be refused again."""

    place: int
    """Which one of the batch it was, from 0."""
    error: AbathurError


@frozen
class Recorded:
    """What became of the events of a batch."""

    stored: int
    repeated: int
    """Events that had been stored, or refused, before."""
    refused: tuple[Refused, ...]


def record_calls(calls: Sequence[Sequence[Event]], now: int) -> Script[list[Any]]:
    """Record the batches of many calls; answer each with what became of its events."""
    raise NotImplementedError
    yield
