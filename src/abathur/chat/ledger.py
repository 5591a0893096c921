"""The ledger of one transaction: what its events do to the rows that were read, before any is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field

from abathur import payload, times
from abathur.audit import Entry
from abathur.chat import outbound
from abathur.chat.channel import Channel
from abathur.chat.events import Taken
from abathur.chat.sessions import User

COMMAND: Final = "chat.pm_command"
"""The action of a command in the audit trail."""


@define
class Ledger:
    """What is known, and what is to be written."""

    now: int
    channel: Channel
    users: dict[str, User]
    """By name: those of the events that are known, and those that are met."""
    sending: dict[int, Any]
    """Rows of outbound messages, by id."""
    status: dict[str, list[Any]]
    """Name of a field -> its value, and when it was set."""
    touched: set[str] = field(factory=set)
    messages: list[tuple[Any, ...]] = field(factory=list)
    counts: list[tuple[Any, ...]] = field(factory=list)
    sent: dict[int, int] = field(factory=dict)
    """Outbound message -> when it was sent."""
    status_at: int | None = None
    """When the newest status came, if one came."""
    commands: list[Entry] = field(factory=list)

    def apply(self, event: Taken) -> None:
        """Let one event happen. Raises an AbathurError, and then it has not happened."""
        _APPLY[event.kind](self, event, event.at(self.now))
        self.channel.last_at = max(self.channel.last_at, event.at(self.now))

    def _user(self, event: Taken, at: int) -> User:
        name = event.fields["username"]
        self.touched.add(name)
        if name not in self.users:
            self.channel.users += 1
            self.users[name] = User(self.channel.users, name, at, at)
        return self.users[name]

    def _joined(self, event: Taken, at: int) -> None:
        self._user(event, at).joins(at, event.fields["connection"])

    def _left(self, event: Taken, at: int) -> None:
        self._user(event, at).leaves(at, event.fields["connection"])

    def _message(self, event: Taken, at: int) -> None:
        self._user(event, at).talks(at)
        self.channel.messages += 1
        self.messages.append((self.channel.messages, at, event.fields["username"], event.fields["message"]))

    def _user_count(self, event: Taken, at: int) -> None:
        self._high_water(event, at)
        self.channel.counts += 1
        self.counts.append((self.channel.counts, at, event.fields["chat"], event.fields["connected"]))

    def _high_water(self, event: Taken, at: int) -> None:
        chat, connected = event.fields["chat"], event.fields["connected"] or 0
        if chat > self.channel.most_users:
            self.channel.most_users, self.channel.most_users_at = chat, at
        if connected > self.channel.most_connected:
            self.channel.most_connected, self.channel.most_connected_at = connected, at

    def _status(self, event: Taken, at: int) -> None:
        newer = {
            name: [value, at]
            for name, value in event.fields["status"].items()
            if name not in self.status or at >= self.status[name][1]
        }
        payload.encode({**self.status, **newer}, "The status")
        self.status.update(newer)
        self.status_at = max(at, self.status_at or 0)

    def _mark_sent(self, event: Taken, at: int) -> None:
        message_id = event.fields["message_id"]
        if message_id not in self.sending:
            raise outbound.unknown(message_id)
        if self.sending[message_id]["status"] != outbound.SENT:
            self.sent.setdefault(message_id, at)

    def _command(self, event: Taken, _: int) -> None:
        arrived = self.now if event.arrived is None else event.arrived
        said = payload.encode({**event.fields, "arrived": times.iso(arrived)}, "The command")
        self.commands.append((times.iso(self.now), None, COMMAND, said, event.fields["username"]))


_APPLY: Final[Mapping[str, Callable[[Ledger, Taken, int], None]]] = {
    "user.joined": Ledger._joined,  # noqa: SLF001  # this is its table of contents
    "user.left": Ledger._left,  # noqa: SLF001
    "message.log": Ledger._message,  # noqa: SLF001
    "stats.user_count": Ledger._user_count,  # noqa: SLF001
    "stats.high_water": Ledger._high_water,  # noqa: SLF001
    "status.update": Ledger._status,  # noqa: SLF001
    "messages.outbound.mark_sent": Ledger._mark_sent,  # noqa: SLF001
    "action.pm_command": Ledger._command,  # noqa: SLF001
}
