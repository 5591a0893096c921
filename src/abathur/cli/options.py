"""Options that several commands take, and the forms in which their values are written."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from abathur import times

F = TypeVar("F", bound=Callable[..., Any])


VARIABLE: Final = "ABATHUR_DATABASE"
DEFAULT: Final = "abathur.db"
FILE: Final = "abathur.toml"


class Settings:
    """What the options that every command takes have said so far."""

    def __init__(self) -> None:
        self.database: str | None = None
        """As given with --database; None when it was not."""
        self.config: Path | None = None
        """As given to `run` with --config; else it is abathur.toml, if there is one."""
        self.json = False


def url_of(settings: Settings) -> str:
    """The database that is meant: the option, the environment, abathur.toml, or the file in this directory.

    Raises ConfigError where abathur.toml is asked and cannot be read.
    """
    if settings.database is not None:  # an empty one is refused: a script's variable may not be set
        return settings.database
    return os.environ.get(VARIABLE) or _configured(settings) or DEFAULT


def _configured(settings: Settings) -> str | None:
    path = settings.config or Path(FILE)
    if settings.config is None and not path.is_file():
        return None
    from abathur.config import database_of

    return database_of(path)


def _set_database(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    settings = ctx.ensure_object(Settings)
    if value is not None:
        settings.database = value


def _set_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    settings = ctx.ensure_object(Settings)
    settings.json = settings.json or value


def common(function: F) -> F:
    """Add --database and --json, which may stand before or after the command."""
    database = click.option(
        "--database",
        type=click.Path(),  # which shells complete
        metavar="PATH_OR_URL",
        expose_value=False,
        callback=_set_database,
        help="The database; else $ABATHUR_DATABASE, else the one of abathur.toml, else abathur.db here.",
    )
    return database(json_only(function))


def json_only(function: F) -> F:
    """Add --json alone, for a command that works on no database of the user's."""
    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_set_json,
        help="Answer with JSON, and report errors as JSON.",
    )(function)


# -- values ------------------------------------------------------------------------------------


def moment(value: str | datetime) -> datetime:
    """A moment: ISO 8601 with a time zone, or from now on: ``+10m``, ``+1h30m``."""
    if isinstance(value, datetime):
        return value
    try:
        interval = times.interval(value.removeprefix("+"))
        if value.startswith("+") and interval is not None:
            return datetime.now(UTC) + interval
        found = datetime.fromisoformat(value)
        if found.tzinfo is not None:
            found.astimezone(UTC)  # raises at the ends of the calendar
            return found
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is no time. Write 2026-01-31T09:30:00Z, or +10m, +2h, +1d."
        ) from None
    raise click.BadParameter(
        f"{value!r} has no time zone. Write {value}Z for UTC, or an offset such as +02:00 at its end."
    )


def duration(value: str | float) -> float:
    """A number of seconds, or ``90s``, ``10m``, ``1h30m``."""
    if isinstance(value, float):
        return value
    try:
        interval = times.interval(value)
        return float(value) if interval is None else interval.total_seconds()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is no duration. Write a number of seconds, or 90s, 10m, 1h30m, 30d."
        ) from None


def age(value: str | timedelta) -> timedelta:
    """An age with its unit, such as ``30d``: one who means days must not get seconds."""
    found = value if isinstance(value, timedelta) else times.interval(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no age. Write it with its unit: 30d, 12h, 90s.")
    return found


def json_value(value: str) -> Any:
    """JSON, or ``@file`` that holds it, or ``@-`` for standard input."""
    import json

    source, text = "It", value
    if value.startswith("@"):
        source = "Standard input" if value == "@-" else value[1:]
        try:
            with click.open_file(value[1:], encoding="utf-8") as file:
                text = file.read()
        except (OSError, ValueError) as error:
            raise click.BadParameter(f"{source} cannot be read: {error}.") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(
            f"{source} is not JSON: {error}. Mind that text has quotes of its own: '\"text\"'."
        ) from None
