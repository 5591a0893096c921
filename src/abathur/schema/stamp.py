"""The stamp: which environment and which versions a database belongs to, written in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen

from abathur.schema.declare import Schema, Table
from abathur.schema.found import META, Found
from abathur.schema.steps import Stamp
from abathur.script import Built
from abathur.times import iso

APPLICATION_IDS: Final[Mapping[str, int]] = {
    "production": 0x41425401,  # "ABT" and a number: bytes 68 to 71 of the file
    "development": 0x41425402,
    "test": 0x41425403,
}
MIN_READER_VERSION: Final = "0.1.0"
"""The oldest library that can read and write what this one writes."""

AUDIT: Final = "audit"
"""The table whose older rows the seals do not cover."""

AUDIT_ISSUED: Final = "audit_issued"
"""On PostgreSQL, the key of the last id that was given to a row of the trail."""

_OR_UPDATE: Final = "ON CONFLICT (key) DO UPDATE SET value = excluded.value"


@frozen(kw_only=True)
class Options:
    """What a plan depends on besides the declarations and the database."""

    dialect: str = "sqlite"
    version: str = "0"
    environment: str = "development"
    project: str = ""
    database_id: str = ""
    now: int = 0
    is_file: bool = True
    page_size: int = 4096


def environment_of(application_id: int) -> str | None:
    """The environment that an `application_id` stands for; None for 0 and for other applications."""
    return next((name for name, number in APPLICATION_IDS.items() if number == application_id), None)


def recorded_environment(application_id: int, meta: Mapping[str, str]) -> str | None:
    """The environment that a database is stamped with, or None when it has no stamp."""
    return environment_of(application_id) or meta.get("environment")


def version_key(version: str) -> tuple[int, ...]:
    """A version in comparable form: its leading numbers."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else (0,)


def is_older(version: str, than: str) -> bool:
    """Whether one version is older than another."""
    return version_key(version) < version_key(than)


def is_needed(schemas: Sequence[Schema], found: Found, options: Options) -> bool:
    """Whether the stamp has to be written although nothing else has to be done.

    A declaration that differs is recorded only by a newer library than the one that is recorded:
    two programs with two declarations would otherwise overwrite each other's for ever.
    """
    meta = found.meta
    if recorded_environment(found.fingerprint.application_id, meta) is None or "version" not in meta:
        return True
    if options.dialect == "sqlite" and environment_of(found.fingerprint.application_id) is None:
        return True
    if options.dialect == "postgres" and _audit_of(schemas) and AUDIT_ISSUED not in meta:
        return True
    recorded = {schema.owner: meta.get(f"declaration:{schema.owner}") for schema in schemas}
    if None in recorded.values():
        return True
    differs = any(recorded[schema.owner] != schema.sha256 for schema in schemas)
    return differs and is_older(meta["version"], options.version)


def make_stamp(schemas: Sequence[Schema], found: Found, options: Options) -> Stamp:
    """The statements that write the stamp, as the last of the transaction."""
    meta = found.meta
    environment = recorded_environment(found.fingerprint.application_id, meta) or options.environment
    kept = {"environment", "project", "database_id", "created_at"}
    rows = {
        "environment": environment,
        "project": options.project,
        "database_id": options.database_id,
        "created_at": iso(options.now),
        "version": options.version,
        "min_reader_version": MIN_READER_VERSION,
    }
    rows |= {f"declaration:{schema.owner}": schema.sha256 for schema in schemas}
    if is_older(options.version, meta.get("version", "0")):
        # A newer library was here. What it recorded is its own to change.
        kept |= rows.keys()
    rows = {key: value for key, value in rows.items() if not (key in kept and key in meta)}
    statements = [_put(key, value) for key, value in rows.items() if meta.get(key) != value]
    of_dialect = {"sqlite": _of_sqlite, "postgres": _of_postgres}[options.dialect]
    statements += of_dialect(schemas, found, environment)
    return Stamp(table=META, statements=tuple(statements), rows=len(statements))


def _audit_of(schemas: Sequence[Schema]) -> Table | None:
    return next((table for schema in schemas for table in schema.tables if table.name == AUDIT), None)


def _of_sqlite(schemas: Sequence[Schema], found: Found, environment: str) -> Iterator[Built]:
    """Where the trail begins, the file's header, and the number by which a change of the schema shows."""
    audit = _audit_of(schemas)
    if audit and "audit_starts_after" not in found.meta:
        last = f"coalesce((SELECT max(id) FROM {AUDIT}), 0)"
        if any(column.autoincrement for column in audit.columns):
            # The last id that was given out; its row may be gone.
            last = f"max({last}, coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{AUDIT}'), 0))"
        yield Built(f"INSERT INTO {META} (key, value) SELECT 'audit_starts_after', {last}")
    application_id = APPLICATION_IDS[environment]
    if found.fingerprint.application_id != application_id:
        yield Built(f"PRAGMA application_id = {application_id}")
    recorded = found.meta.get("schema_version")
    if audit is None and recorded not in (None, str(found.fingerprint.schema_version)):
        return  # something else was changed before; what is not looked at here may need to be mended
    # Last: the number that SQLite raises with every change of the schema, the ones above included.
    select = "SELECT 'schema_version', schema_version FROM pragma_schema_version WHERE true"
    yield Built(f"INSERT INTO {META} (key, value) {select} {_OR_UPDATE}")


def _of_postgres(schemas: Sequence[Schema], found: Found, environment: str) -> Iterator[Built]:
    """Where the trail begins, and the last of its ids that was given."""
    del environment
    if _audit_of(schemas) is None:
        return
    last = f"SELECT max(id) AS id FROM {AUDIT}"
    for table in (table for schema in schemas for table in schema.tables):
        # If somebody deleted the number: rows of the trail that were pruned had higher ids, perhaps.
        if table.name.startswith(f"{AUDIT}_") and any(column.name == "last_row" for column in table.columns):
            last += f" UNION ALL SELECT max(last_row) FROM {table.name}"
    for key in ("audit_starts_after", AUDIT_ISSUED):
        if key not in found.meta:
            yield Built(
                f"INSERT INTO {META} (key, value) "
                f"SELECT '{key}', CAST(coalesce(max(id), 0) AS text) FROM ({last}) AS given"
            )


def _put(key: str, value: str) -> Built:
    return Built(f"INSERT INTO {META} (key, value) VALUES (?, ?) {_OR_UPDATE}", (key, value))
