"""Dispatch: requests are worked on by a bounded group, not one after another per subject."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import nats.errors
from attrs import define
from nats.aio.client import Client
from nats.aio.msg import Msg

from abathur.service import envelope
from abathur.service.body import too_large
from abathur.service.ending import end, is_cancelled
from abathur.service.envelope import Refused
from abathur.service.limits import Limits
from abathur.service.subjects import changes

log = logging.getLogger("abathur.service")

INBOXES: Final = ("_",)
"""How subjects begin to which an answer is sent. A reply subject is chosen by whoever asks: an answer that
went to a request's subject would be a request in the service's name, in another plugin's namespace."""
MOST_BYTES: Final = 64 * 1024 * 1024
"""Bytes of requests that wait for their turn; those beyond are RATE_LIMITED, as those beyond `waiting`."""
ROOM: Final = 256
"""Bytes of a message that are left to its headers and the protocol."""

Answer = Callable[[Msg], Awaitable[dict[str, Any]]]


@define
class Counted:
    """What became of the requests of one endpoint."""

    requests: int = 0
    errors: int = 0
    nanoseconds: int = 0
    last_error: str | None = None

    def add(self, began: int, answer: dict[str, Any]) -> None:
        """One more request was answered."""
        self.nanoseconds += time.perf_counter_ns() - began
        if not answer.get("success"):
            self.errors += 1
            self.last_error = str(answer.get("error", {}).get("code"))


@define(eq=False)
class Once:
    """A request that is worked on, and whether it was answered before what it asked for was done."""

    msg: Msg
    counted: Counted
    began: int
    said: bool = False


class Dispatcher:
    """Takes messages from subscriptions and has a fixed number of workers answer them.

    A new task for each message would cost as much as answering it, and would know no bound.
    """

    def __init__(
        self,
        connection: Client,
        limits: Limits,
        *,
        inboxes: tuple[str, ...] = INBOXES,
        echo: bool = False,
    ) -> None:
        self._connection = connection
        self._limits = limits
        self._inboxes = inboxes
        self._echo = echo
        self._waiting: asyncio.Queue[tuple[Msg, Answer, Counted, int]] = asyncio.Queue(limits.waiting)
        self._workers: list[asyncio.Task[None]] = []
        self._waits: set[asyncio.Task[None]] = set()
        self._at_work: set[Once] = set()
        self._bytes = 0
        self._ended = False
        self.busy = 0
        """Requests that are worked on."""

    def start(self) -> None:
        """Begin to answer."""
        self._workers = [
            asyncio.create_task(self._work(), name=f"abathur-service-{number}")
            for number in range(self._limits.concurrency)
        ]

    async def offer(self, msg: Msg, answer: Answer, counted: Counted) -> None:
        """Take a message, or answer at once that there are too many."""
        counted.requests += 1
        if self._ended:
            await self._say(msg, counted, time.perf_counter_ns(), _STOPPING)
            return
        began, size = time.perf_counter_ns(), len(msg.data)
        if size > self._limits.body:  # it is not kept until its turn comes
            refused = too_large(msg.data, self._limits.body)
            await self._say(msg, counted, began, envelope.refusal(refused, _place(msg)))
        elif self._waiting.full() or self._bytes + size > MOST_BYTES:
            many = f"{self._waiting.qsize():,} requests are waiting already. Try again later."
            await self._say(msg, counted, began, envelope.failure("RATE_LIMITED", many))
        else:
            self._bytes += size
            self._waiting.put_nowait((msg, answer, counted, began))

    async def offer_wait(self, msg: Msg, answer: Answer, counted: Counted) -> None:
        """Take a message whose answer may be a long time in coming: it takes up no worker."""
        counted.requests += 1
        began = time.perf_counter_ns()
        if self._ended:
            await self._say(msg, counted, began, _STOPPING)
            return
        if len(self._waits) >= self._limits.waits:
            many = f"{self._limits.waits:,} callers are waiting for tasks already. Try again later."
            await self._say(msg, counted, began, envelope.failure("RATE_LIMITED", many))
            return
        one = asyncio.create_task(self._answer(msg, answer, counted, began, self._limits.longest_wait))
        self._waits.add(one)
        one.add_done_callback(self._waits.discard)

    async def drain(self, patience: float) -> None:
        """Answer what was taken, then end. Who waits for a task is told to come again."""
        self._ended = True
        try:
            await end(list(self._waits))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._waiting.join()
        finally:
            while not self._waiting.empty():
                msg, _, counted, began = self._waiting.get_nowait()
                self._bytes -= len(msg.data)
                self._waiting.task_done()
                await self._say(msg, counted, began, _STOPPING)
            for one in [one for one in self._at_work if not one.said]:
                # The database decides about a write in its own time, and is waited for; whoever asked is not.
                one.said = True
                await self._say(one.msg, one.counted, one.began, _open(one.msg))
            left = [*self._workers, *self._waits]
            self._workers = []
            await end(left)

    async def _work(self) -> None:
        while not is_cancelled():
            msg, answer, counted, began = await self._waiting.get()
            self._bytes -= len(msg.data)
            self.busy += 1
            try:
                await self._answer(msg, answer, counted, began, self._limits.timeout)
            finally:
                self.busy -= 1
                self._waiting.task_done()

    async def _answer(self, msg: Msg, answer: Answer, counted: Counted, began: int, seconds: float) -> None:
        left = seconds - (time.perf_counter_ns() - began) / 1e9
        if left <= 0:
            words = f"It waited for its turn for {seconds:g} s, and was not begun. Try again later."
            await self._say(msg, counted, began, envelope.failure("TIMEOUT", words))
            return
        # A database is waited for until it is known what became of a write; whoever asked is told in time.
        once = Once(msg, counted, began)
        self._at_work.add(once)
        late = asyncio.get_running_loop().call_later(left, self._too_late, once, seconds)
        try:
            async with asyncio.timeout(left) as limit:
                said = envelope.success(await answer(msg))
        except asyncio.CancelledError:
            if not once.said:
                await self._say(msg, counted, began, _open(msg))
            raise
        except Exception as error:  # noqa: BLE001  # whoever asked gets an answer, and the log the error
            is_late = isinstance(error, TimeoutError) and limit.expired()
            said = _late(seconds) if is_late else envelope.refusal(error, _place(msg))
        finally:
            late.cancel()
            self._at_work.discard(once)
        if not once.said:
            await self._say(msg, counted, began, said)

    def _too_late(self, once: Once, seconds: float) -> None:
        once.said = True
        telling = asyncio.create_task(self._say(once.msg, once.counted, once.began, _late(seconds)))
        self._waits.add(telling)
        telling.add_done_callback(self._waits.discard)

    async def _say(self, msg: Msg, counted: Counted, began: int, said: dict[str, Any]) -> None:
        """Send an answer to where it was asked for, if that is an inbox."""
        counted.add(began, said)
        if self._echo:
            code = "ok" if said["success"] else said["error"]["code"]
            log.info("%s %s %.1f ms", _place(msg), code, (time.perf_counter_ns() - began) / 1e6)
        if not msg.reply:
            return
        if not msg.reply.startswith(self._inboxes):
            log.warning("%s: asked for an answer to %r, which is no inbox", _place(msg), msg.reply[:100])
            return
        most = self._connection.max_payload - ROOM
        raw = envelope.encode(said, most, wrote=changes(msg.subject))
        try:
            await self._connection.publish(msg.reply, raw)
        except (nats.errors.Error, OSError) as error:
            # It was done; whoever asked can find that out by asking again with the same request_id.
            log.warning("%s: the answer could not be sent: %s", _place(msg), error)


_STOPPING: Final = envelope.failure("UNAVAILABLE", "The service is stopping. Try again.")


def _open(msg: Msg) -> dict[str, Any]:
    """The answer to a request that was begun when the service stops."""
    if not changes(msg.subject):
        return _STOPPING
    words = "The service is stopping. Whether it was done is open: look, or repeat it."
    return envelope.failure("UNAVAILABLE", words)


def _late(seconds: float) -> dict[str, Any]:
    words = f"It was not done within {seconds:g} s. Whether it will be is open: look, or repeat it."
    return envelope.failure("TIMEOUT", words)


def _place(msg: Msg) -> str:
    """A subject for the log, in one line."""
    return repr(msg.subject[:200])[1:-1]


def too_fast() -> Refused:
    """What a caller gets who asks more often than the limit allows."""
    return Refused("RATE_LIMITED", "Too many requests in a second. Try again a little later.")
