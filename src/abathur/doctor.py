"""What is wrong, or noteworthy, about a database, each with its remedy. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from abathur import times
from abathur._version import __version__
from abathur.audit import Audit
from abathur.engines.base import Engine
from abathur.errors import AbathurError, EngineError, MissingDatabaseError, OpenError, SchemaConflictError
from abathur.models import Finding
from abathur.schema import steps
from abathur.schema.inspect import Fingerprint, fingerprint
from abathur.schema.plan import Plan
from abathur.schema.stamp import environment_of, is_older
from abathur.script import Script, Statement
from abathur.tasks import reading, workers

T = TypeVar("T")

STUCK: Final = 300
"""Seconds after which what any claim would have set right shows that nobody claims."""
UNCLAIMED: Final = 600
"""Seconds for which the next task of an agent type may be ready before somebody should look."""
AHEAD: Final = 60
"""Seconds by which the database's recorded moments may be ahead of the clock by which it goes."""
MOST_TYPES: Final = 100
"""Agent types with ready tasks that are looked at."""
SHOWN: Final = 8
"""Steps of a plan that a finding names."""

_IN_THE_WAY: Final = (steps.CreateTable, steps.AddColumn, steps.Relax)


async def examine(
    engine: Engine, plan: Callable[[], Awaitable[Plan]], declared: dict[str, str], *, deep: bool
) -> list[Finding]:
    """Everything that can be seen of a database. A database that cannot be opened is a finding too.

    `plan` answers with what `initialize()` would do; `declared` are the digests of the declarations by
    owner. `deep` also compares every index with its table, and checks the audit trail.
    """
    found = await engine.examine(deep=deep)
    try:
        planned = await plan()
        if not await engine.exists():
            raise MissingDatabaseError(engine.name)
        seen = await engine.read(fingerprint, engine.dialect)
    except AbathurError as error:
        said = any(finding.found == error.problem for finding in found)  # that the server is away, say
        return found if said else [*found, _refused(error)]
    found += [_stamp(seen, engine.dialect), _versions(seen), *_schema(planned, seen, declared)]
    if planned.conflicts or any(isinstance(step, _IN_THE_WAY) for step in planned.steps):
        return found  # its tasks cannot be read yet as ours are
    try:
        at = await engine.clock()
        for script in (_lost_leases, _adrift, _overdue, _dead_ends, _unclaimed, _clock):
            found += await engine.read(script, at)
    except (OpenError, EngineError) as error:
        return [*found, _refused(error)]  # damaged pages, say
    if deep:
        found.append(await _trail(engine))
    return found


def _refused(error: AbathurError) -> Finding:
    return Finding(
        code="cannot-open",
        level="problem",
        what=type(error).__name__,
        found=error.problem or str(error),
        remedy=error.remedy,
    )


# -- the stamp and the schema --------------------------------------------------------------------


def _stamp(seen: Fingerprint, dialect: str) -> Finding:
    header, recorded = environment_of(seen.application_id), seen.meta.get("environment")
    if dialect != "sqlite":  # only a file has a header
        return Finding(
            code="stamp",
            level="ok" if recorded else "note",
            what="stamp",
            found=f"{recorded}, database {seen.meta.get('database_id')}" if recorded else "none",
            remedy="" if recorded else "`abathur init` writes it.",
        )
    if header and recorded and header != recorded:
        return Finding(
            code="stamp",
            level="problem",
            what="stamp",
            found=f"The file's header says {header}, and its table abathur_meta says {recorded}.",
            remedy="Find out who changed it, then set the one that is wrong: PRAGMA application_id, "
            "or the row `environment` of abathur_meta.",
        )
    if not header:
        return Finding(
            code="stamp",
            level="note",
            what="stamp",
            found=f"none in the header (application_id {seen.application_id:#x})",
            remedy="`abathur init` writes it.",
        )
    return Finding(
        code="stamp",
        level="ok",
        what="stamp",
        found=f"{header} (application_id {seen.application_id:#x}), database {seen.meta.get('database_id')}",
    )


def _versions(seen: Fingerprint) -> Finding:
    wrote, needed = seen.meta.get("version"), seen.meta.get("min_reader_version")
    said = f"written by abathur {wrote}, can be read by {needed} or newer; this is {__version__}"
    if wrote is None:
        said = f"nothing says which version wrote it; this is abathur {__version__}"
    elif is_older(__version__, wrote):
        return Finding(
            code="versions",
            level="note",
            what="versions",
            found=said,
            remedy=f"Upgrade, to see everything that is in it: pip install 'abathur>={wrote}'",
        )
    return Finding(code="versions", level="ok", what="versions", found=said)


def _schema(plan: Plan, seen: Fingerprint, declared: dict[str, str]) -> list[Finding]:
    found = [
        Finding(
            code="schema-conflict",
            level="problem",
            what="schema",
            found=str(conflict),
            remedy=conflict.remedy or SchemaConflictError.__doc__ or "",
        )
        for conflict in plan.conflicts
    ]
    settings = [step for step in plan.steps if isinstance(step, steps.SetPragma)]
    changes = [step for step in plan.steps if not isinstance(step, (steps.SetPragma, steps.Stamp))]
    if changes:
        listed = "; ".join(step.describe() for step in changes[:SHOWN])
        listed += f"; and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
        was_whole = all(seen.meta.get(f"declaration:{owner}") == digest for owner, digest in declared.items())
        found.append(
            Finding(
                code="schema-altered",
                level="problem",
                what="schema",
                found=f"Somebody has altered it since it was brought to today's. Missing: {listed}.",
                remedy="`abathur migrate` makes it whole again. Find out who did it: where a trigger of the "
                "audit trail was dropped, `abathur audit verify` shows whether rows were changed meanwhile.",
            )
            if was_whole
            else Finding(
                code="schema-older",
                level="warning",
                what="schema",
                found=f"It is of an older version. Missing: {listed}.",
                remedy="`abathur migrate --plan` shows what is to be done, `abathur migrate` does it.",
            )
        )
    if not found:
        found.append(Finding(code="schema", level="ok", what="schema", found="what is declared"))
    if settings:
        found.append(
            Finding(
                code="settings",
                level="note",
                what="settings of the file",
                found=f"The next program that opens it will {'; '.join(one.describe() for one in settings)}.",
                remedy="Nothing has to be done; a restored backup looks like this.",
            )
        )
    return found


# -- the tasks -----------------------------------------------------------------------------------


def _tasks(code: str, what: str, said: str | None, remedy: str) -> list[Finding]:
    if said is None:
        return [Finding(code=code, level="ok", what=what, found="none")]
    return [Finding(code=code, level="warning", what=what, found=said, remedy=remedy)]


def _since(moment: int, at: int) -> str:
    return f"{(at - moment) / 60_000_000:,.0f} minutes ago"


def _lost_leases(at: int) -> Script[list[Finding]]:
    row = (yield Statement("doctor.lost_leases", before=at - STUCK * 1_000_000))[0]
    said = f"{row['n']:,}; the lease of {row['id']} ended {_since(row['since'], at)}." if row["n"] else None
    remedy = "Start a worker (`abathur run`), of any agent type: every claim gives such tasks back."
    return _tasks("lost-leases", "running tasks without a living worker", said, remedy)


def _adrift(at: int) -> Script[list[Finding]]:  # noqa: ARG001  # each check is called alike
    drifting = (yield Statement("doctor.adrift"))[0]
    leaseless = (yield Statement("doctor.leaseless"))[0]
    n = drifting["n"] + leaseless["n"]
    said = f"{n:,}, such as {drifting['id'] or leaseless['id']}." if n else None
    remedy = (
        "Start a worker (`abathur run`): it moves them on when it starts, and so does db.tasks.reconcile()."
    )
    return _tasks("adrift", "tasks that an older version or a crash left behind", said, remedy)


def _overdue(at: int) -> Script[list[Finding]]:
    row = (yield Statement("doctor.overdue", before=at - STUCK * 1_000_000))[0]
    said = f"{row['n']:,}; the time of {row['id']} came {_since(row['since'], at)}." if row["n"] else None
    remedy = "Start a worker (`abathur run`), of any agent type: every claim looks for them."
    return _tasks("overdue", "scheduled tasks whose time is over", said, remedy)


def _dead_ends(at: int) -> Script[list[Finding]]:  # noqa: ARG001  # each check is called alike
    rows = yield Statement("doctor.dead_ends")
    said = None
    if rows:
        row = rows[0]
        said = f"{row['n']:,}; {row['id']} waits for {row['cause']}, which is {row['status']}."
    remedy = "Retry the prerequisite, or cancel what waits for it: `abathur retry ID`, `abathur cancel ID`."
    return _tasks("dead-ends", "tasks blocked by one that has failed", said, remedy)


def _unclaimed(at: int) -> Script[list[Finding]]:
    counts = yield from reading.counts()
    crew, _ = yield from workers.read(at)
    waiting = []
    ready = sorted(agent_type for agent_type, status, n in counts if status == "ready" and n > 0)
    for agent_type in ready[:MOST_TYPES]:
        since = yield from _ready_since(agent_type)
        if since is not None and at - since > UNCLAIMED * 1_000_000:
            served = yield from _is_served(agent_type, crew, at)
            if not served:
                waiting.append(f"{agent_type} (for {(at - since) / 60_000_000:,.0f} minutes)")
    said = f"{', '.join(waiting)}." if waiting else None
    remedy = "Start a worker that has handlers for them: `abathur run`."
    return _tasks("unclaimed", "agent types that nobody has worked for in ten minutes", said, remedy)


def _ready_since(agent_type: str) -> Script[int | None]:
    rows = yield Statement("doctor.first_ready", agent_type=agent_type)
    moment = times.parse(rows[0]["last_updated_at"]) if rows else None
    return None if moment is None else int(moment.timestamp() * 1_000_000)


def _is_served(agent_type: str, crew: workers.Crew, at: int) -> Script[bool]:
    """Whether anybody works on this type: a live runner handles it, or some task of it is held by a lease.

    Behind a long queue the next task has waited for long although workers are busy; that is no fault.
    """
    rows = yield Statement("doctor.at_work", agent_type=agent_type, now=at)
    return bool(rows[0]["n"] or crew.of(agent_type))


# -- the trail -----------------------------------------------------------------------------------


def _clock(at: int) -> Script[list[Finding]]:
    rows = yield Statement("audit.last_sealed_at")
    last = rows[0]["sealed_at"] if rows else 0
    if isinstance(last, int) and last > at + AHEAD * 1_000_000:
        return [
            Finding(
                code="clock",
                level="warning",
                what="clock",
                found=f"The database has recorded {times.iso(last)}, which is still to come: "
                f"{(last - at) / 1_000_000:,.0f} s from now.",
                remedy="Set this machine's clock, or the server's if the database is on one. If it is right, "
                "another one's was wrong: abathur goes on from the recorded moment, so leases and schedules "
                "are right again when that has come.",
            )
        ]
    return [Finding(code="clock", level="ok", what="clock", found="not behind what is recorded")]


async def _trail(engine: Engine) -> Finding:
    try:
        report = await Audit(engine).verify()
    except (OpenError, EngineError) as error:
        return _refused(error)
    if report.ok:
        said = f"intact: {report.rows:,} rows under {report.seals:,} seals"
        return Finding(code="audit", level="ok", what="audit trail", found=said)
    return Finding(
        code="audit",
        level="problem",
        what="audit trail",
        found=report.problem or f"Row {report.first_bad} is not what was sealed.",
        remedy="Compare with a backup to see what was changed; `abathur audit verify` tells more.",
    )
