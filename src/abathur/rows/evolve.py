"""Whether a schema may become another one: what widens it is taken over, everything else is a conflict."""

from __future__ import annotations

from typing import NoReturn

from attrs import evolve

from abathur.errors import RowSchemaConflictError
from abathur.rows.declaration import Declaration, Field

ABSENT = "not declared"


def widened(old: Declaration, new: Declaration) -> Declaration:
    """The schema that holds the rows of the old one and is what the new one asks for.

    The new one may add optional fields and indexes, make a field optional or longer, change its default and
    which fields are immutable. An index that it does not name stays. Raises RowSchemaConflictError.
    """
    before = {field.name: field for field in old.fields}
    after = {field.name: field for field in new.fields}
    kept = []
    for field in old.fields:
        if field.name not in after:
            _conflict(old.table, field.name, field.said(), ABSENT)
        kept.append(_changed(old.table, field, after[field.name]))
    for field in new.fields:
        if field.name not in before:
            if field.required:
                _conflict(old.table, field.name, ABSENT, field.said())
            kept.append(field)
    for group in old.unique:
        if group not in new.unique:
            _conflict(old.table, ", ".join(group), "unique", "not unique")
    return evolve(
        new, fields=tuple(kept), indexes=tuple(sorted({*old.indexes, *new.indexes})), unique=new.unique
    )


def _changed(table: str, old: Field, new: Field) -> Field:
    same = old.type == new.type or (old.type, new.type) == ("string", "text")
    shorter = new.max_length is not None and (old.max_length is None or new.max_length < old.max_length)
    if not same or shorter or (new.required and not old.required):
        _conflict(table, old.name, old.said(), new.said())
    return new


def _conflict(table: str, field: str, old: str, new: str) -> NoReturn:
    raise RowSchemaConflictError(table, field, old, new)
