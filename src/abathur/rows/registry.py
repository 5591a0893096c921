"""The registry: which table of which plugin has which schema, and how it comes about and changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import attrs
import msgspec
from attrs import frozen

from abathur import payload, times
from abathur.audit import append
from abathur.errors import CorruptDatabaseError, RowSchemaConflictError
from abathur.rows.declaration import Declaration, Field
from abathur.rows.evolve import widened
from abathur.rows.names import ADDED, invalid
from abathur.rows.tables import REGISTRY, issue, physical, physical_name
from abathur.rows.values import TEXTS
from abathur.schema.declare import Schema
from abathur.schema.render import quoted
from abathur.script import Built, Script, Statement

REGISTERED: Final = "registered"
UNREGISTERED: Final = "unregistered"
REPLACED: Final = "replaced"
MOST_TABLES: Final = 1_000
"""Tables of one plugin."""
INDEXED: Final = 2_600
"""Bytes of text that fit into one entry of an index, on the engine where that is least."""

_EXISTS: Final = {
    "sqlite": "SELECT count(*) AS n FROM sqlite_master WHERE lower(name) = ?",
    "postgres": "SELECT count(*) AS n FROM pg_class AS c WHERE c.relname = ?"
    " AND c.relnamespace = to_regnamespace(quote_ident(current_schema()))",
}
_TOO_LONG: Final = {
    "sqlite": "length(CAST({0} AS BLOB)) > ?",
    "postgres": "octet_length({0}) > CAST(? AS bigint)",
}


@frozen
class Known:
    """A registered table, at one revision of its schema."""

    number: int
    revision: int
    declared: Declaration
    columns: Mapping[str, str]
    """The column of each declared field."""
    state: str = REGISTERED

    @cached_property
    def table(self) -> str:
        """The physical table, as an identifier."""
        return quoted(physical_name(self.number))

    @cached_property
    def types(self) -> Mapping[str, str]:
        """The type of each field, of those included that every row has; in the order of an answer."""
        declared = {field.name: field.type for field in self.declared.fields}
        return {"id": ADDED["id"], **declared, **ADDED}

    @cached_property
    def identifiers(self) -> Mapping[str, str]:
        """The column of each field, as an identifier."""
        return {name: quoted(self.columns.get(name, name)) for name in self.types}

    @cached_property
    def named(self) -> Mapping[str, str]:
        """The field of each column."""
        return {self.columns.get(name, name): name for name in self.types}

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """The declared fields by name."""
        return {field.name: field for field in self.declared.fields}

    @cached_property
    def longest(self) -> Mapping[str, int]:
        """Bytes that the text of an indexed field may have."""
        found: dict[str, int] = {}
        for group in (*self.declared.unique, *self.declared.indexes):
            texts = [name for name in group if self.types[name] in TEXTS]
            for name in texts:
                found[name] = min(found.get(name, INDEXED), INDEXED // len(texts))
        return found

    @property
    def schema(self) -> Schema:
        """What `migrate` brings about."""
        return physical(self.number, self.declared, self.columns)


# -- looking ---------------------------------------------------------------------------------------


def find(plugin: str, table: str) -> Script[Known | None]:
    """The table of this name, unless it is not registered."""
    found = yield from _find(plugin, table)
    return found if found is not None and found.state == REGISTERED else None


def listed(plugin: str) -> Script[list[Known]]:
    """The plugin's tables, by name."""
    rows = yield Statement("rows.registered", plugin=plugin)
    return [_known(row, row["name"], REGISTERED) for row in rows]


def declared(dialect: str) -> Script[Sequence[Schema]]:
    """The schemas of all tables that may have rows; none where there is no registry yet."""
    if not (yield from _exists(dialect, REGISTRY.name)):
        return ()
    # What somebody's SQL has made of a declaration cannot be brought about; using the table says so.
    known = []
    for row in (yield Statement("rows.declared", damaged=True)):
        try:
            known.append(_known({**dict(row), "revision": 0}, row["name"], REGISTERED))
        except CorruptDatabaseError:
            continue
    return tuple(one.schema for one in known)


def _find(plugin: str, table: str) -> Script[Known | None]:
    rows = yield Statement("rows.find", plugin=plugin, name=table)
    return _known(rows[0], table, rows[0]["state"]) if rows else None


# -- changing --------------------------------------------------------------------------------------


def register(
    plugin: str, wanted: Declaration, actor: str, dialect: str, now: int
) -> Script[tuple[Schema | None, dict[str, Any]]]:
    """Write down a declaration; returns the schema to bring about, and the answer.

    Another process may have done all of it before. Raises RowSchemaConflictError or RowValidationError.
    """
    answer = {"table": wanted.table, "created": False, "changed": False}
    found = yield from _find(plugin, wanted.table)
    if found is not None and found.state == UNREGISTERED:
        kept = yield from _kept(found, wanted)
        if kept is None:
            yield from _put(found, REPLACED, now)
            found = None
    if found is None:
        (there,) = yield Statement("rows.count_tables", plugin=plugin)
        if there["n"] >= MOST_TABLES:
            raise invalid(
                f"Plugin '{plugin}' has {there['n']:,} tables, those that were unregistered included",
                f"Expected {MOST_TABLES:,} at most: every one makes opening the database slower.",
                "Keep more in one table.",
            )
        made = yield from _issue(plugin, wanted, dialect, now)
        yield from _record("rows.registered", plugin, made, actor, now)
        return made.schema, {**answer, "created": True, "changed": True}
    declaration = widened(found.declared, wanted)
    if declaration == found.declared and found.state == REGISTERED:
        return None, answer
    columns = issue((field.name for field in declaration.fields), found.columns)
    changed = attrs.evolve(found, declared=declaration, columns=columns, state=REGISTERED)
    # First: whoever writes by the old schema is waited for, and the others find out that it is old.
    yield Statement("rows.next_revision", id=found.number)
    yield from _refuse_long(found, changed, dialect)
    yield from _put(changed, REGISTERED, now)
    yield from _record("rows.registered", plugin, changed, actor, now)
    return changed.schema, {**answer, "created": found.state == UNREGISTERED, "changed": True}


def unregister(plugin: str, table: str, actor: str, now: int) -> Script[dict[str, Any]]:
    """Forget a table, and keep its rows."""
    found = yield from _find(plugin, table)
    if found is None or found.state != REGISTERED:
        return {"table": table, "unregistered": False}
    yield Statement("rows.next_revision", id=found.number)
    yield from _put(found, UNREGISTERED, now)
    yield from _record("rows.unregistered", plugin, found, actor, now)
    return {"table": table, "unregistered": True}


def _kept(found: Known, wanted: Declaration) -> Script[Declaration | None]:
    """What an unregistered table becomes, if its rows fit; None if there are none and they need not."""
    try:
        return widened(found.declared, wanted)
    except RowSchemaConflictError:
        yield Statement("rows.next_revision", id=found.number)
        if (yield Built(f"SELECT id FROM {found.table} LIMIT 1")):
            raise
        return None


def _issue(plugin: str, wanted: Declaration, dialect: str, now: int) -> Script[Known]:
    """A number, and with it a physical name, that nothing has."""
    columns = issue((field.name for field in wanted.fields), {})
    while True:
        made = Known(0, 1, wanted, columns)
        (row,) = yield Statement(
            "rows.add_table", plugin=plugin, name=wanted.table, declaration=_text(made), now=now
        )
        made = attrs.evolve(made, number=row["id"])
        if (yield from _exists(dialect, physical_name(made.number))):  # an application's own
            yield from _put(made, REPLACED, now)
            continue
        yield Statement("rows.add_head", id=made.number)
        return made


def _refuse_long(before: Known, after: Known, dialect: str) -> Script[None]:
    """Refuse an index over text that is longer than what every engine takes into one."""
    for name, most in after.longest.items():
        if most < before.longest.get(name, INDEXED + 1) and name in before.columns:
            check = _TOO_LONG[dialect].format(before.identifiers[name])
            if (yield Built(f"SELECT id FROM {before.table} WHERE {check} LIMIT 1", [most])):
                long, short = f"without an index, with text of more than {most:,} bytes", "indexed"
                raise RowSchemaConflictError(after.declared.table, name, long, short)


def _put(known: Known, state: str, now: int) -> Script[None]:
    yield Statement("rows.redeclare", id=known.number, declaration=_text(known), state=state, now=now)


def _record(action: str, plugin: str, known: Known, actor: str, now: int) -> Script[None]:
    declared = known.declared
    about = {"plugin": plugin, "table": declared.table, "stored_as": physical_name(known.number)}
    if action == "rows.registered":
        about |= declared.schema()
    yield from append([(times.iso(now), None, action, payload.batch(about), actor)])


def _exists(dialect: str, name: str) -> Script[bool]:
    (row,) = yield Built(_EXISTS[dialect], [name])
    return bool(row["n"])


# -- the stored form -------------------------------------------------------------------------------


def _text(known: Known) -> str:
    """The declaration as the registry keeps it: with the column of each field."""
    declared = known.declared
    fields = [{**attrs.asdict(field), "column": known.columns[field.name]} for field in declared.fields]
    return payload.batch(
        {
            "fields": fields,
            "immutable": declared.immutable,
            "indexes": declared.indexes,
            "unique": declared.unique,
        }
    )


def _known(row: Any, name: str, state: str) -> Known:
    """Read it back. Raises CorruptDatabaseError for what is no declaration of ours."""
    try:
        told = msgspec.json.decode(row["declaration"])
        columns = {one["name"]: one.pop("column") for one in told["fields"]}
        declared = Declaration(
            table=name,
            fields=tuple(Field(**one) for one in told["fields"]),
            immutable=tuple(told["immutable"]),
            indexes=tuple(map(tuple, told["indexes"])),
            unique=tuple(map(tuple, told["unique"])),
        )
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptDatabaseError(
            REGISTRY.name, f"the declaration of table {row['id']} cannot be read ({type(error).__name__})"
        ) from error
    return Known(row["id"], row["revision"], declared, columns, state)
