"""`abathur prune`: remove tasks that ended long ago."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from abathur.cli.destroy import allow
from abathur.cli.options import Settings, age, common
from abathur.cli.output import facts, note, write, write_json

if TYPE_CHECKING:
    from abathur.database import Database
    from abathur.tasks.retention import Pruned

F = TypeVar("F", bound=Callable[..., Any])


def _age(name: str) -> Callable[[F], F]:
    return click.option(
        f"--{name}", metavar="AGE", type=age, help=f"Remove {name} tasks that are older: 30d, 12h, 0s."
    )


@click.command(
    short_help="Remove tasks that ended long ago.",
    epilog="""\b
Examples:
  abathur prune --completed 30d --dry-run
  abathur prune --completed 30d --failed 90d --cancelled 30d
  abathur prune --completed 7d --keep-space
  abathur prune --all --database test.db
""",
)
@_age("completed")
@_age("failed")
@_age("cancelled")
@click.option(
    "--all", "everything", is_flag=True, help="Remove every task that has ended, however short ago."
)
@allow
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--keep-space", is_flag=True, help="Keep the free pages in a file, for new rows.")
@common
@click.pass_obj
def prune(
    settings: Settings,
    /,
    dry_run: bool,
    keep_space: bool,
    everything: bool,
    allow_destructive: str | None,
    **ages: timedelta | None,
) -> None:
    """Remove tasks that ended longer ago than the given ages, with everything that belongs to them.

    Their rows in the audit trail go too; a tombstone has their place, and `abathur audit verify` accepts
    it. A task stays as long as something that is left needs it: one that waits for it, its parent while
    that has not ended, and its parts. It works beside running workers.
    """
    from abathur.cli.opening import with_database
    from abathur.cli.progress import progress
    from abathur.destroying import ALL
    from abathur.tasks.retention import Retention

    given = any(one is not None for one in ages.values())
    if not given and not everything:
        raise click.UsageError(
            "Say what to remove: --completed 30d, --failed 90d or --cancelled 30d; or --all."
        )
    if given and everything:
        raise click.UsageError("--all removes all that has ended, so it goes with no age.")

    async def work(db: Database) -> tuple[Pruned, int]:
        with progress("Pruning") as bar:
            if everything and not dry_run:
                done, pruned = await db.prune_all(allow_destructive=allow_destructive, progress=bar)
                if done.backup:
                    note(f"The copy from before: {done.backup}")
            else:
                retention = ALL if everything else Retention(**ages)
                pruned = await db.tasks.prune(retention, dry_run=dry_run, progress=bar)
        if dry_run or keep_space or not pruned.tasks:
            return pruned, 0
        with progress("Giving back the space") as bar:
            return pruned, await db.shrink(progress=bar)

    try:
        pruned, freed = with_database(settings, work)
    except KeyboardInterrupt:
        if not dry_run:
            note("Interrupted. What was removed by then stays removed; run it again for the rest.")
        raise
    if settings.json:
        import attrs

        write_json({**attrs.asdict(pruned), "freed_bytes": freed})
        return
    write(f"{pruned.tasks:,} tasks {'would be' if dry_run else 'were'} removed.")
    facts(
        [
            *((status, f"{n:,}") for status, n in pruned.by_status.items()),
            ("rows of the trail", f"{pruned.audit_rows:,}" if pruned.audit_rows else None),
            ("seals cut off", f"{pruned.seals:,}" if pruned.seals else None),
            ("given back", f"{freed / 1024**2:,.1f} MiB" if freed else None),
            ("kept, as others need them", f"{pruned.needed:,}" if pruned.needed else None),
            (
                "kept, as rows of other tables refer to them",
                f"{pruned.refused:,}" if pruned.refused else None,
            ),
        ]
    )
