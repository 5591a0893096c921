"""The tables of a chat, as a schema of its own.

Their names begin with `abathur_chat_`: bots have tables such as `user_stats`, `recent_chat` or
`chat_messages` of their own in the same file, which are none of ours.

Times are microseconds since the epoch. Numbers of rows are given out by the one row of the channel,
which whoever writes has locked: so they have no gaps, and a count is read, never counted.
"""

from __future__ import annotations

from typing import Final

from abathur.schema.declare import Column, Index, Schema, Table

KEPT_MESSAGES: Final = 10_000
KEPT_COUNTS: Final = 50_000
KEPT_OUTBOUND: Final = 10_000

_OFTEN_UPDATED: Final = {"fillfactor": "50"}  # room in the page for the next version of a row

CHANNEL: Final = Table(
    # One row: what is known of the chat as a whole, and the last number of each kind of row.
    "abathur_chat_channel",
    (
        Column("id", "INTEGER", primary_key=True),
        Column("users", "INTEGER", not_null=True, default="0"),
        Column("messages", "INTEGER", not_null=True, default="0"),
        Column("counts", "INTEGER", not_null=True, default="0"),
        Column("outbound", "INTEGER", not_null=True, default="0"),
        Column("most_users", "INTEGER", not_null=True, default="0"),
        Column("most_users_at", "INTEGER"),
        Column("most_connected", "INTEGER", not_null=True, default="0"),
        Column("most_connected_at", "INTEGER"),
        Column("last_at", "INTEGER", not_null=True, default="0"),
        Column("keep_messages", "INTEGER", not_null=True, default=str(KEPT_MESSAGES)),
        Column("keep_counts", "INTEGER", not_null=True, default=str(KEPT_COUNTS)),
        Column("keep_outbound", "INTEGER", not_null=True, default=str(KEPT_OUTBOUND)),
    ),
    storage=_OFTEN_UPDATED,
)

USERS: Final = Table(
    "abathur_chat_users",
    (
        Column("id", "INTEGER", primary_key=True),  # in the order in which they were first heard of
        Column("username", "TEXT", not_null=True),
        Column("first_seen", "INTEGER", not_null=True),
        Column("last_seen", "INTEGER", not_null=True),
        Column("chat_lines", "INTEGER", not_null=True, default="0"),
        Column("connected", "INTEGER", not_null=True, default="0"),  # in sessions that have ended
        Column("session_start", "INTEGER"),
        Column("connections", "TEXT"),  # JSON: {name: when it joined} of those that are open
        Column("left_at", "INTEGER"),  # the last time, with a session or without
        Column("ended_at", "INTEGER"),  # the end of the last session
    ),
    unique=(("username",),),
    storage=_OFTEN_UPDATED,
)

MESSAGES: Final = Table(
    "abathur_chat_messages",
    (
        Column("id", "INTEGER", primary_key=True),
        Column("at", "INTEGER", not_null=True),
        Column("username", "TEXT", not_null=True),
        Column("message", "TEXT", not_null=True),
    ),
)

COUNTS: Final = Table(
    "abathur_chat_counts",
    (
        Column("id", "INTEGER", primary_key=True),
        Column("at", "INTEGER", not_null=True),
        Column("users", "INTEGER", not_null=True),
        Column("connected", "INTEGER"),
    ),
)

STATUS: Final = Table(
    # One row; apart from the channel's, which is written with every event.
    "abathur_chat_status",
    (
        Column("id", "INTEGER", primary_key=True),
        Column("fields", "TEXT", not_null=True),  # JSON: {name: [its value, when it was set]}
        Column("at", "INTEGER", not_null=True),
    ),
)

OUTBOUND: Final = Table(
    "abathur_chat_outbound",
    (
        Column("id", "INTEGER", primary_key=True),
        Column("message", "TEXT", not_null=True),
        Column("created_at", "INTEGER", not_null=True),
        Column("status", "TEXT", not_null=True, default="'unsent'"),  # unsent, sent, failed
        Column("retries", "INTEGER", not_null=True, default="0"),  # how often it failed
        Column("max_retries", "INTEGER", not_null=True),
        Column("due_at", "INTEGER", not_null=True),
        Column("tried_at", "INTEGER"),
        Column("sent_at", "INTEGER"),
        Column("error", "TEXT"),
    ),
    storage=_OFTEN_UPDATED,
)

STREAMS: Final = Table(
    # Which events of which streams were stored: for each stream the ranges of their numbers.
    "abathur_chat_streams",
    (
        Column("stream", "TEXT", primary_key=True),
        Column("stored", "TEXT", not_null=True),
        Column("at", "INTEGER", not_null=True),
    ),
    without_rowid=True,
    storage=_OFTEN_UPDATED,
)

CHAT: Final = Schema(
    owner="abathur_chat",
    tables=(CHANNEL, USERS, MESSAGES, COUNTS, STATUS, OUTBOUND, STREAMS),
    indexes=(
        # for channel_stats: who has said most
        Index(
            "abathur_chat_users_top", "abathur_chat_users", ("chat_lines DESC", "id"), where="chat_lines > 0"
        ),
        # for end_sessions, who is here
        Index("abathur_chat_users_here", "abathur_chat_users", ("id",), where="session_start IS NOT NULL"),
        # for unsent, what waits, the oldest first
        Index("abathur_chat_outbound_unsent", "abathur_chat_outbound", ("id",), where="status = 'unsent'"),
    ),
)
