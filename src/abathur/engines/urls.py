"""What a path or a URL names: a file, memory, or a server."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from attrs import field, frozen

from abathur.errors import InvalidUrlError

MEMORY: Final = ":memory:"
SCHEMA: Final = "abathur"
POOL: Final = 4
SECRETS: Final = ("password", "sslpassword")

_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_HOST: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[^:\[\],]*)(?::\d{1,5})?"
_HOSTS: Final = re.compile(f"{_HOST}(?:,{_HOST})*", re.ASCII)


@frozen
class Server:
    """A PostgreSQL database."""

    dsn: str = field(repr=False)
    """The URL without our own options. It may hold a password."""
    name: str
    """The URL for messages, without a password."""
    schema: str = SCHEMA
    """The schema in which everything lies."""
    pool: int = POOL
    """The number of connections for readers; there is one more for the writer, and one to listen."""

    @property
    def address(self) -> str:
        """The URL that names the same database to another process. It may hold a password."""
        own = "" if self.schema == SCHEMA else f"{'&' if '?' in self.dsn else '?'}schema={self.schema}"
        return self.dsn + own


def target_of(url: str | Path) -> Server | Path | str:
    """The server or the file that a path or URL names, or ``:memory:``. Raises InvalidUrlError."""
    text = os.fspath(url) if isinstance(url, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidUrlError(
            f"{url!r} names no database.",
            "Expected a path, ':memory:' or a URL.",
            "Write Database('agents.db').",
        )
    scheme, found, rest = text.partition("://")
    if not found or "/" in scheme:
        return text
    if scheme in ("postgresql", "postgres"):
        return _server(text)
    if scheme not in ("sqlite", "sqlite+aiosqlite"):
        raise InvalidUrlError(
            f"There is no engine for {scheme}:// URLs in this version.",
            "Expected sqlite:///relative.db, sqlite:////absolute.db, sqlite:///:memory:, "
            "postgresql://user@host/database, or a path.",
            "Use one of these.",
        )
    if "?" in rest:
        raise InvalidUrlError(
            f"The URL {text!r} has options.",
            "Expected none for a file.",
            "Leave out what follows the `?`.",
        )
    return unquote(rest).removeprefix("/") or MEMORY


def _server(url: str) -> Server:
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:  # whose words may hold the password
        raise _unreadable() from None
    hosts = parts.netloc.partition("@")[2] if "@" in parts.netloc else parts.netloc
    if "@" in hosts + parts.path + parts.query or parts.fragment or not _HOSTS.fullmatch(hosts):
        raise _unreadable()
    schema = options.pop("schema", SCHEMA)
    if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
        raise InvalidUrlError(
            f"{schema!r} cannot be the schema of the database.",
            "Expected at most 63 lower-case letters, digits and underscores, no digit first, and not `pg_`.",
            "Leave `schema=` out for `abathur`.",
        )
    pool = options.pop("pool", str(POOL))
    if not re.fullmatch(r"[1-9]\d{0,2}", pool, re.ASCII):
        raise InvalidUrlError(
            f"{pool!r} cannot be the number of readers' connections.",
            "Expected pool=1 to pool=999.",
            f"Leave `pool=` out for {POOL}.",
        )
    dsn = f"postgresql://{parts.netloc}{parts.path or '/'}{'?' if options else ''}{urlencode(options)}"
    return Server(dsn, _masked(parts.netloc, parts.path, options, schema), schema, int(pool))


def _unreadable() -> InvalidUrlError:
    # It says nothing of what was found: where a character is not quoted, any part may be the password's.
    return InvalidUrlError(
        "The URL of the database cannot be read.",
        "Expected postgresql://user:password@host:port/database?option=value.",
        "In user, password and options, write @ : / ? # [ ] as %40 %3A %2F %3F %23 %5B %5D.",
    )


def _masked(netloc: str, path: str, options: dict[str, str], schema: str) -> str:
    """The URL for messages."""
    user, at, host = netloc.rpartition("@")
    shown = {name: "***" if name in SECRETS else value for name, value in options.items()}
    if schema != SCHEMA:
        shown["schema"] = schema
    user = f"{user.partition(':')[0]}:***" if ":" in user else user
    query = f"?{urlencode(shown, safe='/*:')}" if shown else ""
    return f"postgresql://{user}{at}{host}{path}{query}"
