"""`db.rows.for_plugin(name)`: the tables of one plugin, and what can be done with their rows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from abathur.engines.base import Engine
from abathur.errors import (
    ConstraintError,
    InvalidInputError,
    MissingFieldError,
    RowConflictError,
    RowSchemaConflictError,
    RowsError,
    SchemaConflictError,
    UnknownTableError,
)
from abathur.rows import aggregates as aggregating
from abathur.rows import declaration, filters, incoming, operations, reading, registry, writing
from abathur.rows.evolve import widened
from abathur.rows.kv import Keys
from abathur.rows.names import check_plugin, check_table, invalid
from abathur.rows.registry import Known
from abathur.rows.requests import once, request
from abathur.rows.tables import index_name, physical_name
from abathur.rows.writing import STALE
from abathur.schema.declare import Schema
from abathur.script import ScriptFunction

T = TypeVar("T")

Answer: TypeAlias = dict[str, Any]
Object: TypeAlias = Mapping[str, Any]

MOST_KNOWN: Final = 1_000
"""Tables whose schemas are remembered. Each operation makes sure that what it remembers is still so."""


class Extend(Protocol):
    """`migrate.extend` of an open database."""

    async def __call__(self, declare: ScriptFunction[tuple[Schema | None, T]], *args: Any) -> T: ...


class Rows:
    """Row storage: each plugin has a store of its own."""

    def __init__(self, engine: Engine, extend: Extend) -> None:
        self._engine = engine
        self._extend = extend
        self._known: OrderedDict[tuple[str, str], Known] = OrderedDict()

    def forget(self) -> None:
        """Ask the database anew what each table is: it is another database now, at the same place."""
        self._known.clear()

    def for_plugin(self, plugin: str, *, actor: str | None = None) -> Store:
        """The store of a plugin. It costs nothing to ask for it again.

        plugin: 1 to 48 lower-case letters, digits, underscores and hyphens. actor: who does it, for the audit
        trail, else ``plugin:<name>``. Raises RowValidationError.
        """
        name = check_plugin(plugin)
        return Store(self._engine, self._extend, self._known, name, actor or f"plugin:{name}")


class Store:
    """The tables and keys of one plugin. No other plugin can reach them.

    Every method answers with the success of the service's contract, without ``success``. It raises a
    RowsError, which has a `code` and a `message`, or what every call of a Database raises; nothing was
    changed then. Answers consist of JSON values; moments are text, ISO 8601 in UTC.
    """

    def __init__(
        self,
        engine: Engine,
        extend: Extend,
        known: OrderedDict[tuple[str, str], Known],
        plugin: str,
        actor: str,
    ) -> None:
        self.plugin = plugin
        self.kv = Keys(engine, plugin)
        self._engine = engine
        self._extend = extend
        self._known = known
        self._actor = actor

    # -- schemas -------------------------------------------------------------------------------

    async def register(self, body: Object) -> Answer:
        """Register a table, or widen it. Durable, and known to every process, when it returns.

        body: ``table``, ``fields`` as a list or as an object, there or under ``schema``, and if wanted
        ``immutable_fields``, ``indexes``, ``unique`` and ``plugin``, all as in the contract.

        Returns ``{"table", "created": bool, "changed": bool}``: of a schema that was registered already both
        are False. Raises MissingFieldError, RowValidationError or RowSchemaConflictError.
        """
        wanted = declaration.read(body, self.plugin)
        answer = {"table": wanted.table, "created": False, "changed": False}
        found = await self._engine.read(registry.find, self.plugin, wanted.table)
        if found is not None and widened(found.declared, wanted) == found.declared:
            return answer  # as every time but the first: only reads
        try:
            return await self._extend(
                registry.register, self.plugin, wanted, self._actor, self._engine.dialect
            )
        except SchemaConflictError as error:
            raise _taken(wanted, error) from None

    async def unregister(self, table: str, *, request_id: str | None = None) -> Answer:
        """Forget a table. Returns ``{"table", "unregistered": bool}``, False if there was none.

        Its rows stay where they are, and come back when a schema is registered that they fit. request_id:
        as for `insert`.
        """
        asked = request(self.plugin, request_id, "unregister", table)
        call = (self.plugin, check_table(table), self._actor)
        if asked is None:
            return await self._engine.write(registry.unregister, *call)
        return await self._engine.write(once, asked, registry.unregister, call)

    async def get_schema(self, table: str) -> Answer:
        """Returns ``{"table", "schema": {"fields": [...], "immutable_fields", "indexes", "unique"}}``.

        Raises UnknownTableError.
        """
        known = await self._load(check_table(table))
        return {"table": table, "schema": known.declared.schema()}

    async def list_schemas(self) -> Answer:
        """Returns ``{"tables": [names, sorted], "schemas": {name: schema}, "count": n}``."""
        found = await self._engine.read(registry.listed, self.plugin)
        schemas = {known.declared.table: known.declared.schema() for known in found}
        return {"tables": list(schemas), "schemas": schemas, "count": len(schemas)}

    # -- rows ----------------------------------------------------------------------------------

    async def insert(
        self, table: str, data: Object | Sequence[Object], request_id: str | None = None
    ) -> Answer:
        """Store a row, or all rows of a list or none.

        Returns ``{"id", "created": True}``, for a list ``{"ids": [...], "created": n}``. request_id: the same
        one again within a day gets the first answer, and nothing is done.

        Raises MissingFieldError, RowValidationError, ValueTooLargeError or RowConflictError.
        """
        asked = request(self.plugin, request_id, "insert", table, data)
        _needed("data", data)

        def prepare(known: Known) -> writing.Insert:
            rows, is_list = incoming.all_values(known, data)
            return writing.Insert(known, rows, is_list, asked, self._engine.dialect)

        return await self._attempt(
            table, prepare, lambda call: self._engine.merge(writing.insert_calls, call)
        )

    async def select(
        self,
        table: str,
        id: int | None = None,
        filters: Object | None = None,
        *,
        sort: Object | Sequence[Object] | None = None,
        limit: int = reading.MOST_ROWS,
        offset: int = 0,
    ) -> Answer:
        """Read a row by its id: ``{"exists": True, "data": {...}}`` or ``{"exists": False}``.

        Or those that pass `filters`: ``{"rows": [...], "count", "truncated"}``, 1,000 at most.

        Raises MissingFieldError or RowValidationError.
        """
        _one_of(id, filters)
        if id is None:
            return await self.search(table, filters, sort, limit, offset)
        row_id = incoming.check_id(id)
        return await self._attempt(
            table,
            lambda known: reading.by_id(known, row_id),
            lambda call: self._engine.read(reading.read, call),
        )

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

        data: fields with their new values. operations: ``{"score": {"$inc": 1}}``, one operator for each
        field. request_id: as for `insert`.

        Returns ``{"id", "updated": True}`` or ``{"exists": False, "updated": False}``; with filters
        ``{"updated": bool, "updated_count": n}``. Raises as `insert` does.
        """
        asked = request(self.plugin, request_id, "update", table, id, data, operations, filters)
        if (data is None) is (operations is None):
            _both_or_none("data", "operations", is_none=data is None)

        def changes(known: Known) -> operations_.Changes:
            make, given = (
                (operations_.of_data, data) if operations is None else (operations_.of_operations, operations)
            )
            return make(known, given, self._engine.dialect)

        return await self._write(table, id, filters, changes, asked)

    async def delete(
        self,
        table: str,
        id: int | None = None,
        filters: Object | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """Delete the row of this id, or all rows that pass `filters`.

        Returns ``{"deleted": bool}``; with filters ``{"deleted": bool, "deleted_count": n}``. request_id: as
        for `insert`. Raises MissingFieldError or RowValidationError.
        """
        asked = request(self.plugin, request_id, "delete", table, id, filters)
        return await self._write(table, id, filters, lambda _: None, asked)

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

        filters: conditions over fields. sort: ``{"field", "order"}`` or a list of them, else by id.

        With `aggregates`, such as ``{"total": {"$sum": "score"}}``, the named values: each under its name,
        and all under ``aggregates``. With `group_by` as well, rows of the groups' fields and named values.

        Raises RowValidationError.
        """
        most, first = reading.check_limit(limit), reading.check_offset(offset)
        if group_by is not None and aggregates is None:
            raise MissingFieldError("aggregates", "Expected aggregates for the groups of group_by.")

        def prepare(known: Known) -> reading.Read | aggregating.Summary:
            dialect = self._engine.dialect
            condition = None if filters is None else filters_.where(known, filters, dialect)
            if aggregates is None:
                return reading.sorted_rows(known, condition, sort, most, first)
            return aggregating.summary(known, condition, aggregates, group_by, sort, most, first, dialect)

        async def run(call: Any) -> Any:
            if isinstance(call, reading.Read):
                return await self._engine.read(reading.read, call)
            try:
                return await self._engine.read(aggregating.summarize, call)
            except InvalidInputError as error:  # only PostgreSQL refuses to compute it
                for name in aggregating.floats(call):
                    raise aggregating.out_of_range(name) from error
                raise

        return await self._attempt(table, prepare, run)

    # -- how -----------------------------------------------------------------------------------

    async def _write(
        self,
        table: str,
        id: int | None,
        filters: Object | None,
        changes: Callable[[Known], operations_.Changes | None],
        asked: Any,
    ) -> Answer:
        _one_of(id, filters)

        def prepare(known: Known) -> writing.Write:
            dialect = self._engine.dialect
            made = changes(known)
            if id is not None:
                which = writing.Which(incoming.check_id(id))
            else:
                which = writing.Which(None, *filters_.where(known, filters, dialect))
            return writing.Write(known, which, made, asked, dialect, self.plugin, self._actor)

        return await self._attempt(table, prepare, lambda call: self._engine.merge(writing.write_calls, call))

    async def _attempt(
        self, table: str, prepare: Callable[[Known], T], run: Callable[[T], Awaitable[Any]]
    ) -> Answer:
        """Prepare an operation by the schema that is remembered, or by the present one if that is another."""
        name = check_table(table)
        known = self._known.get((self.plugin, name))
        while True:
            is_fresh = known is None
            present = await self._load(name) if known is None else known
            known = None
            try:
                call = prepare(present)
            except RowsError:
                if is_fresh:
                    raise
                continue  # by the present schema it may be right
            try:
                answer: Any = await run(call)
            except ConstraintError as error:
                raise _duplicate(present, error) from error
            if answer is not STALE:
                return answer  # type: ignore[no-any-return]

    async def _load(self, table: str) -> Known:
        known = await self._engine.read(registry.find, self.plugin, table)
        if known is None:
            self._known.pop((self.plugin, table), None)
            raise UnknownTableError(self.plugin, table)
        self._known[self.plugin, table] = known
        self._known.move_to_end((self.plugin, table))
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return known


filters_, operations_ = filters, operations
"""The modules, under names that no parameter has."""


def _needed(name: str, value: Any) -> None:
    if value is None:
        raise MissingFieldError(name)


def _one_of(id: Any, filters: Any) -> None:
    if (id is None) is (filters is None):
        _both_or_none("id", "filters", is_none=id is None)


def _both_or_none(one: str, other: str, *, is_none: bool) -> None:
    if is_none:
        raise MissingFieldError(one, f"Expected `{one}`, or `{other}`.")
    raise invalid(f"There are both {one} and {other}", "Expected one of them.")


def _duplicate(known: Known, error: ConstraintError) -> RowsError:
    """Which unique fields a refused write has met: engines say it by an index's name, or by its columns."""
    found = str(error)
    for group in known.declared.unique:
        columns = ", ".join(f"{physical_name(known.number)}.{known.columns[name]}" for name in group)
        if index_name(known.number, "u", group) in found or found.endswith(columns) or f"{columns}." in found:
            names = ", ".join(group)
            return RowConflictError(
                f"A row with the same {names} exists already",
                f"Expected a value of {names} that no other row of '{known.declared.table}' has.",
                "Choose another value, or update the row that has it.",
            )
    return RowConflictError(
        "The row conflicts with another one", "Expected a row that fits beside the others.", "Change the row."
    )


def _taken(wanted: declaration.Declaration, error: SchemaConflictError) -> Exception:
    """Rows that are equal where they should be unique, if that is what the migration has found."""
    columns = [str(one.column) for one in error.conflicts if one.column and "equal" in one.found]
    if not columns:
        return error  # somebody has altered the table
    names = ", ".join(dict.fromkeys(columns))
    return RowSchemaConflictError(wanted.table, names, "stored in rows that are equal there", "unique")
