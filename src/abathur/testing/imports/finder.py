"""Finds the uses of forbidden names in one file: imports, attributes, and texts that are imported by."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, Final

from abathur.testing.imports.modules import Hit, Meaning, Member, Module, Modules, absolute, is_for_checkers

IMPORTERS: Final = frozenset({"import_module", "__import__", "importorskip"})
"""Functions that import the module that a text names."""
PATHS: Final = frozenset({"patch", "setattr", "delattr", "resolve_name"})
"""Functions that import what a dotted path in a text names."""
OF_OBJECTS: Final = frozenset({"getattr", "setattr", "delattr", "hasattr", "object", "spy", "stub"})
"""Functions that take a module, and a text with the name of its member."""
OF_PATCH: Final = frozenset({"object", "multiple", "dict"})
"""What is meant only as an attribute of `patch`."""

FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Finder(ast.NodeVisitor):
    """Walks through a file. `found` are the nodes, each with what it stands for and how."""

    def __init__(self, modules: Modules, package: str) -> None:
        self.found: list[tuple[ast.AST, Hit, str]] = []
        self._modules = modules
        self._package = package
        self._scopes: list[dict[str, Meaning]] = [{}]
        self._later: list[tuple[list[dict[str, Meaning]], Any]] = []

    def walk(self, tree: ast.Module) -> None:
        """Look at everything. The bodies of functions come last: they run when all names are bound."""
        self.visit(tree)
        while self._later:
            self._scopes, function = self._later.pop(0)
            for node in function.body if isinstance(function.body, list) else [function.body]:
                self.visit(node)

    # -- imports -------------------------------------------------------------------------------

    def visit_If(self, node: ast.If) -> None:  # ast's own
        if is_for_checkers(node):
            for one in node.orelse:
                self.visit(one)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for one in node.names:
            whole = self._modules.module(one.name)
            if isinstance(whole, Hit):
                self._add(one, whole, "imports")
            first = one.name.partition(".")[0]
            self._bind(one.asname or first, whole if one.asname else Module(first))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = absolute(node.module, node.level, self._package)
        if module is None:
            return
        whole = self._modules.module(module)
        for one in node.names:
            if isinstance(whole, Hit):
                self._add(one, whole, "imports from")
            elif one.name == "*":
                for name, meaning in self._modules.star(module):
                    self._bind(name, meaning)
                    if isinstance(meaning, Hit):
                        self._add(one, meaning, "imports everything, and with it")
            else:
                meaning = self._modules.member(module, one.name)
                self._bind(one.asname or one.name, meaning)
                if isinstance(meaning, Hit):
                    self._add(one, meaning, "imports")

    # -- names ---------------------------------------------------------------------------------

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        meaning = self._meaning(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name) and isinstance(meaning, (Module, Member)):
                self._bind(target.id, meaning)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        base, meaning = self._meaning(node.value), self._meaning(node)
        if isinstance(meaning, Hit) and not isinstance(base, Hit):
            self._add(node, meaning, "takes")
            if isinstance(node.value, (ast.Name, ast.Attribute)):
                return
        self.generic_visit(node)

    def _visit_function(self, node: Any) -> None:
        for one in (*getattr(node, "decorator_list", ()), *_outside(node)):
            self.visit(one)
        local: dict[str, Meaning] = dict.fromkeys(_assigned(node))
        self._later.append(([*self._scopes, local], node))

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_function  # noqa: N815

    # -- texts ---------------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> None:
        name, is_of_patch = self._called(node.func)
        first = _argument(node, 0, "target", "name", "modname", "import_path")
        text = _text(first)
        if text is not None and name in IMPORTERS:
            self._imported(node, text)
        elif text is not None and (name in PATHS or (is_of_patch and name in OF_PATCH)):
            meaning = self._modules.dotted(text.replace(":", "."))
            if isinstance(meaning, Hit):
                self._add(first or node, meaning, "names, in a text that is imported,")
            elif isinstance(meaning, Module) and name == "multiple":
                for keyword in node.keywords:
                    self._member_of(keyword, meaning, keyword.arg)
        elif name in OF_OBJECTS and (name not in OF_PATCH or is_of_patch) and first is not None:
            self._member_of(node, self._meaning(first), _text(_argument(node, 1, "attribute", "name")))
        self.generic_visit(node)

    def _imported(self, node: ast.Call, text: str) -> None:
        module = self._absolute(node, text)
        meaning = self._modules.module(module)
        holds = [one for one in self._modules.forbidden if one.module == module]
        if isinstance(meaning, Hit):
            self._add(node, meaning, "imports, by a text,")
        elif holds:
            self._add(node, Hit(holds[0]), "imports, by a text, the module of")

    def _member_of(self, node: ast.AST, base: Meaning, name: str | None) -> None:
        if isinstance(base, Module) and name is not None:
            meaning = self._modules.member(base.name, name)
            if isinstance(meaning, Hit):
                self._add(node, meaning, "takes, by a text,")

    def _called(self, function: ast.expr) -> tuple[str, bool]:
        """The last name of a function, whatever it is called here, and whether it is one of `patch`."""
        if isinstance(function, ast.Attribute):
            return function.attr, self._called(function.value)[0] == "patch"
        if isinstance(function, ast.Name):
            meaning = self._look(function.id)
            return (meaning.name if isinstance(meaning, Member) else function.id), False
        return "", False

    # -- meanings ------------------------------------------------------------------------------

    def _meaning(self, node: ast.expr) -> Meaning:
        match node:
            case ast.Name():
                return self._look(node.id)
            case ast.Attribute():
                base = self._meaning(node.value)
                return self._modules.member(base.name, node.attr) if isinstance(base, Module) else None
            case ast.Call():
                text = _text(_argument(node, 0, "name", "modname"))
                if text is not None and self._called(node.func)[0] in {"import_module", "importorskip"}:
                    return self._modules.module(self._absolute(node, text))
            case ast.NamedExpr() | ast.Await():
                return self._meaning(node.value)
        return None

    def _absolute(self, node: ast.Call, text: str) -> str:
        if not text.startswith("."):
            return text
        package = _text(_argument(node, 1, "package")) or self._package
        name = text.lstrip(".")
        return absolute(name or None, len(text) - len(name), package) or name

    def _look(self, name: str) -> Meaning:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return None

    def _bind(self, name: str, meaning: Meaning) -> None:
        self._scopes[-1][name] = meaning

    def _add(self, node: ast.AST, hit: Hit, how: str) -> None:
        self.found.append((node, hit, how))


def _argument(node: ast.Call, place: int, *names: str) -> ast.expr | None:
    if len(node.args) > place:
        return node.args[place]
    return next((keyword.value for keyword in node.keywords if keyword.arg in names), None)


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _outside(function: Any) -> Iterator[ast.expr]:
    """What of a function is evaluated where it is defined: defaults and annotations."""
    arguments: ast.arguments = function.args
    yield from arguments.defaults
    yield from (one for one in arguments.kw_defaults if one is not None)
    every = (
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    )
    yield from (one.annotation for one in every if one is not None and one.annotation is not None)
    if getattr(function, "returns", None) is not None:
        yield function.returns


def _assigned(function: Any) -> set[str]:
    """The names that are a function's own, without those that it imports."""
    arguments: ast.arguments = function.args
    every = (
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    )
    found = {one.arg for one in every if one is not None}
    shared: set[str] = set()
    todo: list[ast.AST] = list(function.body) if isinstance(function.body, list) else [function.body]
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            shared.update(node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            continue
        todo += ast.iter_child_nodes(node)
    return found - shared
