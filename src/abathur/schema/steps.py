"""The steps of a plan: each names its table, its SQL, the rows it touches and the lock it needs."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from abathur.script import Built


def _built(statements: Any) -> tuple[Built, ...]:
    return tuple(Built(item) if isinstance(item, str) else item for item in statements)


@frozen(kw_only=True)
class Step:
    """One change. `rows` is how many rows it reads or writes, None when that was not counted."""

    table: str
    name: str = ""
    statements: tuple[Built, ...] = field(default=(), converter=_built)
    rows: int | None = 0
    lock: str = "write lock, until the plan's one transaction is committed"

    @property
    def kind(self) -> str:
        """The name of the step's class."""
        return type(self).__name__

    def describe(self) -> str:
        """The step in one line."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The step as JSON values."""
        return {
            "step": self.kind,
            "table": self.table,
            "name": self.name or self.table,
            "describe": self.describe(),
            "sql": [statement.sql for statement in self.statements],
            "rows": self.rows,
            "lock": self.lock,
        }


@frozen(kw_only=True)
class SetPragma(Step):
    """A setting of the file, made before the transaction or, with `after`, after it."""

    value: str
    after: bool = False
    lock: str = "exclusive lock for an instant, outside of the transaction"

    def describe(self) -> str:
        return f"set {self.name} to {self.value}"


@frozen(kw_only=True)
class CreateTable(Step):
    """A table that is not there."""

    def describe(self) -> str:
        return f"create table {self.table}"


@frozen(kw_only=True)
class AddColumn(Step):
    """A column that a table has not; no row is rewritten for it."""

    def describe(self) -> str:
        return f"add column {self.table}.{self.name}"


@frozen(kw_only=True)
class CreateIndex(Step):
    """An index that is not there; `unique` are the columns of a unique one."""

    unique: tuple[str, ...] = ()
    rows: int | None = None

    def describe(self) -> str:
        return f"create {'unique ' if self.unique else ''}index {self.name} on {self.table}"


@frozen(kw_only=True)
class ReplaceIndex(CreateIndex):
    """An index of our name with another definition, or on the table that ours replaced."""

    def describe(self) -> str:
        return f"replace {'unique ' if self.unique else ''}index {self.name} on {self.table}"


@frozen(kw_only=True)
class AddConstraint(Step):
    """A constraint that a table has not, on PostgreSQL; `text` is what it says about its `columns`."""

    columns: tuple[str, ...]
    text: str
    rows: int | None = None

    def describe(self) -> str:
        return f"add to {self.table}: {self.text}"


@frozen(kw_only=True)
class CreateTrigger(Step):
    """A trigger that is not there."""

    def describe(self) -> str:
        return f"create trigger {self.name} on {self.table}"


@frozen(kw_only=True)
class ReplaceTrigger(Step):
    """A trigger of our name with another body."""

    def describe(self) -> str:
        return f"replace trigger {self.name} on {self.table}"


@frozen(kw_only=True)
class CreateVirtualTable(Step):
    """A virtual table that is not there."""

    def describe(self) -> str:
        return f"create virtual table {self.table}"


@frozen(kw_only=True)
class Relax(Step):
    """Old constraints are lifted: NOT NULL on `nullable` columns, and the foreign keys of those `unbound`.

    SQLite needs a rebuild for it. On PostgreSQL `unbound` has the names of the foreign keys.
    """

    nullable: tuple[str, ...] = ()
    unbound: tuple[str, ...] = ()
    is_rebuild: bool = True
    rows: int | None = None

    def describe(self) -> str:
        lifted = [f"NOT NULL on {name}" for name in self.nullable]
        lifted += [f"the foreign key {'on ' * self.is_rebuild}{name}" for name in self.unbound]
        if not self.is_rebuild:
            return f"lift from {self.table}: {' and '.join(lifted)}"
        return f"rebuild {self.table} without {' and '.join(lifted)}; every row and column is kept"


@frozen(kw_only=True)
class Backfill(Step):
    """Values for rows that were there: new columns, copied rows, or a new table's first rows."""

    action: str
    rows: int | None = None

    def describe(self) -> str:
        return self.action


@frozen(kw_only=True)
class Stamp(Step):
    """The environment, the versions and the declarations, written in the database."""

    def describe(self) -> str:
        return "write the stamp"
