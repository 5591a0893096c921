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
       current_setting('autovacuum') AS autovacuum,
       COALESCE((SELECT s.ssl FROM pg_stat_ssl AS s WHERE s.pid = pg_backend_pid()), false) AS encrypted,
       COALESCE(host(inet_client_addr()), '') AS client,
       current_user AS role, current_setting('search_path') AS schema,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       here.oid IS NOT NULL AS is_there,
       has_database_privilege(current_database(), 'CREATE') AS may_make,
       COALESCE(has_schema_privilege(here.oid, 'USAGE'), false) AS may_use,
       COALESCE(has_schema_privilege(here.oid, 'CREATE'), false) AS may_add,
       (SELECT COUNT(*) FROM pg_class AS c WHERE c.relnamespace = here.oid
        AND c.relkind IN ('r', 'p') AND NOT pg_has_role(c.relowner, 'USAGE')) AS not_owned,
       (SELECT COUNT(*) FROM pg_stat_activity WHERE state = 'idle in transaction'
        AND state_change < clock_timestamp() - interval '1 minute') AS idle,
       CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION) AS now
FROM (SELECT to_regnamespace(current_setting('search_path')) AS oid) AS here
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
    settings = [_commits(options.durability), _clock(row["now"] - middle)]
    return [check(row) for check in _CHECKS] + settings


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
    what, role, schema = f"the role {row['role']}", row["role"], row["schema"]
    if not row["is_there"] and not row["may_make"]:
        return Finding(
            code="server-role",
            level="problem",
            what=what,
            found=f"It may not make the schema {schema}, which does not exist.",
            remedy=f"Let an administrator run: CREATE SCHEMA {schema} AUTHORIZATION {role}",
        )
    if row["is_there"] and not row["may_use"]:
        return Finding(
            code="server-role",
            level="problem",
            what=what,
            found=f"It may not use the schema {schema}.",
            remedy=f"Let its owner run: GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}",
        )
    if row["not_owned"] or (row["is_there"] and not row["may_add"]):
        return Finding(
            code="server-role",
            level="note",
            what=what,
            found="It may use the tables, and not alter them.",
            remedy="Let the role that owns them run `abathur migrate` at every upgrade, before the others.",
        )
    if row["is_superuser"]:
        return Finding(
            code="server-role",
            level="note",
            what=what,
            found="It is a superuser, which abathur does not need.",
            remedy="Use a role of its own that owns the schema.",
        )
    return Finding(code="server-role", level="ok", what=what, found="may make tables, and is no superuser")


def _encryption(row: Any) -> Finding:
    what, client = "the connection", row["client"]
    if row["encrypted"]:
        return Finding(code="server-encryption", level="ok", what=what, found="encrypted")
    if not client or client.startswith("127.") or client == "::1":
        return Finding(code="server-encryption", level="ok", what=what, found="does not leave this machine")
    return Finding(
        code="server-encryption",
        level="warning",
        what=what,
        found="It goes over a network and is not encrypted.",
        remedy="Add sslmode=verify-full to the URL; the server needs a certificate.",
    )


def _vacuum(row: Any) -> Finding:
    off = row["autovacuum"] != "on"
    return Finding(
        code="server-autovacuum",
        level="warning" if off else "ok",
        what="autovacuum",
        found="off: the tables of a queue grow without end." if off else "on",
        remedy="Set autovacuum = on." if off else "",
    )


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


def _commits(durability: str) -> Finding:
    normal = durability == "normal"
    return Finding(
        code="durability",
        level="note" if normal else "ok",
        what="durability",
        found="normal: a crash of the server may cost the last transactions, the death of a process none."
        if normal
        else "full: a commit survives a crash of the server",
        remedy="Database(durability='full'), which is the default." if normal else "",
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
    _encryption,
    _vacuum,
    _idle,
)
