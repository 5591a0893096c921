"""Declared schemas: what an application writes to say which tables it needs."""

from abathur.schema.declare import (
    Backfill,
    Column,
    CopyRows,
    ForeignKey,
    Index,
    InsertRows,
    PerDialect,
    Reference,
    Schema,
    Table,
    Trigger,
    VirtualTable,
)

__all__ = [
    "Backfill",
    "Column",
    "CopyRows",
    "ForeignKey",
    "Index",
    "InsertRows",
    "PerDialect",
    "Reference",
    "Schema",
    "Table",
    "Trigger",
    "VirtualTable",
]
