"""`abathur backup`: copy the database while others work on it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from abathur.cli.options import Settings, common, url_of
from abathur.cli.output import clean, facts, write, write_json


@click.command(
    short_help="Copy the database while others work on it.",
    epilog="""\b
Examples:
  abathur backup /var/backups/agents.db
  abathur backup /var/backups
  abathur backup copy.db --json
""",
)
@click.argument("target", type=click.Path())
@common
@click.pass_obj
def backup(settings: Settings, target: str) -> None:
    """Write a consistent copy of the database to the new file TARGET.

    If TARGET is a directory, the copy gets the database's name and the time. Others may write
    meanwhile. The copy is checked, only its owner can read it, and it appears under its name when
    it is whole; a file that exists is never overwritten. An older database is copied as it is.
    A PostgreSQL server makes its own backups.
    """
    import asyncio
    import time

    from abathur.cli.opening import database
    from abathur.cli.progress import progress
    from abathur.engines.urls import Server, target_of

    if not target:
        raise click.UsageError("TARGET is empty. Write the name of the copy, or a directory.")
    db = database(settings, must_exist=True)
    name = Path(db.name)
    path = Path(target)
    if path.is_dir() and not isinstance(target_of(url_of(settings)), Server):
        path /= f"{name.stem}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{name.suffix or '.db'}"

    async def copied() -> Path:
        try:
            with progress(f"Copying {name.name}") as bar:
                return await db.backup(path, progress=bar)
        finally:
            await db.close()

    began = time.monotonic()
    copy = asyncio.run(copied())
    took, size = time.monotonic() - began, copy.stat().st_size
    if settings.json:
        write_json({"database": db.name, "backup": copy, "bytes": size, "took_ms": round(took * 1000, 3)})
        return
    write(clean(f"Copied {db.name}, and checked the copy."))
    facts([("backup", copy), ("size", f"{size:,} bytes"), ("took", f"{took:.1f} s")])
