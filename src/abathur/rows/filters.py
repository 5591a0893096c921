"""Filters: which rows are meant, as conditions over fields, and the SQL that says the same.

A condition is true or false of a row, never unknown: a comparison with a field that is null is false, and so
`$ne`, `$nin` and `$not` are true of it. The SQL has negations at its leaves only, where that is simple.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field

from abathur.rows.names import check_object, invalid, is_list, kind, shown, unknown
from abathur.rows.registry import Known
from abathur.rows.values import ORDERED, TEXTS, plain_text, stored

DEEPEST: Final = 10
"""Levels of `$and`, `$or` and `$not` in each other."""
MOST_CONDITIONS: Final = 500
MOST_VALUES: Final = 5_000
LONGEST_PATTERN: Final = 1_000

LOGICAL: Final = ("$and", "$or", "$not")
_COMPARED: Final = {"$gt": (">", "<="), "$gte": (">=", "<"), "$lt": ("<", ">="), "$lte": ("<=", ">")}
"""Each with the operator, and the one of its negation."""
_OPERATORS: Final = (
    "$eq", "$ne", *_COMPARED, "$in", "$nin", "$like", "$ilike", "$exists", "$null", "$not",
)  # fmt: skip

_CAST: Final = {
    "string": "text",
    "text": "text",
    "integer": "bigint",
    "float": "double precision",
    "boolean": "bigint",
    "datetime": "bigint",
}


def place(type_name: str, dialect: str) -> str:
    """The placeholder for a value of a field; a server has to be told its type."""
    return "?" if dialect == "sqlite" else f"CAST(? AS {_CAST[type_name]})"


def where(known: Known, filters: Any, dialect: str) -> tuple[str, list[Any]]:
    """The condition that filters mean, and its values. Raises RowValidationError."""
    made = _Conditions(known, dialect)
    return made.of_object(filters, "The filter", negated=False, depth=0), made.values


@define
class _Conditions:
    known: Known
    dialect: str
    values: list[Any] = field(factory=list)
    count: int = 0

    def of_object(self, given: Any, what: str, *, negated: bool, depth: int) -> str:
        """All keys of an object together, in every depth."""
        if depth > DEEPEST:
            raise invalid(
                f"The filter is nested deeper than {DEEPEST} levels",
                f"Expected {DEEPEST} levels of {', '.join(LOGICAL)} at most.",
            )
        given = check_object(given, what)
        if not given:
            raise invalid(f"{what} is empty", "Expected a condition; leave the filter out to mean every row.")
        parts = []
        for key, value in given.items():
            if key.startswith("$"):
                parts.append(self._logical(key, value, negated=negated, depth=depth))
            elif key not in self.known.types:
                raise unknown(key, self.known.types)
            else:
                parts.append(self._of_field(key, value, negated=negated, depth=depth))
        return _joined(parts, "OR" if negated else "AND")

    def _logical(self, key: str, value: Any, *, negated: bool, depth: int) -> str:
        if key == "$not":
            return self.of_object(value, "The condition of $not", negated=not negated, depth=depth + 1)
        if key not in LOGICAL:
            raise invalid(
                f"Unknown operator: {shown(key)}. Known operators: {', '.join(LOGICAL)}",
                "Expected one of these, or a field.",
            )
        if not is_list(value) or not value:
            raise invalid(
                f"{key} needs a list of conditions that is not empty", "Expected a list of objects."
            )
        parts = [
            self.of_object(one, f"A condition of {key}", negated=negated, depth=depth + 1) for one in value
        ]
        return _joined(parts, "AND" if (key == "$and") is not negated else "OR")

    def _of_field(self, name: str, given: Any, *, negated: bool, depth: int) -> str:
        if not isinstance(given, Mapping):
            return self._leaf(name, "$eq", given, negated=negated)
        if not given:
            raise invalid(f"Field '{name}': The condition is empty", "Expected an operator, or a value.")
        parts = []
        for operator, value in check_object(given, f"The condition of field '{name}'").items():
            if operator == "$not":
                if depth >= DEEPEST:
                    self.of_object({}, "The filter", negated=negated, depth=depth + 1)
                if not isinstance(value, Mapping):
                    raise invalid(
                        f"Field '{name}': $not needs an object", "Expected an operator inside of it."
                    )
                parts.append(self._of_field(name, value, negated=not negated, depth=depth + 1))
            else:
                parts.append(self._leaf(name, operator, value, negated=negated))
        return _joined(parts, "OR" if negated else "AND")

    def _leaf(self, name: str, operator: str, value: Any, *, negated: bool) -> str:
        self.count += 1
        if self.count > MOST_CONDITIONS or len(self.values) > MOST_VALUES:
            raise invalid(
                "The filter has too many conditions",
                f"Expected {MOST_CONDITIONS} conditions and {MOST_VALUES:,} values at most.",
            )
        match operator:
            case "$eq" | "$ne":
                return self._equal(name, value, negated=negated is not (operator == "$ne"))
            case "$gt" | "$gte" | "$lt" | "$lte":
                return self._compared(name, operator, value, negated=negated)
            case "$in" | "$nin":
                return self._listed(name, operator, value, negated=negated is not (operator == "$nin"))
            case "$like" | "$ilike":
                return self._alike(name, operator, value, negated=negated)
            case "$exists" | "$null":
                if not isinstance(value, bool):
                    raise invalid(
                        f"Field '{name}': {operator} needs true or false, not {shown(value)}",
                        "Expected a boolean.",
                    )
                is_null = (operator == "$null") is value
                return self._null(name, is_null is not negated)
        raise invalid(
            f"Field '{name}': Unknown operator: {shown(operator)}. Known operators: {', '.join(_OPERATORS)}",
            "Expected one of these.",
        )

    def _equal(self, name: str, value: Any, *, negated: bool) -> str:
        if value is None:
            return self._null(name, not negated)
        column, given = self.known.identifiers[name], self._value(name, value)
        return f"({column} <> {given} OR {column} IS NULL)" if negated else f"{column} = {given}"

    def _compared(self, name: str, operator: str, value: Any, *, negated: bool) -> str:
        type_name = self.known.types[name]
        if type_name not in ORDERED:
            raise invalid(
                f"Field '{name}': {operator} is for numbers and datetimes, not for {type_name}",
                "Expected an integer, a float or a datetime.",
            )
        column, given = self.known.identifiers[name], self._value(name, value)
        straight, opposite = _COMPARED[operator]
        return (
            f"({column} {opposite} {given} OR {column} IS NULL)"
            if negated
            else f"{column} {straight} {given}"
        )

    def _listed(self, name: str, operator: str, value: Any, *, negated: bool) -> str:
        if not is_list(value) or not value:
            raise invalid(
                f"Field '{name}': {operator} needs a list that is not empty, not {kind(value)}",
                "Expected a list of values.",
            )
        if len(value) > MOST_VALUES:
            raise invalid(
                f"Field '{name}': {operator} has {len(value):,} values", f"Expected {MOST_VALUES:,} at most."
            )
        column = self.known.identifiers[name]
        given = [self._value(name, one) for one in value if one is not None]
        has_null = len(given) < len(value)
        if not given:
            return self._null(name, not negated)
        listed = f"({', '.join(given)})"
        if negated:  # where the column is null, NOT IN is as good as false
            inside = f"{column} NOT IN {listed}"
            return inside if has_null else f"({inside} OR {column} IS NULL)"
        return f"({column} IN {listed} OR {column} IS NULL)" if has_null else f"{column} IN {listed}"

    def _alike(self, name: str, operator: str, value: Any, *, negated: bool) -> str:
        type_name = self.known.types[name]
        if type_name not in TEXTS:
            raise invalid(
                f"Field '{name}': {operator} is for text, not for {type_name}", "Expected a text field."
            )
        if not isinstance(value, str):
            raise invalid(f"Field '{name}': {operator} needs text, not {kind(value)}", "Expected a pattern.")
        column = self.known.identifiers[name]
        pattern = _pattern(plain_text(value, "The pattern"), name, operator)
        test, given = _ALIKE[self.dialect, operator]
        self.values.append(given(pattern))
        text = f"{column} {test.format(place('text', self.dialect))}"
        return f"(NOT ({text}) OR {column} IS NULL)" if negated else text

    def _null(self, name: str, wanted: bool) -> str:
        return f"{self.known.identifiers[name]} IS {'' if wanted else 'NOT '}NULL"

    def _value(self, name: str, value: Any) -> str:
        type_name = self.known.types[name]
        if value is None:
            raise invalid(
                f"Field '{name}' cannot be compared with null", "Expected a value; use $null or $exists."
            )
        if isinstance(value, Mapping) or is_list(value):
            raise invalid(
                f"Field '{name}': Cannot convert value to {type_name}: it is {kind(value)}",
                "Expected a value, or an object with an operator such as $in.",
            )
        self.values.append(stored(name, type_name, value))
        return place(type_name, self.dialect)


def _joined(parts: list[str], word: str) -> str:
    return parts[0] if len(parts) == 1 else f"({f' {word} '.join(parts)})"


# -- patterns --------------------------------------------------------------------------------------

Pattern = list[str]
"""The characters of a pattern: ``%``, ``_``, or a character with a backslash before it, which is itself."""


def _pattern(text: str, name: str, operator: str) -> Pattern:
    if len(text) > LONGEST_PATTERN:
        raise invalid(
            f"Field '{name}': {operator} has a pattern of {len(text):,} characters",
            f"Expected {LONGEST_PATTERN:,} at most.",
        )
    parts: Pattern = []
    rest = iter(text)
    for one in rest:
        if one != "\\":
            parts.append(one if one in "%_" else f"\\{one}")
            continue
        following = next(rest, None)
        if following is None:
            raise invalid(
                f"Field '{name}': {operator} ends with a backslash",
                "Expected a character after it, which then means itself.",
            )
        parts.append(f"\\{following}")
    return parts


def _like(pattern: Pattern) -> str:
    return "".join(part if part in "%_" or part[1] in "%_\\" else part[1] for part in pattern)


def _glob(pattern: Pattern) -> str:
    return "".join(
        {"%": "*", "_": "?"}.get(part) or (f"[{part[1]}]" if part[1] in "*?[" else part[1])
        for part in pattern
    )


_ALIKE: Final[Mapping[tuple[str, str], tuple[str, Callable[[Pattern], str]]]] = {
    # SQLite's LIKE takes upper and lower case for the same, among ASCII; its GLOB does not. PostgreSQL's
    # ILIKE does so under the collation "C", which our columns have.
    ("sqlite", "$like"): ("GLOB {}", _glob),
    ("sqlite", "$ilike"): ("LIKE {} ESCAPE '\\'", _like),
    ("postgres", "$like"): ("LIKE {}", _like),
    ("postgres", "$ilike"): ("ILIKE {}", _like),
}
