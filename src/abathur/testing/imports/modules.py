"""The modules of a project: where they lie, and what their names stand for, without importing any."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from attrs import define, field, frozen

from abathur.testing.imports.finding import Forbidden

DEEPEST: Final = 8
"""Modules through which a name is followed."""


@frozen
class Module:
    """A name that stands for a module."""

    name: str


@frozen
class Member:
    """A name that stands for something of a module, which is not forbidden."""

    module: str
    name: str


@frozen
class Hit:
    """A name that stands for what is forbidden. `through` are the modules that export it again."""

    forbidden: Forbidden
    through: tuple[str, ...] = ()


Meaning: TypeAlias = Module | Member | Hit | None


@define
class Contents:
    """What a module binds at its top level."""

    names: dict[str, tuple[str, str | None]] = field(factory=dict)
    """Imported names: the module, and its member; without one it is the module itself."""
    aliases: dict[str, str] = field(factory=dict)
    """Names that were assigned from other names."""
    stars: list[str] = field(factory=list)
    """Modules that everything was imported from."""
    exported: frozenset[str] | None = None
    """`__all__`, if there is one that can be read."""


class Modules:
    """Follows names from module to module. roots: directories that imports begin at."""

    def __init__(self, roots: Iterable[Path], forbidden: Sequence[Forbidden]) -> None:
        self._roots = list(dict.fromkeys(path.resolve() for path in roots))
        self.forbidden = forbidden
        self._paths: dict[str, Path | None] = {}
        self._contents: dict[str, Contents | None] = {}

    # -- meanings ------------------------------------------------------------------------------

    def module(self, name: str) -> Meaning:
        """What a dotted name of a module stands for."""
        for one in self.forbidden:
            if one.name is None and (name == one.module or name.startswith(f"{one.module}.")):
                return Hit(one)
        return Module(name)

    def member(self, module: str, name: str, depth: int = 0) -> Meaning:
        """What `name` of a module stands for."""
        for one in self.forbidden:
            if one.module == module and one.name == name:
                return Hit(one)
        if depth < DEEPEST and (contents := self.contents(module)) is not None:
            found = self._exported(module, contents, name, depth)
            if found is not None:
                return found
        inner = f"{module}.{name}"
        if self.path(inner) is not None or any(_is_below(one.module, inner) for one in self.forbidden):
            return self.module(inner)
        return Member(module, name)

    def _exported(self, module: str, contents: Contents, name: str, depth: int) -> Meaning:
        """What a module has imported under this name; None if it has not."""
        name = contents.aliases.get(name, name)
        if name in contents.names:
            source, member = contents.names[name]
            found = self.module(source) if member is None else self.member(source, member, depth + 1)
            return Hit(found.forbidden, (module, *found.through)) if isinstance(found, Hit) else found
        for source in contents.stars:
            if source != module and self._is_exported(source, name):
                found = self.member(source, name, depth + 1)
                if isinstance(found, Hit):
                    return Hit(found.forbidden, (module, *found.through))
                if isinstance(found, Module):
                    return found
        return None

    def dotted(self, text: str) -> Meaning:
        """What a dotted path in a text stands for, as `patch` looks it up."""
        first, *rest = text.split(".")
        if not all(part.isidentifier() for part in (first, *rest)):
            return None
        found = self.module(first)
        for part in rest:
            if not isinstance(found, Module):
                break
            found = self.member(found.name, part)
        return found

    def star(self, module: str) -> Iterator[tuple[str, Meaning]]:
        """What an import of everything brings, as far as it is a module or forbidden."""
        for one in self.forbidden:
            if one.module == module and one.name is not None and self._is_exported(module, one.name):
                yield one.name, Hit(one)
        contents = self.contents(module)
        if contents is None:
            return
        names = [*contents.names, *contents.aliases]
        for source in contents.stars:
            if source != module:
                names += [name for name, _ in self.star(source)]
        for name in dict.fromkeys(names):
            if self._is_exported(module, name):
                found = self.member(module, name)
                if isinstance(found, (Hit, Module)):
                    yield name, found

    def _is_exported(self, module: str, name: str) -> bool:
        contents = self.contents(module)
        if contents is not None and contents.exported is not None:
            return name in contents.exported
        return not name.startswith("_")

    # -- files ---------------------------------------------------------------------------------

    def path(self, name: str) -> Path | None:
        """The file of a module, if it is one of the project's."""
        if name not in self._paths:
            place = Path(*name.split("."))
            candidates = (
                root / one
                for root in self._roots
                for one in (place / "__init__.py", place.with_suffix(".py"))
            )
            self._paths[name] = next((path for path in candidates if path.is_file()), None)
        return self._paths[name]

    def contents(self, name: str) -> Contents | None:
        """What a module of the project binds; None for others, and for what is no Python."""
        if name not in self._contents:
            self._contents[name] = None  # while it is read, for circles
            path = self.path(name)
            if path is not None:
                try:
                    tree = ast.parse(path.read_bytes())
                except (SyntaxError, ValueError, OSError, RecursionError):
                    return None
                package = name if path.name == "__init__.py" else name.rpartition(".")[0]
                self._contents[name] = _contents(tree, package)
        return self._contents[name]


def absolute(module: str | None, level: int, package: str) -> str | None:
    """The absolute name of what is imported from `package`; None if that is not known."""
    if level == 0:
        return module
    parts = package.split(".") if package else []
    if level > len(parts):
        return None
    return ".".join([*parts[: len(parts) - level + 1], *([module] if module else [])])


def _contents(tree: ast.Module, package: str) -> Contents:
    found = Contents()
    for node in _statements(tree.body):
        match node:
            case ast.Import():
                for one in node.names:
                    name = one.asname or one.name.partition(".")[0]
                    found.names[name] = (one.name if one.asname else name, None)
            case ast.ImportFrom():
                module = absolute(node.module, node.level, package)
                if module is None:
                    continue
                for one in node.names:
                    if one.name == "*":
                        found.stars.append(module)
                    else:
                        found.names[one.asname or one.name] = (module, one.name)
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Name(id=source)):
                found.aliases[target] = source
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                found.exported = _texts(node.value)
    return found


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that are executed at import, also below `if` and `try`."""
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try, ast.With)) and not is_for_checkers(node):
            for inner in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, inner, []))
            for handler in getattr(node, "handlers", []):
                yield from _statements(handler.body)


def is_for_checkers(node: ast.AST) -> bool:
    """Whether it is `if TYPE_CHECKING:`, whose body is never executed."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in (
        getattr(node.test, "id", None),
        getattr(node.test, "attr", None),
    )


def _texts(node: ast.expr) -> frozenset[str] | None:
    """The texts of a list or tuple of texts."""
    if not isinstance(node, (ast.List, ast.Tuple)):
        return None
    values = [getattr(one, "value", None) for one in node.elts]
    return frozenset(one for one in values if isinstance(one, str))


def _is_below(module: str, above: str) -> bool:
    return module == above or module.startswith(f"{above}.")
