"""`db.rows.for_plugin(name)`: the tables of one plugin, and what can be done with their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from abathur.engines.base import Engine
from abathur.rows.kv import Keys

Answer = dict[str, Any]
Object = Mapping[str, Any]


class Rows:
    """Row storage: each plugin has a store of its own."""

    def for_plugin(self, plugin: str, *, actor: str | None = None) -> Store:
        """The store of a plugin; cheap, and the same one for the same name.

        plugin: ``[a-z0-9][a-z0-9_-]{0,47}``. actor: who does it, for the audit trail, else ``plugin:<name>``.
        Raises RowValidationError.
        """
        raise NotImplementedError


class Store:
    """The tables and keys of one plugin. No other plugin can reach them.

    Every method answers with the success of the service's contract, without ``success``. It raises a
    RowsError, which has a `code` and a `message`, or what every call of a Database raises; nothing was
    changed then. Every answer consists of JSON values; moments are text, ISO 8601 in UTC.
    """

    plugin: str
    kv: Keys

    def __init__(self, engine: Engine, plugin: str) -> None:
        self.plugin = plugin
        self.kv = Keys(engine, plugin)

    # -- schemas -------------------------------------------------------------------------------

    async def register(self, body: Object) -> Answer:
        """Register a table, or widen it. Durable, and known to every process, when it returns.

        body: ``table``, ``fields`` as a list or as an object, there or under ``schema``, and if wanted
        ``immutable_fields``, ``indexes``, ``unique`` and ``plugin``, all as in the contract.

        Returns ``{"table", "created": bool, "changed": bool}``: of a schema that was registered already both
        are False. Raises MissingFieldError, RowValidationError or RowSchemaConflictError.
        """
        raise NotImplementedError

    async def unregister(self, table: str) -> Answer:
        """Forget a table. Returns ``{"table", "unregistered": bool}``, False if there was none.

        Its rows stay where they are; registering a schema that fits them brings them back.
        """
        raise NotImplementedError

    async def get_schema(self, table: str) -> Answer:
        """Returns ``{"table", "schema": {"fields": [...], "immutable_fields", "indexes", "unique"}}``.

        Raises UnknownTableError.
        """
        raise NotImplementedError

    async def list_schemas(self) -> Answer:
        """Returns ``{"tables": [names, sorted], "schemas": {name: schema}, "count": n}``."""
        raise NotImplementedError

    # -- rows ----------------------------------------------------------------------------------

    async def insert(
        self, table: str, data: Object | Sequence[Object], request_id: str | None = None
    ) -> Answer:
        """Store a row, or all rows of a list or none.

        Returns ``{"id", "created": True}``, for a list ``{"ids": [...], "created": n}``. request_id: the same
        one again within a day gets the first answer, and nothing is done.
        """
        raise NotImplementedError

    async def select(
        self,
        table: str,
        id: int | None = None,
        filters: Object | None = None,
        *,
        sort: Object | Sequence[Object] | None = None,
        limit: int = 1_000,
        offset: int = 0,
    ) -> Answer:
        """Read a row by its id: ``{"exists": True, "data": {...}}`` or ``{"exists": False}``.

        Or those that pass `filters`: ``{"rows": [...], "count", "truncated"}``.
        """
        raise NotImplementedError

    async def update(
        self,
        table: str,
        id: int | None = None,
        data: Object | None = None,
        operations: Object | None = None,
        filters: Object | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """Change the row of this id, or all rows that pass `filters`, by `data` or by `operations`.

        Returns ``{"id", "updated": True}`` or ``{"exists": False, "updated": False}``; with filters
        ``{"updated": bool, "updated_count": n}``.
        """
        raise NotImplementedError

    async def delete(
        self,
        table: str,
        id: int | None = None,
        filters: Object | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """Delete the row of this id, or all rows that pass `filters`.

        Returns ``{"deleted": bool}``; with filters ``{"deleted": bool, "deleted_count": n}``.
        """
        raise NotImplementedError

    async def search(
        self,
        table: str,
        filters: Object | None = None,
        sort: Object | Sequence[Object] | None = None,
        limit: int = 100,
        offset: int = 0,
        aggregates: Object | None = None,
        group_by: str | Sequence[str] | None = None,
    ) -> Answer:
        """Look for rows: ``{"rows": [...], "count", "truncated"}``; 1,000 at most.

        With `aggregates` the named values, each under its name and all under ``aggregates``; with `group_by`
        as well, rows of the groups' fields and the named values.
        """
        raise NotImplementedError
