"""Writes the reference of all commands into docs/command-line.md, from the commands themselves.

`python -m tests.command_reference` brings the page up to date; tests/test_house.py checks that it is.
A new command is added to GROUPS.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import click

from abathur.cli import main
from tests.documents import ROOT

PAGE = ROOT / "docs" / "command-line.md"
BEGIN, END = "<!-- commands: written by `python -m tests.command_reference` -->", "<!-- commands: end -->"

GROUPS: dict[str, tuple[str, ...]] = {
    "Begin": ("init", "migrate"),
    "Tasks": (
        "enqueue", "list", "show", "why", "tree", "critical-path", "cancel", "retry", "stats",
    ),
    "Workers": ("run", "workers"),
    "Servers": ("serve nats",),
    "Projects": (
        *(
            f"projects {name}"
            for name in ("list", "show", "resolve", "create", "rename", "adopt", "repair", "doctor")
        ),
        "index",
        "search",
    ),
    "The trail": ("audit verify", "audit list", "audit head"),
    "Operating": ("backup", "move", "doctor", "prune", "completion"),
    "Testing": ("check-isolation",),
    "Destroying": ("purge", "reset", "drop"),
    "See it work": ("demo",),
}  # fmt: skip
"""The headings of the page and the commands below each, as far as they exist."""

EVERYWHERE = {"--database", "--json", "--help"}
"""Options of every command, which the page explains once."""


def commands() -> dict[str, click.Command]:
    """{words after `abathur`: command}, without groups and hidden ones."""
    found: dict[str, click.Command] = {}

    def walk(words: tuple[str, ...], command: click.Command) -> None:
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                walk((*words, name), inner)
        elif not command.hidden:
            found[" ".join(words)] = command

    walk((), main)
    return found


def page(text: str) -> str:
    """The page with its reference brought up to date. Raises ValueError for a command without a group."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} has lost one of its markers: {BEGIN}, {END}")
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"


def reference() -> str:
    """All commands by group, in Markdown."""
    known = commands()
    left = set(known) - {name for names in GROUPS.values() for name in names}
    if left:
        raise ValueError(f"Say in GROUPS of {__name__} where these belong: {', '.join(sorted(left))}")
    lines: list[str] = []
    for heading, names in GROUPS.items():
        there = [name for name in names if name in known]
        if there:
            lines += [f"## {heading}", ""]
        for name in there:
            lines += described(name, known[name])
    return "\n".join(lines)


def described(name: str, command: click.Command) -> Iterator[str]:
    """One command: how it is called, what it does, its options, its examples."""
    arguments = [str(one.metavar or one.name).upper() for one in arguments_of(command)]
    optional = [not one.required for one in arguments_of(command)]
    shown = [f"[{word}]" if maybe else word for word, maybe in zip(arguments, optional, strict=True)]
    yield from (f"### `{' '.join(('abathur', name, *shown))}`", "")
    for paragraph in (command.help or "").replace("\b\n", "").split("\n\n"):
        yield from (" ".join(paragraph.split()), "")
    options = [one for one in command.params if isinstance(one, click.Option)]
    rows = [row(one) for one in options if not one.hidden and not EVERYWHERE.intersection(one.opts)]
    if rows:
        yield from ("| option | |", "|---|---|", *rows, "")
    for block in filter(None, (part.strip("\n") for part in (command.epilog or "").split("\b\n"))):
        title, _, body = block.partition("\n")
        if not title.endswith(":"):
            yield from (" ".join(block.split()), "")
            continue
        examples = title == "Examples:"
        if examples:
            yield "<!-- not executed: each is an example by itself -->"
        else:
            yield from (title, "")
        yield "```sh" if examples else "```text"
        yield from (re.sub(r"^ {2}", "", line).rstrip() for line in body.rstrip().splitlines())
        yield from ("```", "")


def arguments_of(command: click.Command) -> list[click.Argument]:
    return [one for one in command.params if isinstance(one, click.Argument)]


def row(option: click.Option) -> str:
    """A line of the table of options."""
    names = " / ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag else f" `{metavar(option)}`"
    said = (option.help or "").rstrip()
    if option.multiple and "repeat" not in said:
        said += " Repeatable."
    if option.show_default:
        default = option.show_default if isinstance(option.show_default, str) else option.default
        said += f" Default: `{default}`."
    return f"| {names}{value} | {said} |".replace("\b", "")


def metavar(option: click.Option) -> str:
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return " \\| ".join(map(str, option.type.choices))
    return {"integer": "N", "float": "N", "integer range": "N", "float range": "N"}.get(
        option.type.name, option.type.name.upper()
    )


if __name__ == "__main__":
    found = PAGE.read_text(encoding="utf-8")
    wanted = page(found)
    PAGE.write_text(wanted, encoding="utf-8")
    sys.stdout.write(f"{PAGE}: {'as it was' if wanted == found else 'brought up to date'}\n")
