"""What `abathur doctor --nats` looks at: whether the server is there, lets us in, and has what is needed."""

from __future__ import annotations

from typing import Final

import nats.errors
import nats.js.errors

from abathur.errors import AbathurError, NatsRefusedError, NatsUnavailableError, UnprotectedServerError
from abathur.models import Finding
from abathur.service.connection import Access, Connecting, Connection, masked
from abathur.service.stream import has_jetstream
from abathur.service.subjects import Tree

_CODES: Final = {
    NatsUnavailableError: "nats-unavailable",
    NatsRefusedError: "nats-refused",
    UnprotectedServerError: "nats-unprotected",
}
OLDEST: Final = (2, 9, 0)


async def examine(access: Access, prefix: str = "rosey") -> list[Finding]:
    """Findings about a NATS server, and the service that runs on it. Changes nothing there."""
    tree = Tree(prefix)
    try:
        connection = await Connecting(access, name="abathur doctor").connect()
    except AbathurError as error:
        code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "nats")
        said = f"{error.problem} {error.expected}".strip()
        return [Finding(code=code, level="problem", what="NATS server", found=said, remedy=error.remedy)]
    try:
        return await _look(connection, access, tree)
    finally:
        await connection.close()


async def _look(connection: Connection, access: Access, tree: Tree) -> list[Finding]:
    version = connection.connected_server_version
    numbers = (version.major, version.minor, version.patch)
    said = f"nats-server {'.'.join(map(str, numbers))} at {masked(access.url)}"
    said += f", messages up to {connection.max_payload:,} bytes"
    old = numbers < OLDEST
    found = [
        Finding(
            code="nats-server",
            level="warning" if old else "ok",
            what="NATS server",
            found=said,
            remedy="Use nats-server 2.9 or newer: it was tested with those." if old else "",
        )
    ]
    try:
        with_streams = await has_jetstream(connection)
    except (AbathurError, nats.errors.Error) as error:
        return [*found, _finding("jetstream", "warning", "JetStream", f"It does not answer: {error}")]
    if not with_streams:
        remedy = (
            "Start the server with `-js`, or a `jetstream` block: without it events are stored at most once."
        )
        return [
            *found,
            _finding("jetstream", "warning", "JetStream", "There is none.", remedy),
            await _service(connection, tree),
        ]
    found.append(_finding("jetstream", "ok", "JetStream", "there"))
    try:
        info = await connection.jsm().stream_info(f"{tree.stream_name}_events")
    except nats.js.errors.NotFoundError:
        found.append(_finding("events", "ok", "stream of events", "none yet; the service makes it"))
    except nats.errors.Error as error:
        found.append(_finding("events", "warning", "stream of events", f"It cannot be looked at: {error}"))
    else:
        waiting = info.state.messages
        found.append(
            _finding(
                "events",
                "warning" if waiting > 1_000 else "ok",
                "stream of events",
                f"{waiting:,} events wait to be stored",
                "Start the service, or look at its log." if waiting > 1_000 else "",
            )
        )
    return [*found, await _service(connection, tree)]


async def _service(connection: Connection, tree: Tree) -> Finding:
    try:
        await connection.request(f"{tree.prefix}.db.health", b"{}", timeout=2)
    except nats.errors.NoRespondersError:
        remedy = f"Start it: abathur serve nats --nats URL --prefix {tree.prefix}"
        return _finding("service", "note", "database service", f"none answers as {tree.prefix}", remedy)
    except (TimeoutError, nats.errors.Error) as error:
        return _finding(
            "service",
            "warning",
            "database service",
            f"It does not answer as {tree.prefix}: {error}",
            "Look at its log; or this user may not publish there.",
        )
    return _finding("service", "ok", "database service", f"answers as {tree.prefix}")


def _finding(code: str, level: str, what: str, found: str, remedy: str = "") -> Finding:
    return Finding(code=f"nats-{code}", level=level, what=what, found=found, remedy=remedy)  # type: ignore[arg-type]
