"""The PostgreSQL server: what `db.doctor()` says about its version, its settings and its clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from abathur.engines.postgres_connection import Options, connect
from abathur.engines.postgres_faults import DRIVER, Transient, translate
from abathur.errors import AbathurError
from abathur.models import Finding

OLDEST: Final = 15
NEWEST: Final = 18
CLOCKS_MAY_DIFFER: Final = 1.0
"""Seconds."""
FEW: Final = 10
"""Connections that should be free."""

_STATE: Final = """
SELECT CAST(current_setting('server_version_num') AS INTEGER) AS number,
       current_setting('server_version') AS version,
       current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('server_encoding') AS encoding,
       CAST(current_setting('max_connections') AS INTEGER) AS most,
       (SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       COALESCE(has_schema_privilege(to_regnamespace(current_schema()), 'CREATE'),
                has_database_privilege(current_database(), 'CREATE')) AS may_create,
       (SELECT COUNT(*) FROM pg_stat_activity WHERE state = 'idle in transaction'
        AND state_change < clock_timestamp() - interval '1 minute') AS idle,
       CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION) AS now
"""


async def examine_server(options: Options, *, deep: bool) -> list[Finding]:
    """What is noteworthy about the server. One that cannot be reached is a finding."""
    del deep  # a server checks its pages itself
    name = options.server.name
    try:
        connection = await connect(options)
        try:
            row = await connection.fetchrow(_STATE)
            middle = time.time()
        finally:
            await connection.close(timeout=5)
    except Transient as error:
        return [_unreachable(error.error)]
    except AbathurError as error:
        return [_unreachable(error)]
    except DRIVER as error:
        found = translate(error, name, "a look at the server")
        return [_unreachable(found.error if isinstance(found, Transient) else found)]
    return [check(row) for check in _CHECKS] + [_clock(row["now"] - middle)]


def _unreachable(error: AbathurError) -> Finding:
    return Finding(
        code="server", level="problem", what="the server", found=error.problem, remedy=error.remedy
    )


def _version(row: Any) -> Finding:
    major = row["number"] // 10_000
    what, said = "PostgreSQL", str(row["version"])
    if major < OLDEST:
        return Finding(
            code="server",
            level="problem",
            what=what,
            found=f"{said} is too old: {OLDEST} or newer is needed.",
            remedy="Use a newer server.",
        )
    if major > NEWEST:
        return Finding(
            code="server",
            level="note",
            what=what,
            found=f"{said}; abathur is tested with {OLDEST} to {NEWEST}.",
            remedy="Tell the authors if something is wrong.",
        )
    return Finding(code="server", level="ok", what=what, found=said)


def _durable(row: Any) -> Finding:
    off = [setting for setting in ("fsync", "full_page_writes") if row[setting] != "on"]
    return Finding(
        code="server-durability",
        level="problem" if off else "ok",
        what="durability of the server",
        found=f"{' and '.join(off)} off: a power cut can destroy the database." if off else "fsync is on",
        remedy=f"Set {' and '.join(f'{setting} = on' for setting in off)}." if off else "",
    )


def _encoding(row: Any) -> Finding:
    is_utf8 = row["encoding"] == "UTF8"
    return Finding(
        code="server-encoding",
        level="ok" if is_utf8 else "warning",
        what="encoding of the database",
        found=str(row["encoding"]),
        remedy="" if is_utf8 else "Make the database with ENCODING 'UTF8': others cannot hold every text.",
    )


def _connections(row: Any) -> Finding:
    left = row["most"] - row["used"]
    return Finding(
        code="server-connections",
        level="ok" if left >= FEW else "warning",
        what="connections to the server",
        found=f"{row['used']} of {row['most']} in use",
        remedy="" if left >= FEW else "Raise max_connections, or lower `pool=` in the URLs.",
    )


def _role(row: Any) -> Finding:
    if not row["may_create"]:
        return Finding(
            code="server-role",
            level="problem",
            what="the role",
            found="it may not make tables in the schema, so `initialize()` cannot upgrade them.",
            remedy="GRANT CREATE, USAGE ON SCHEMA abathur TO the role, or let it own the schema.",
        )
    if row["is_superuser"]:
        return Finding(
            code="server-role",
            level="note",
            what="the role",
            found="it is a superuser, which abathur does not need.",
            remedy="Use a role of its own that owns the schema.",
        )
    return Finding(code="server-role", level="ok", what="the role", found="may make tables, no superuser")


def _idle(row: Any) -> Finding:
    return Finding(
        code="server-idle",
        level="warning" if row["idle"] else "ok",
        what="transactions that nobody goes on with",
        found=f"{row['idle']} older than a minute" if row["idle"] else "none",
        remedy="Find them in pg_stat_activity: they keep rows locked and VACUUM from its work."
        if row["idle"]
        else "",
    )


def _clock(ahead: float) -> Finding:
    differs = abs(ahead) > CLOCKS_MAY_DIFFER
    return Finding(
        code="server-clock",
        level="note" if differs else "ok",
        what="the server's clock",
        found=f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this host's",
        remedy="Set the clocks by NTP. Leases go by the server's alone; logs do not." if differs else "",
    )


_CHECKS: Final[tuple[Callable[[Any], Finding], ...]] = (
    _version,
    _durable,
    _encoding,
    _connections,
    _role,
    _idle,
)
