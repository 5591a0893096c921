"""`abathur search`: find words in the indexed files of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from abathur.cli.options import Settings, common
from abathur.cli.output import clean, has_rich, note, write, write_json

if TYPE_CHECKING:
    from abathur.database import Database
    from abathur.projects.index.values import Hit


@click.command(
    short_help="Find words in the indexed files of a project.",
    epilog="""\b
Examples:
  abathur search lease expired
  abathur search '"lease expired"' --limit 3
  abathur search 'expir*' --project crew --json
""",
)
@click.argument("query", nargs=-1, required=True)
@click.option("--project", metavar="ID", help="The project's id or name; else that of this directory.")
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="Hits at most.")
@common
@click.pass_obj
def search(settings: Settings, query: tuple[str, ...], project: str | None, limit: int) -> None:
    """Find the places in a project's indexed files that have all words of QUERY, the best first.

    Words "in quotes" follow one another, and begin* is every word that begins so. Case, accents and
    signs do not matter, and nothing else has a meaning. The answer is as new as the last `abathur index`.
    """
    from pathlib import Path

    from abathur.cli.opening import with_database

    text = " ".join(query)

    async def found(db: Database) -> list[Hit]:
        where = None if project else Path.cwd()
        return await db.projects.search(text, project, directory=where, limit=limit)

    hits = with_database(settings, found)
    if settings.json:
        write_json(hits)
        return
    if not hits:
        note("Nothing found. The answer is as new as the last `abathur index`.")
    for number, hit in enumerate(hits):
        if number:
            write()
        place = clean(f"{hit.path}:{hit.line}")
        write(click.style(place, bold=True) if has_rich() else place)
        for line in hit.snippet.split("\n"):
            write(f"    {clean(line.expandtabs(4))}")
