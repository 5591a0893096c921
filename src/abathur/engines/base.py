"""What every engine offers: the one seam between the features and a database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from abathur.models import Finding
from abathur.script import Emitted, Script, ScriptFunction

T = TypeVar("T")

MergedFunction = Callable[..., Script[list[Any]]]
"""A script `fn(items, now)` that answers per item; an answer may be an exception for its caller."""


class Migration(Protocol):
    """The right to change the schema: no other process of ours writes while it is held."""

    async def read(self, fn: ScriptFunction[T], *args: Any) -> T:
        """Run a script in a read transaction."""

    async def write(self, fn: ScriptFunction[T], *args: Any) -> T:
        """Run a script in one write transaction in which foreign keys are not enforced.

        It is committed when the script returns and rolled back when it raises.
        """

    async def back_up_and_write(self, target: Path, fn: ScriptFunction[T], *args: Any) -> T:
        """The same, after a copy was made within the transaction: nobody can write between the two."""

    async def set_pragma(self, name: str, value: str) -> None:
        """Change a setting that cannot be changed inside a transaction, and check that it holds."""

    async def backup(self, target: Path) -> None:
        """Make a copy as `Engine.backup` does. The transactions of this session may be open meanwhile."""


class Engine(Protocol):
    """A database behind the library: opened once, used by every feature, closed once."""

    dialect: str
    """Which variant of a statement this engine executes: ``sqlite`` or ``postgres``."""
    capabilities: frozenset[str]
    """What it can do beyond the common part: ``file``, ``processes`` (several may use it), ``backup``."""
    name: str
    """The path or URL for messages, without a password."""

    @property
    def address(self) -> str:
        """The path or URL by which another process opens it. It may hold a password, and is never shown."""

    def beside(self, name: str) -> str:
        """The path or URL of another database, called `name`, at the same place.

        A file in the same directory; a schema of the same database on a server; for one in memory, memory.
        """

    async def which_beside(self, name: str) -> str | None:
        """What tells that database from any other that is called so later; None if there is nothing in it.

        Always None for memory.
        """

    async def exists(self) -> bool:
        """Whether there is anything to inspect; False for a file that is missing or empty."""

    async def open(self) -> None:
        """Check the place and connect. Raises an OpenError."""

    async def close(self) -> None:
        """Finish what was accepted, then close every connection. May be called twice."""

    async def remove(self, aside: str | None = None) -> None:
        """Remove the database: the file with its logs, or the schema with all that is in it.

        It is let go before, and may be made anew. aside: what keeps what was in it; on a server the name
        that the schema gets instead, else a new file, which is written when nobody can write to the old one
        any more. Raises LockTimeoutError while another process has it, and what `backup` raises.
        """

    async def write(self, fn: ScriptFunction[T], *args: Any) -> T:
        """Run a script in a write transaction and return its result after the commit."""

    async def merge(self, fn: MergedFunction, item: Any) -> Any:
        """Run `fn` over this item and those of all concurrent callers; return this item's answer."""

    async def read(self, fn: ScriptFunction[T], *args: Any) -> T:
        """Run a script that only reads, on one snapshot. On a file it does not wait for writers."""

    def listen(self, heard: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """Call `heard` on the event loop, soon, whenever another connection has committed."""

    async def backup(self, target: Path, progress: Progress | None = None) -> None:
        """Write a consistent copy to the new file `target` while others write.

        `progress(done, total)` is called on the event loop now and then; the unit is the engine's.
        Cancelled, or if `progress` raises, it ends early; there is a whole copy then, or none. Raises
        TargetExistsError, MissingDirectoryError, DiskFullError, CorruptDatabaseError and the like.
        """

    async def examine(self, *, deep: bool) -> list[Finding]:
        """What is noteworthy about the software, the place and the pages. Changes nothing.

        Works without `open`, and on a database that cannot be opened: then it says what it can see.
        `deep` takes longer and looks at everything.
        """

    async def clock(self) -> int:
        """Microseconds since the epoch by the clock that everybody goes by: this host's, or the server's.

        As it is set now, while the `now` of scripts never goes back.
        """

    def not_before(self, moment: int) -> None:
        """Never supply a `now` before `moment` (microseconds), which the database has recorded."""

    def migration(self) -> AbstractAsyncContextManager[Migration]:
        """Take the lock under which the schema is changed. Raises LockTimeoutError."""


class GivenClock(Protocol):
    """A clock that a Database is given, instead of the host's or the server's; for tests."""

    def now(self) -> int:
        """Microseconds since the epoch; later calls never return less. Called from any thread."""

    def at_least(self, moment: int) -> None:
        """Start no earlier than `moment` (microseconds), which the database has recorded."""

    def subscribe(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Call `heard` whenever the clock was set, from any thread. The answer ends that."""


class Closing(Protocol):
    """What ends the write transactions of one connection, from what their scripts emitted."""

    def script(self, emitted: Emitted, now: int) -> Script[None]:
        """The last statements of a transaction, such as the seal over its audit rows."""

    def committed(self) -> None:
        """Called after the commit, on the connection's thread; not called after a rollback."""

    def landed(self) -> Script[bool | None]:
        """Whether what the last `script` wrote is in the database; None if it wrote nothing that tells.

        For an engine whose connection was lost during COMMIT.
        """


Progress = Callable[[int, int], object]
"""Called with how much is done and how much there is."""
Observer = Callable[[Emitted], None]
"""Called on the event loop after a commit, with what its scripts emitted."""
