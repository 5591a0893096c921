"""The schema of a table as a plugin declares it, in every form that the contract allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import evolve, frozen

from abathur.errors import MissingFieldError, RowValidationError
from abathur.rows.names import (
    ADDED,
    check_field,
    check_number,
    check_object,
    check_table,
    invalid,
    is_list,
    kind,
    shown,
)
from abathur.rows.values import TEXTS, TYPES, given_back, stored

MOST_FIELDS: Final = 200
"""Fields of one table: PostgreSQL keeps a row in one page."""
MOST_INDEXES: Final = 32
WIDEST: Final = 8
"""Fields of one index."""
_OPTIONS: Final = ("immutable_fields", "indexes", "unique")
_OF_FIELD: Final = ("name", "type", "required", "default", "max_length")

Groups = tuple[tuple[str, ...], ...]


@frozen(kw_only=True)
class Field:
    """One declared field."""

    name: str
    type: str
    required: bool = False
    default: Any = None
    """As it is stored; None for a field without one."""
    max_length: int | None = None
    """Characters."""

    def stored(self, value: Any) -> Any:
        """A caller's value as it is stored, or null. Raises RowValidationError or ValueTooLargeError."""
        if value is None:
            if self.required:
                raise invalid(
                    f"Field '{self.name}' cannot be null", "Expected a value: the field is required."
                )
            return None
        made = stored(self.name, self.type, value)
        if self.max_length is not None and len(made) > self.max_length:
            raise invalid(
                f"Field '{self.name}': {len(made):,} characters are more than {self.max_length:,}",
                f"Expected {self.max_length:,} characters at most.",
            )
        return made

    def said(self) -> str:
        """The field in words."""
        words = [self.type, "required" if self.required else "optional"]
        if self.max_length is not None:
            words.append(f"at most {self.max_length} characters")
        return ", ".join(words)


@frozen(kw_only=True)
class Declaration:
    """What a plugin declares of one table."""

    table: str
    fields: tuple[Field, ...]
    immutable: tuple[str, ...] = ()
    indexes: Groups = ()
    unique: Groups = ()

    def schema(self) -> dict[str, Any]:
        """The schema as an answer has it, in the list form."""
        fields = []
        for field in self.fields:
            one: dict[str, Any] = {"name": field.name, "type": field.type, "required": field.required}
            if field.default is not None:
                one["default"] = given_back(field.type, field.default)
            if field.max_length is not None:
                one["max_length"] = field.max_length
            fields.append(one)
        return {
            "fields": fields,
            "immutable_fields": list(self.immutable),
            "indexes": [list(group) for group in self.indexes],
            "unique": [list(group) for group in self.unique],
        }


def read(body: Any, plugin: str) -> Declaration:
    """The declaration that the body of a request means.

    Raises MissingFieldError or RowValidationError.
    """
    body = check_object(body, "The request")
    if body.get("plugin", plugin) != plugin:
        raise invalid(
            f"Field 'plugin' is {shown(body['plugin'])}, and the request is made for '{plugin}'",
            "Expected the plugin that asks.",
            "Leave it out, or ask under that plugin's own name.",
        )
    table = check_table(body.get("table"))
    found, options = _parts(body)
    fields = tuple(_from_list(found) if is_list(found) else _from_object(found))
    names = [field.name for field in fields]
    for name in names:
        if names.count(name) > 1:
            raise invalid(f"Field '{name}' is declared twice", "Expected each field once.")
    if not 1 <= len(fields) <= MOST_FIELDS:
        raise invalid(
            f"A schema needs 1 to {MOST_FIELDS} fields, not {len(fields)}",
            "Expected fields of the table's own.",
        )
    known = frozenset(names)
    unique = _groups(options.get("unique"), "unique", known)
    indexes = _groups(options.get("indexes"), "indexes", known)
    if len(unique) + len(indexes) > MOST_INDEXES:
        raise invalid(
            f"The schema has more than {MOST_INDEXES} indexes", "Expected fewer: each makes writing slower."
        )
    return Declaration(
        table=table, fields=fields, immutable=_immutable(options, known), indexes=indexes, unique=unique
    )


def _parts(body: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """The fields, in whatever form, and the options, each from where it stands."""
    inner = body.get("schema")
    options = {name: body[name] for name in _OPTIONS if body.get(name) is not None}
    if inner is None:
        if body.get("fields") is None:
            raise MissingFieldError("schema", "Expected `fields`, under `schema` or beside the table.")
        return body["fields"], options
    if is_list(inner):
        return inner, options
    inner = check_object(inner, "The schema")
    if not _is_wrapper(inner):
        own = {
            name: value for name, value in inner.items() if name not in _OPTIONS or isinstance(value, Mapping)
        }
        options |= {name: inner[name] for name in _OPTIONS if name in inner and name not in own}
        return own, options
    options |= {name: inner[name] for name in _OPTIONS if inner.get(name) is not None}
    return inner["fields"], options


def _is_wrapper(inner: Mapping[str, Any]) -> bool:
    """Whether `schema` holds `fields`, and is not itself an object of fields, one of which has that name."""
    fields = inner.get("fields")
    return is_list(fields) or (isinstance(fields, Mapping) and not isinstance(fields.get("type"), str))


def _from_list(found: Any) -> Iterator[Field]:
    for place, one in enumerate(found):
        told = check_object(one, f"Field {place}")
        if told.get("name") is None:
            raise MissingFieldError("name", f"Expected the name of field {place}.")
        name = check_field(told["name"])
        if name in ADDED:
            raise invalid(
                f"Field '{name}' is reserved",
                f"Expected other fields: {', '.join(ADDED)} are added to every table.",
                "Leave it out.",
            )
        yield _field(name, told)


def _from_object(found: Any) -> Iterator[Field]:
    for key, one in check_object(found, "The fields").items():
        name = check_field(key)
        told = check_object(one, f"Field '{name}'")
        if told.get("name", name) != name:
            raise invalid(f"Field '{name}' has another name inside", "Expected one name for each field.")
        if name not in ADDED:
            yield _field(name, told)
        elif _type(name, told) != ADDED[name]:
            raise invalid(
                f"Field '{name}' is reserved, and its type is {ADDED[name]}",
                f"Expected the type {ADDED[name]}, or no such field: it is added to every table.",
            )


def _field(name: str, told: Mapping[str, Any]) -> Field:
    strange = sorted(set(told) - set(_OF_FIELD))
    if strange:
        raise invalid(
            f"Field '{name}': Unknown key: {shown(strange[0])}",
            f"Expected {', '.join(_OF_FIELD)}; `unique` and `indexes` belong to the table.",
        )
    type_name = _type(name, told)
    required = told.get("required", False)
    if not isinstance(required, bool):
        raise invalid(
            f"Field '{name}': required must be true or false, not {shown(required)}", "Expected a boolean."
        )
    longest = told.get("max_length")
    if longest is not None:
        if type_name not in TEXTS:
            raise invalid(
                f"Field '{name}': max_length is for text, not for {type_name}", "Expected it at text only."
            )
        longest = check_number(longest, f"Field '{name}': max_length", 1, 2**31 - 1)
    field = Field(name=name, type=type_name, required=required, max_length=longest)
    default = told.get("default")
    return field if default is None else evolve(field, default=field.stored(default))


def _type(name: str, told: Mapping[str, Any]) -> str:
    if told.get("type") is None:
        raise MissingFieldError("type", f"Expected the type of field '{name}'.")
    found = told["type"]
    if not isinstance(found, str) or found not in TYPES:
        raise invalid(
            f"Field '{name}': Unknown type: {shown(found)}. Known types: {', '.join(TYPES)}",
            "Expected one of these.",
        )
    return found


def _immutable(options: Mapping[str, Any], known: frozenset[str]) -> tuple[str, ...]:
    given = options.get("immutable_fields", ())
    if not is_list(given):
        raise invalid(f"immutable_fields must be a list, not {kind(given)}", "Expected a list of fields.")
    # Those that every table has cannot be changed in any case.
    names = {name for name in map(check_field, given) if name not in ADDED}
    _refuse_unknown("immutable_fields", names, known)
    return tuple(sorted(names))


def _groups(given: Any, what: str, known: frozenset[str]) -> Groups:
    """The groups of fields of indexes: each a field, a list of fields, or an object with `fields`."""
    if given is None:
        return ()
    if not is_list(given):
        raise invalid(
            f"{what} must be a list, not {kind(given)}", "Expected a list of fields, or of lists of fields."
        )
    groups = []
    for one in given:
        listed = one.get("fields") if isinstance(one, Mapping) else one
        names = (listed,) if isinstance(listed, str) else listed
        if not is_list(names) or not 1 <= len(names) <= WIDEST:
            raise invalid(
                f"{what}: {shown(one)} names no fields",
                f"Expected a field, or a list of 1 to {WIDEST} fields.",
            )
        group = tuple(map(check_field, names))
        if len(set(group)) < len(group):
            raise invalid(f"{what}: {', '.join(group)} names a field twice", "Expected each field once.")
        _refuse_unknown(what, set(group), known | ADDED.keys() if what == "indexes" else known)
        groups.append(group)
    return tuple(sorted(set(groups)))


def _refuse_unknown(what: str, names: set[str], known: frozenset[str]) -> None:
    for name in sorted(names - known):
        raise RowValidationError(
            f"{what}: Unknown field: {name}. Known fields: {', '.join(sorted(known))}",
            "Expected fields that the schema declares.",
            "Declare it, or leave it out.",
        )
