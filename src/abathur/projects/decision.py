"""What is asked of a claim, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import field, frozen

from abathur.script import Statement

Fact = Literal["same", "gone", "copy"]
"""What another root is: this directory by another path, no longer the project's, or still there."""


@frozen
class Earlier:
    """Another root, as the registry knows it."""

    root: str
    directory: str
    """``device:inode`` when it was seen last."""
    persisted: bool
    """Whether its configuration had the id."""

    @classmethod
    def of(cls, row: Any) -> Earlier:
        """That of a row."""
        return cls(row["root"], row["directory"], bool(row["persisted"]))


@frozen(kw_only=True)
class Wish:
    """Who asks, and what the directory and its configuration say."""

    actor: str
    name: str
    candidate: str
    """The id that a new project gets if the configuration has none."""
    event_id: str
    root: str | None = None
    directory: str = ""
    path: str = ""
    """The configuration file, for messages."""
    id: str | None = None
    database_name: str | None = None
    description: str | None = None
    metadata: str = "{}"
    strict: bool = False
    may_create: bool = True
    facts: Mapping[str, Fact] = field(factory=dict)


@frozen(kw_only=True)
class Event:
    """Something that happens to a project, with this claim."""

    project_id: str
    kind: str
    detail: Mapping[str, Any]


@frozen(kw_only=True)
class Decision:
    """What a claim comes to. `steps` and `events` are what has to be written; often that is nothing."""

    project_id: str = ""
    """Empty: there is none, and none may be made."""
    name: str = ""
    database_name: str = ""
    state: str = ""
    root: str | None = None
    """By which path the registry knows the directory."""
    persisted: bool | None = None
    """Whether its configuration has the id; None if nobody has tried yet."""
    reason: str | None = None
    steps: tuple[Statement, ...] = ()
    events: tuple[Event, ...] = ()
    unsure: tuple[Earlier, ...] = ()
    """Roots that have to be looked at first."""
