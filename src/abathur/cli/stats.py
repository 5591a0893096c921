"""`abathur stats`: how the whole queue stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from abathur.cli.options import Settings, common
from abathur.cli.output import age, facts, heading, is_terminal, moment, note, table, write, write_json
from abathur.states import STATUSES

if TYPE_CHECKING:
    from abathur.database import Database
    from abathur.tasks.views import Stats, Throughput

EVERY: Final = 2.0
"""Seconds between two looks of --watch."""


@click.command(
    short_help="Show how the whole queue stands.",
    epilog="""\b
Examples:
  abathur stats
  abathur stats --watch
  abathur stats --json
""",
)
@click.option("--watch", is_flag=True, help="Again every 2 s, until Ctrl-C; with --json a line each time.")
@common
@click.pass_obj
def stats(settings: Settings, watch: bool) -> None:
    """Show the tasks of each agent type by status, the live workers, and how many tasks ended lately."""
    import asyncio

    from abathur.cli.opening import with_database

    async def look(db: Database) -> None:
        while True:
            found = await db.tasks.stats()
            if settings.json:
                write_json(found)
            else:
                if watch and is_terminal():
                    click.clear()
                _tell(found)
            if not watch:
                return
            await asyncio.sleep(EVERY)

    with_database(settings, look)


def _tell(found: Stats) -> None:
    if not found.queues:
        note("No tasks, and no workers.")
        return
    statuses = [status for status in STATUSES if found.counts.get(status)]
    heading("Tasks")
    rows = [
        (
            queue.agent_type,
            *(f"{queue.counts.get(status, 0):,}" for status in statuses),
            f"{queue.workers:,}",
            f"{queue.slots:,}",
            "" if queue.ready_for is None else _length(queue.ready_for),
        )
        for queue in found.queues
    ]
    if len(rows) > 1:
        rows.append(("(all)", *(f"{found.counts[status]:,}" for status in statuses), "", "", ""))
    table(("agent type", *statuses, "workers", "slots", "next ready for"), rows)
    if found.workers:
        write()
        heading("Workers")
        table(
            ("worker", "running", "up", "seen", "host", "pid", "agent types"),
            [
                (
                    worker.name,
                    f"{worker.running} of {worker.concurrency}",
                    age(worker.started_at),
                    f"{age(worker.seen_at)} ago",
                    worker.host,
                    worker.pid,
                    ", ".join(worker.agent_types),
                )
                for worker in found.workers
            ],
        )
    write()
    facts(
        [
            ("last minute", _ended(found.last_minute, 60)),
            ("last hour", _ended(found.last_hour, 3_600)),
            ("leases that are over", f"{found.expired:,}" if found.expired else None),
            ("at", moment(found.at)),
        ]
    )


def _ended(one: Throughput, asked: int) -> str:
    rate = f", {one.completed / one.seconds:,.1f} a second" if one.completed >= one.seconds > 0 else ""
    part = f" (in its last {one.seconds:.0f} s)" if one.seconds < asked else ""
    return f"{one.completed:,} completed, {one.failed:,} failed{rate}{part}"


def _length(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:.0f}s"
