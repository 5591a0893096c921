"""Options that several commands take, and the forms in which their values are written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


VARIABLE: Final = "ABATHUR_DATABASE"
DEFAULT: Final = "abathur.db"


class Settings:
    """What the options that every command takes have said so far."""

    def __init__(self) -> None:
        self.database: str | None = None
        """As given with --database; None when it was not."""
        self.json = False


def url_of(settings: Settings) -> str:
    """The database that is meant: the option, the environment, or the file in this directory."""
    return settings.database or os.environ.get(VARIABLE) or DEFAULT


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
        help="The database; else $ABATHUR_DATABASE, else abathur.db in this directory.",
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

_UNITS: Final = re.compile(
    r"(?:(?P<days>\d+)d)?(?:(?P<hours>\d+)h)?(?:(?P<minutes>\d+)m)?(?:(?P<seconds>\d+(?:\.\d+)?)s)?"
)


def _interval(text: str) -> timedelta | None:
    """``1d2h30m15s``, any of its parts, as an interval; None for other text."""
    match = _UNITS.fullmatch(text)
    if match is None or not text:
        return None
    return timedelta(**{unit: float(number) for unit, number in match.groupdict().items() if number})


def moment(value: str | datetime) -> datetime:
    """A moment: ISO 8601 with a time zone, or from now on: ``+10m``, ``+1h30m``."""
    if isinstance(value, datetime):
        return value
    try:
        interval = _interval(value.removeprefix("+"))
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
        interval = _interval(value)
        return float(value) if interval is None else interval.total_seconds()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is no duration. Write a number of seconds, or 90s, 10m, 1h30m."
        ) from None


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
