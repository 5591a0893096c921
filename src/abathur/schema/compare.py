"""What a comparison of a declared table with the one that was found can say, on either dialect."""

from __future__ import annotations

from attrs import field, frozen

from abathur.schema.declare import Column
from abathur.schema.found import FoundColumn


@frozen
class Conflict:
    """Something that cannot hold what is declared, and what its owner can do about it."""

    table: str
    """The table that is meant."""
    column: str | None
    """Its column, or None when it is about the whole table."""
    found: str
    """What is there."""
    declared: str
    """What the declaration says."""
    remedy: str
    """What can be done about it."""

    def __str__(self) -> str:
        where = f"{self.table}.{self.column}" if self.column else self.table
        return f"{where} is {self.found}, declared is {self.declared}. {self.remedy}"


@frozen
class Missing:
    """A constraint that can be added to a table that exists, which only PostgreSQL can."""

    columns: tuple[str, ...]
    text: str
    """What stands after ALTER TABLE ... ADD."""


@frozen
class Difference:
    """What separates a found table from its declaration."""

    added: tuple[Column, ...] = ()
    nullable: tuple[str, ...] = ()
    unbound: tuple[str, ...] = ()
    constraints: tuple[Missing, ...] = ()
    conflicts: list[Conflict] = field(factory=list)
    notes: list[str] = field(factory=list)


def blocks(found: FoundColumn, declared: Column | None) -> bool:
    """Whether an old NOT NULL would refuse a row that leaves the column out, as ours may."""
    if not found.not_null or found.default is not None or found.pk or found.hidden or found.identity:
        return False
    return declared is None or (not declared.not_null and not declared.primary_key)
