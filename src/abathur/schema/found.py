"""What an inspection finds in a database, on either dialect."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Literal, TypeAlias

from attrs import field, frozen

Kind: TypeAlias = Literal[
    "table", "index", "trigger", "view", "virtual", "materialized view", "foreign table", "sequence", "type"
]

META = "abathur_meta"


@frozen
class FoundColumn:
    """A column as the database describes it; `hidden` is 0, or 2 and 3 for a generated one.

    Only PostgreSQL tells `collation`, and `identity`: ``""``, ``"always"`` or ``"by default"``.
    """

    name: str
    type: str
    not_null: bool
    default: str | None
    pk: int
    hidden: int
    collation: str | None = None
    identity: str = ""


@frozen
class FoundForeignKey:
    """A foreign key; names in lower case, `references` empty for the other table's primary key.

    `name` is the constraint's, where the database gives one.
    """

    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]
    name: str = ""


@frozen
class FoundObject:
    """Anything with a name; `table` is the table it belongs to. An index of a constraint has no text.

    What only PostgreSQL tells: `comment`, where we leave our mark (None for an index or a trigger that
    is not in force, whose mark does not count); `body`, the source of a trigger's function; `fires`, when
    a trigger does: ``O`` and ``A`` for our sessions, ``D`` and ``R`` not.
    """

    kind: Kind
    name: str
    table: str
    sql: str
    comment: str | None = None
    body: str = ""
    fires: str = "O"


@frozen
class FoundTable:
    """An ordinary table that the declarations name, with its columns by lower-case name.

    SQLite has constraints in the text `sql`. PostgreSQL lists them: the columns of each that makes values
    `unique`, the names of the `checks`, and the `storage` parameters.
    """

    name: str
    sql: str
    columns: Mapping[str, FoundColumn]
    foreign_keys: tuple[FoundForeignKey, ...] = ()
    filled: bool = False
    unique: tuple[frozenset[str], ...] = ()
    checks: frozenset[str] = frozenset()
    storage: Mapping[str, str] = field(factory=dict)


@frozen
class FoundCopy:
    """How far the rows of an older table are in the one that replaced it."""

    rows: int
    missing: int
    different: int
    columns: tuple[str, ...]


@frozen
class Fingerprint:
    """What tells, without an inspection, that nothing can have changed.

    PostgreSQL has only `meta`, and is always inspected.
    """

    application_id: int
    schema_version: int
    journal_mode: str
    meta: Mapping[str, str] = field(factory=dict)


@frozen
class Found:
    """The answer of an inspection. Names are keys in lower case, as SQLite compares them."""

    fingerprint: Fingerprint
    objects: tuple[FoundObject, ...]
    tables: Mapping[str, FoundTable]
    copies: Mapping[str, FoundCopy]
    auto_vacuum: int
    page_size: int

    @property
    def meta(self) -> Mapping[str, str]:
        """The rows of `abathur_meta`."""
        return self.fingerprint.meta

    @property
    def is_new(self) -> bool:
        """Whether there is nothing at all."""
        return not self.objects

    @cached_property
    def names(self) -> Mapping[str, FoundObject]:
        """Tables, views and indexes, which share their names."""
        return {thing.name.lower(): thing for thing in self.objects if thing.kind != "trigger"}

    @cached_property
    def triggers(self) -> Mapping[str, FoundObject]:
        """Triggers have names of their own."""
        return {thing.name.lower(): thing for thing in self.objects if thing.kind == "trigger"}

    def indexes_of(self, table: str) -> tuple[FoundObject, ...]:
        """The indexes of a table, those of its constraints included."""
        return self._of("index", table)

    def triggers_of(self, table: str) -> tuple[FoundObject, ...]:
        """The triggers of a table, the user's included."""
        return self._of("trigger", table)

    def _of(self, kind: Kind, table: str) -> tuple[FoundObject, ...]:
        wanted = table.lower()
        return tuple(thing for thing in self.objects if thing.kind == kind and thing.table.lower() == wanted)
