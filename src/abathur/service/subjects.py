"""The subject tree: what is subscribed to, and what the tokens of a subject mean."""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from abathur.errors import InvalidInputError
from abathur.service.envelope import Refused

TOKEN: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}", re.ASCII)
"""A plugin, by full match: never a wildcard, a dot, a space or a control character."""
TABLE: Final = re.compile(r"[a-z][a-z0-9_]{0,99}", re.ASCII)
PREFIX: Final = re.compile(rf"{TOKEN.pattern}(?:\.{TOKEN.pattern}){{0,3}}", re.ASCII)

ROW_OPS: Final = ("insert", "select", "update", "delete", "search")
SCHEMA_OPS: Final = ("register", "unregister", "get", "list")
KV_OPS: Final = ("set", "get", "delete", "list")
QUERY_OPS: Final = ("channel_stats", "user_stats")
OUTBOUND_OPS: Final = ("enqueue", "get", "mark_failed")
TASK_OPS: Final = ("enqueue", "get", "list", "cancel", "retry", "wait")
WRITES: Final = frozenset(
    {
        "insert", "update", "delete", "register", "unregister", "set", "enqueue", "mark_failed", "cancel",
        "retry",
    }
)  # fmt: skip
"""Operations that change something."""

EVENTS: Final = (
    "db.user.joined",
    "db.user.left",
    "db.message.log",
    "db.stats.user_count",
    "db.stats.high_water",
    "db.status.update",
    "db.messages.outbound.mark_sent",
    "db.action.pm_command",
    "events.pm_command",
)
"""The subjects of events, below the prefix, one by one."""


def changes(subject: str) -> bool:
    """Whether a request on this subject changes something."""
    return subject.rpartition(".")[2] in WRITES


@frozen
class Address:
    """What a subject asks for."""

    kind: str
    """``rows``, ``schema``, ``kv``, ``query``, ``outbound``, ``recent_chat``, ``health`` or ``tasks``."""
    op: str
    plugin: str | None = None
    """Of the subject; for the first form of `kv` it is in the body."""
    table: str | None = None
    """Of the subject; where there is none it is in the body."""


class Tree:
    """The subjects below one prefix."""

    def __init__(self, prefix: str) -> None:
        if not isinstance(prefix, str) or not PREFIX.fullmatch(prefix):
            raise InvalidInputError(
                f"prefix={prefix!r} cannot begin a subject.",
                "Expected lower-case letters, digits, `_` and `-`, 1 to 48 of them; up to four such tokens "
                "with dots between them.",
                "Leave it out for 'rosey'.",
            )
        self.prefix = prefix

    @property
    def requests(self) -> dict[str, str]:
        """`{name of an endpoint: the subject it listens to}`."""
        base = self.prefix
        return {
            "rows": f"{base}.db.row.>",
            "schema": f"{base}.db.schema.>",
            "kv": f"{base}.db.kv.>",
            "query": f"{base}.db.query.>",
            "database-query": f"{base}.database.query.>",
            "outbound-enqueue": f"{base}.db.messages.outbound.enqueue",
            "outbound-get": f"{base}.db.messages.outbound.get",
            "outbound-mark-failed": f"{base}.db.messages.outbound.mark_failed",
            "recent-chat": f"{base}.db.stats.recent_chat.get",
            "health": f"{base}.db.health",
            "tasks": f"{base}.tasks.>",
        }

    @property
    def events(self) -> tuple[str, ...]:
        """The subjects of events, one by one: `{prefix}.db.>` would also take requests."""
        return tuple(f"{self.prefix}.{one}" for one in EVENTS)

    def task_event(self, status: str) -> str:
        """The subject on which a task's change to a status is told."""
        return f"{self.prefix}.events.task.{status}"

    @property
    def queue(self) -> str:
        """The queue group by which several instances share the work."""
        return f"{self.prefix}-database-service"

    @property
    def stream_name(self) -> str:
        """What names of streams and services begin with: they may hold no dot, and no token holds a `+`."""
        return self.prefix.replace(".", "+")

    def address(self, subject: str) -> Address:
        """What a subject asks for. Raises Refused with INVALID_SUBJECT."""
        rest = subject.removeprefix(f"{self.prefix}.")
        tokens = rest.split(".")
        match tokens:
            case ["db", "row", *inner] if rest != subject:
                return _rows(inner)
            case ["db", "schema", plugin, op] if op in SCHEMA_OPS:
                return Address("schema", op, _plugin(plugin))
            case ["db", "kv", op] if op in KV_OPS:
                return Address("kv", op)
            case ["db", "kv", plugin, op] if op in KV_OPS:
                return Address("kv", op, _plugin(plugin))
            case ["db" | "database", "query", op] if op in QUERY_OPS:
                return Address("query", op)
            case ["db", "messages", "outbound", op] if op in OUTBOUND_OPS:
                return Address("outbound", op)
            case ["db", "stats", "recent_chat", "get"]:
                return Address("recent_chat", "get")
            case ["db", "health"]:
                return Address("health", "health")
            case ["tasks", op] if op in TASK_OPS:
                return Address("tasks", op)
        raise _invalid(_expected(tokens))


def _rows(tokens: list[str]) -> Address:
    match tokens:
        case [plugin, "schema", op] if op in SCHEMA_OPS:
            return Address("schema", op, _plugin(plugin))
        case [plugin, op] if op in ROW_OPS:
            return Address("rows", op, _plugin(plugin))
        case [plugin, table, op] if op in ROW_OPS:
            if not TABLE.fullmatch(table):
                raise _invalid("a table's name: a lower-case letter, then letters, digits and `_`")
            return Address("rows", op, _plugin(plugin), table)
    raise _invalid(_expected(["db", "row"]))


def _plugin(token: str) -> str:
    if not TOKEN.fullmatch(token):
        raise _invalid("a plugin's name: 1 to 48 lower-case letters, digits, `_` and `-`")
    return token


def _expected(tokens: list[str]) -> str:
    match tokens:
        case ["db", "row", *_]:
            return f"db.row.PLUGIN.OP or db.row.PLUGIN.TABLE.OP with OP one of {', '.join(ROW_OPS)}"
        case ["db", "schema", *_]:
            return f"db.schema.PLUGIN.OP with OP one of {', '.join(SCHEMA_OPS)}"
        case ["db", "kv", *_]:
            return f"db.kv.OP or db.kv.PLUGIN.OP with OP one of {', '.join(KV_OPS)}"
        case ["tasks", *_]:
            return f"tasks.OP with OP one of {', '.join(TASK_OPS)}"
    return f"db.query.OP with OP one of {', '.join(QUERY_OPS)}"


def _invalid(expected: str) -> Refused:
    # What was found is not repeated: it may be anything.
    return Refused("INVALID_SUBJECT", f"The subject is not one of the service's. Expected {expected}.")
