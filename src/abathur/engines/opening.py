"""The engine for a URL. Only what that engine needs is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from abathur import sql
from abathur.engines.base import Closing, Engine, GivenClock
from abathur.engines.urls import Server, target_of
from abathur.errors import MissingExtraError
from abathur.script import Emitted, ScriptFunction


def make_engine(
    url: str | Path,
    queries: Mapping[str, str] | Path | str | None,
    *,
    closing: Callable[[], Closing],
    observer: Callable[[Emitted], None],
    recorded: ScriptFunction[int],
    durability: str,
    lock_timeout: float,
    clock: GivenClock | None = None,
) -> Engine:
    """The engine that a path or a URL names, not opened yet, with an application's statements.

    Raises InvalidUrlError, InvalidInputError, or MissingExtraError where the driver is not installed.
    """
    target = target_of(url)
    engine: Any
    if isinstance(target, Server):
        try:
            from abathur.engines.postgres import PostgresEngine as engine  # noqa: N813
        except ModuleNotFoundError as error:
            if error.name != "asyncpg":
                raise
            raise MissingExtraError("postgres", "asyncpg", "A postgresql:// URL") from None
    else:
        from abathur.engines.sqlite import SqliteEngine as engine  # noqa: N813
    catalog = sql.library(engine.dialect)
    if queries is not None:
        catalog = catalog.extended(queries, engine.dialect)
    made: Engine = engine(
        target,
        catalog,
        closing=closing,
        observer=observer,
        recorded=recorded,
        durability=durability,
        lock_timeout=lock_timeout,
        clock=clock,
    )
    return made
