"""The chat against a model: whatever happens, however often and in whatever batches it is delivered.

The models are at the top, each short enough to be believed. One follows what happens in its order;
where events overtake each other, what must still hold is said instead.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from abathur import Database
from abathur.chat import KINDS, Event
from abathur.chat.outbound import backoff
from abathur.errors import InvalidInputError
from tests.property.clocks import SECOND, FakeClock

EXAMPLES = int(os.environ.get("ABATHUR_EXAMPLES", "40"))
T = 1_600_000_000
USERS = ("alice", "Alice", "bob\n", "🦋")

# -- the models ------------------------------------------------------------------------------------


@define
class ModelledUser:
    """A user as somebody sees them who watches the chat."""

    first: float
    last: float
    lines: int = 0
    time: float = 0
    start: float | None = None
    here: set[str] = field(factory=set)

    def happens(self, what: str, at: float, connection: str | None) -> None:
        self.last = at
        if what == "says":
            self.lines += 1
        elif what == "joins":
            self.start = at if self.start is None else self.start
            self.here.add(connection or "")
        elif self.start is not None:
            name = connection if connection in self.here else ""
            self.here = set() if connection is None else self.here - {name}
            if not self.here:
                self.time += at - self.start
                self.start = None


@define
class ModelledMessage:
    """An outbound message."""

    most: int
    status: str = "unsent"
    failures: int = 0
    due: int = 0


# -- whatever is sent ------------------------------------------------------------------------------

NAMES = (
    "username", "user", "user_data", "message", "content", "chat_count", "connected_count", "status_data",
    "message_id", "timestamp", "command", "args", "result", "error", "event_type", "platform", "data",
    "connection",
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
LIKELY = st.sampled_from(["alice", 1, 0, -1, 1.5, 10**30, "success", "2026-01-01", "\0", "\ud800", ""])
JSON = st.recursive(
    SCALARS | LIKELY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=12,
)
BODY = (
    st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8)
    | st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8).map(json.dumps)
    | JSON
    | st.binary(max_size=30)
    | st.binary(max_size=10).map(lambda raw: b'{"username": "' + raw + b'"}')
)
KEY = st.none() | st.tuples(st.text(max_size=2), st.integers(-1, 50)) | JSON


@settings(max_examples=EXAMPLES * 2, deadline=None)
@given(st.lists(st.builds(Event, st.sampled_from([*KINDS, "x"]), BODY, KEY), min_size=1, max_size=20))
def test_whatever_is_sent_is_stored_or_refused_and_nothing_breaks(events):
    async def run() -> None:
        async with Database(":memory:", environment="test") as db:
            recorded = await db.chat.record(events)
            assert recorded.stored + recorded.repeated + len(recorded.refused) == len(events)
            assert all(isinstance(one.error, InvalidInputError) for one in recorded.refused)
            json.dumps([await db.chat.channel_stats(), await db.chat.recent(), await db.chat.status()])
            assert (await db.audit.verify()).ok
            assert (await db.chat.record([Event("user.joined", {"username": "carol"})])).stored == 1

    asyncio.run(run())


# -- what happens ----------------------------------------------------------------------------------

WHAT = st.tuples(
    st.sampled_from(["joins", "leaves", "says"]),
    st.sampled_from(USERS),
    st.sampled_from([0, 0, 1, 7.25, 60, 3600]),
    st.sampled_from([None, None, "web", "app"]),
)
HAPPENS = {"joins": "user.joined", "leaves": "user.left", "says": "message.log"}
Happening = tuple[str, str, float, str | None]


def events_of(happenings: Sequence[Happening]) -> list[Event]:
    """The events of a stream, in their order; times go on by what is drawn."""
    at: float = T
    made = []
    for number, (what, name, seconds, connection) in enumerate(happenings, start=1):
        at += seconds
        data = {"username": name, "timestamp": at, "message": f"{number}", "connection": connection}
        made.append(Event(HAPPENS[what], data, ("a stream", number)))
    return made


async def users_of(db: Database) -> dict[str, dict[str, Any]]:
    found = {name: await db.chat.user_stats(name) for name in USERS}
    return {name: user for name, user in found.items() if user["found"]}


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(WHAT, max_size=40), st.data())
def test_sessions_are_those_of_the_model_however_often_events_are_delivered(happenings, data):
    events = events_of(happenings)
    cuts = data.draw(st.lists(st.integers(0, len(events)), max_size=6).map(sorted), label="cuts")
    bounds = [0, *cuts, len(events)]
    model: dict[str, ModelledUser] = {}
    for event in events:
        body: Any = event.data
        user = model.setdefault(body["username"], ModelledUser(body["timestamp"], body["timestamp"]))
        what = next(one for one, kind in HAPPENS.items() if kind == event.kind)
        user.happens(what, body["timestamp"], body["connection"])

    async def run() -> None:
        async with Database(":memory:", environment="test") as db:
            stored = 0
            for first, last in pairwise(bounds):
                again = data.draw(st.integers(0, first), label="delivered again from")
                recorded = await db.chat.record(events[again:last])
                assert (recorded.stored, recorded.repeated) == (last - first, first - again)
                stored += recorded.stored
            assert stored == len(events)
            found = await users_of(db)
            assert found.keys() == model.keys()
            for name, user in model.items():
                assert found[name] == {
                    "found": True,
                    "username": name,
                    "first_seen": int(user.first),
                    "last_seen": int(user.last),
                    "total_chat_lines": user.lines,
                    "total_time_connected": int(user.time),
                    "current_session_start": None if user.start is None else int(user.start),
                }
            assert (await db.chat.channel_stats())["total_users_seen"] == len(model)
            said = [event.data["message"] for event in events if event.kind == "message.log"]
            assert [one["message"] for one in await db.chat.recent(100)] == said

    asyncio.run(run())


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(WHAT.filter(lambda one: one[3] is None), max_size=30), st.randoms(use_true_random=False))
def test_in_whatever_order_events_come_nothing_is_lost_and_no_session_stays_open_that_has_ended(
    happenings, draw
):
    # A second passes between any two, so that it is known which one came last.
    events = events_of([(what, name, seconds + 1, None) for what, name, seconds, _ in happenings])
    shuffled = draw.sample(events, len(events))

    async def run() -> None:
        async with Database(":memory:", environment="test") as db:
            for event in shuffled:
                assert (await db.chat.record([event, draw.choice(shuffled)])).refused == ()
            assert (await db.chat.record(shuffled)).stored == 0
            found = await users_of(db)
            lines = Counter(e.data["username"] for e in events if e.kind == "message.log")
            for name, user in found.items():
                own = [event for event in events if event.data["username"] == name]
                times = [event.data["timestamp"] for event in own]
                assert (user["first_seen"], user["last_seen"]) == (int(min(times)), int(max(times)))
                assert user["total_chat_lines"] == lines[name]
                assert 0 <= user["total_time_connected"] <= max(times) - min(times)
                moves = [event.kind for event in own if event.kind != "message.log"]
                is_here = bool(moves) and moves[-1] == "user.joined"
                assert (user["current_session_start"] is not None) == is_here
            assert len(found) == len({event.data["username"] for event in events})

    asyncio.run(run())


STEP = st.one_of(
    st.tuples(st.just("enqueue"), st.integers(1, 4)),
    st.tuples(st.just("sent"), st.integers(0, 5)),
    st.tuples(st.just("failed"), st.integers(0, 5)),
    st.tuples(st.just("failed for good"), st.integers(0, 5)),
    st.tuples(st.just("time passes"), st.sampled_from([1, 119, 120, 121, 240, 480, 3600])),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_what_is_to_be_sent_is_what_the_model_says(steps):
    async def run() -> None:
        clock = FakeClock()
        db = Database(":memory:", environment="test")
        db._engine._clock = clock  # type: ignore[attr-defined]
        model: list[ModelledMessage] = []
        async with db:
            for what, number in steps:
                if what == "enqueue":
                    assert await db.chat.enqueue("x", max_retries=number) == len(model) + 1
                    model.append(ModelledMessage(number, due=clock.time))
                elif what == "time passes":
                    clock.time += number * SECOND
                elif number < len(model):
                    await settle(db, what, number, model[number], clock.time)
                now = clock.time
                due = [n for n, one in enumerate(model, 1) if one.status == "unsent" and one.due <= now]
                assert [one["id"] for one in await db.chat.unsent()] == due

    asyncio.run(run())


async def settle(db: Database, what: str, place: int, message: ModelledMessage, now: int) -> None:
    if what == "sent":
        assert await db.chat.mark_sent(place + 1) == (message.status != "sent")
        message.status = "sent"
        return
    answer = await db.chat.mark_failed(place + 1, "no", permanent=what == "failed for good")
    if message.status == "unsent":
        message.failures += 1
        message.due = now + backoff(message.failures)
        if what == "failed for good" or message.failures == message.most:
            message.status = "failed"
    assert (answer["status"], answer["retry_count"]) == (message.status, message.failures)
