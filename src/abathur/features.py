"""What a Database hands out. Most programs need few of it, so a feature is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Generic

from abathur import migrate
from abathur._version import __version__
from abathur.audit import Audit
from abathur.closing import Closing
from abathur.engines.base import Engine
from abathur.projects.stores import StoreT
from abathur.tasks.api import Tasks

if TYPE_CHECKING:
    from abathur.chat.api import Chat
    from abathur.projects.api import Projects
    from abathur.rows.api import Rows


class Features(Generic[StoreT]):
    """The part of `Database` through which its features are reached."""

    _engine: Engine
    _actor: str
    _tasks: Tasks
    _audit: Audit
    _ready: Callable[[], None]
    _store: Callable[[str, str], StoreT]

    @property
    def tasks(self) -> Tasks:
        """Enqueue, claim, settle and look at tasks."""
        self._ready()
        return self._tasks

    @property
    def audit(self) -> Audit:
        """The trail of what was done, and by whom."""
        self._ready()
        return self._audit

    @property
    def rows(self) -> Rows:
        """Rows and keys of plugins, which register their tables while the database is in use."""
        self._ready()
        return self._rows

    @property
    def projects(self) -> Projects[StoreT]:
        """Which project a directory is, and the projects' stores."""
        self._ready()
        return self._projects

    @property
    def chat(self) -> Chat:
        """The chat that drives an agent: its users, messages, counts, status and commands."""
        self._ready()
        return self._chat

    # -- made when they are first asked for ----------------------------------------------------

    @cached_property
    def _rows(self) -> Rows:
        from abathur.rows.api import Rows

        return Rows(self._engine, partial(migrate.extend, self._engine, Closing, version=__version__))

    @cached_property
    def _projects(self) -> Projects[StoreT]:
        from abathur.projects.api import Projects

        return Projects(self._engine, self._actor, self._store)

    @cached_property
    def _chat(self) -> Chat:
        from abathur.chat.api import Chat

        return Chat(self._engine)

    def _forget(self) -> None:
        """What was remembered of the database is no longer true."""
        if "_rows" in vars(self):
            self._rows.forget()

    async def _close_stores(self) -> None:
        if "_projects" in vars(self):
            await self._projects.close()
