"""For the reference: what docstrings say about parameters becomes a list, and names of errors become links.

The library's docstrings are prose: "prompt: what to do, in words. agent_type: which handlers may claim it."
Here such sentences are given to mkdocstrings as an "Args:" section. attrs makes a class's `__init__` when it
is imported; mkdocstrings only reads the source, so the parameters are read from the fields.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import griffe

from tools.prose import public_errors, split, with_links

CONSTRUCTED = ("abathur.schema.declare.", "abathur.models.Prerequisite")
"""The attrs classes that a user makes; the others are handed out, and nobody needs their parameters."""


class Docstrings(griffe.Extension):
    """The extension that zensical.toml names."""

    def __init__(self) -> None:
        self._errors = public_errors()

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Give an attrs class the `__init__` that attrs will make."""
        if cls.path.startswith(CONSTRUCTED) and "__init__" not in cls.members:
            names = [name for name, member in cls.members.items() if is_field(member)]
            parameters = griffe.Parameters(
                griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword),
                *sorted(
                    (parameter(cls.members[name]) for name in names),
                    key=lambda one: one.kind is griffe.ParameterKind.keyword_only,
                ),
            )
            init = griffe.Function("__init__", parameters=parameters, parent=cls)
            cls.set_member("__init__", init)

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Rewrite every docstring, when everything is known."""
        self._rewrite(pkg)

    def _rewrite(self, thing: griffe.Object) -> None:
        if thing.docstring is not None:
            self._rewrite_docstring(thing, thing.docstring)
        for member in thing.members.values():
            if isinstance(member, griffe.Object):
                self._rewrite(member)
        if isinstance(thing, griffe.Class) and thing.docstring is not None:
            list_fields(thing, thing.docstring)

    def _rewrite_docstring(self, thing: griffe.Object, docstring: griffe.Docstring) -> None:
        names = []
        if isinstance(thing, (griffe.Class, griffe.Function)):
            names = [one.name.lstrip("*") for one in thing.parameters if one.name not in ("self", "cls")]
        # `::` at the end of a line announces code in reStructuredText; in Markdown one colon does.
        text = re.sub(r"::(?=\n\n)", ":", inspect.cleandoc(docstring.value))
        before, meanings, after = split(with_links(text, self._errors), names)
        arguments = [f"    {name}: {meaning}" for name, meaning in meanings.items()]
        section = "\n".join(["Args:", *arguments]) if arguments else ""
        docstring.value = "\n\n".join(filter(None, (before, section, after)))


def list_fields(cls: griffe.Class, docstring: griffe.Docstring) -> None:
    """Make one list of the fields of a value, where each would have a heading of its own."""
    lines = []
    for name, member in cls.members.items():
        if is_field(member) and member.docstring is not None:
            lines.append(f"    {name}: {' '.join(member.docstring.value.split())}")
            member.docstring = None
    if lines:
        docstring.value = "\n".join([docstring.value, "", "Attributes:", *lines])


def is_field(member: griffe.Object | griffe.Alias) -> bool:
    """Whether attrs makes a parameter of it."""
    is_attribute = isinstance(member, griffe.Attribute) and "property" not in member.labels
    return is_attribute and member.annotation is not None


def parameter(field: Any) -> griffe.Parameter:
    """The parameter for a field: ``name: type``, ``name: type = default`` or ``name: type = field(...)``."""
    default = field.value
    kind = griffe.ParameterKind.positional_or_keyword
    if isinstance(default, griffe.ExprCall) and str(default.function) == "field":
        options = {one.name: one.value for one in default.arguments if isinstance(one, griffe.ExprKeyword)}
        default = options.get("default")
        if str(options.get("kw_only")) == "True":
            kind = griffe.ParameterKind.keyword_only
    return griffe.Parameter(field.name, annotation=field.annotation, kind=kind, default=default)
