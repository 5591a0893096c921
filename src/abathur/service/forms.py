"""What a service may be given: a connection or a server, a database in several forms, or a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from attrs import frozen
from nats.aio.client import Client

from abathur.database import Database
from abathur.errors import InvalidInputError
from abathur.service.connection import Access

Nats: TypeAlias = Client | str | Access | Mapping[str, Any]
Stored: TypeAlias = Database | str | Path | Mapping[str, Any]


@frozen
class Given:
    """What was given, understood."""

    connection: Client | None
    """A connection that is somebody else's, or None."""
    access: Access | None
    """Where to connect to, when there is no connection."""
    database: Database | str | Path
    echo: bool
    """Whether each request is to be logged."""

    @classmethod
    def of(cls, nats: Nats, database: Stored | None) -> Given:
        """Understand it. Raises InvalidInputError."""
        echo = False
        config = nats if database is None else database
        if isinstance(config, Mapping):
            database, echo = _database_of(config)
            if config is nats:
                nats = _part(config, "nats")
        if not isinstance(database, (Database, str, Path)):
            raise InvalidInputError(
                f"database={type(database).__name__} is no database.",
                'Expected a Database, a path, a URL, or {"database": {"url": ...}, "nats": {"url": ...}}.',
                'Write DatabaseService("nats://127.0.0.1:4222", "agents.db").',
            )
        if isinstance(nats, Client):
            return cls(nats, None, database, echo)
        if isinstance(nats, Access):
            return cls(None, nats, database, echo)
        if not isinstance(nats, (str, Mapping)):
            raise InvalidInputError(
                f"nats={type(nats).__name__} is no connection.",
                "Expected a client of nats-py, or the URL of a server.",
                "Write `await nats.connect(url)`, or pass the URL.",
            )
        return cls(None, Access.of(nats) if isinstance(nats, str) else Access.of(**nats), database, echo)


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name, {})
    if isinstance(found, (str, Path)):
        return {"url": found}
    if isinstance(found, Mapping):
        return found
    raise InvalidInputError(
        f"{name} of the configuration is a {type(found).__name__}.",
        f'Expected {{"{name}": {{"url": ...}}}}.',
        "Correct it.",
    )


def _database_of(config: Mapping[str, Any]) -> tuple[str | Path, bool]:
    """The database that a configuration names, and its `echo`."""
    _only("The configuration", config, "database", "nats")
    part = _part(config, "database")
    _only("`database` of the configuration", part, "url", "echo")
    url = part.get("url")
    if not isinstance(url, (str, Path)):
        raise InvalidInputError(
            "The configuration names no database.",
            'Expected {"database": {"url": ...}}.',
            "Add the path or the URL of the database.",
        )
    return url, bool(part.get("echo"))


def _only(what: str, found: Mapping[str, Any], *known: str) -> None:
    if unknown := sorted(map(repr, set(found) - set(known))):
        raise InvalidInputError(
            f"{what} has {', '.join(unknown)}.",
            f"Expected {', '.join(f'`{name}`' for name in known)}.",
            "Correct its keys.",
        )
