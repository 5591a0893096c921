"""Other programs: whether their command lines name a protected database, and how they get the guard."""

from __future__ import annotations

import os
import sys

from . import places
from .settings import URL, VARIABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

CHILD = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "child")
"""The directory of the `sitecustomize` by which a Python process finds the guard."""
MOST_WORDS = 5_000

_APART = str.maketrans(dict.fromkeys(" \t\r\n;|&<>(){}[]'\"`,$", "\0"))


def words(arguments: object) -> Iterator[str]:
    """Everything in a command line that may be the name of a file; scripts for a shell are taken apart."""
    many = (
        [arguments] if isinstance(arguments, (str, bytes)) or hasattr(arguments, "__fspath__") else arguments
    )
    left = MOST_WORDS
    for argument in many if isinstance(many, (list, tuple)) else ():
        text = places.text_of(argument)
        if text is None:
            continue
        for word in {text, *text.translate(_APART).split("\0")}:
            for name in _names(word):
                left -= 1
                if not left:
                    return
                yield name


def _names(word: str) -> Iterator[str]:
    for text in (word, word.partition("=")[2]):
        if text and not text.startswith("-") and len(text) < 4096:
            if text.startswith("file:"):
                file = places.file_of(text)
                if file is not None:
                    yield file
            elif text.startswith("sqlite") and URL in text:
                yield text.partition(URL)[2].removeprefix("/").partition("?")[0]
            else:
                yield text


def in_directory(name: str, directory: object) -> str:
    """A name as seen from the working directory of the program."""
    where = places.text_of(directory) if directory is not None else None
    return name if where is None else os.path.join(where, name)


def environment(settings: str) -> dict[str, str]:
    """What a child process needs in its environment."""
    others = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one and one != CHILD]
    return {VARIABLE: settings, "PYTHONPATH": os.pathsep.join([CHILD, *others])}


def completed(given: Mapping[Any, Any], settings: str) -> dict[Any, Any] | None:
    """An environment that a program is started with, and the guard; None if that is in it already."""
    try:
        found = {os.fsdecode(name): os.fsdecode(value) for name, value in given.items()}
    except TypeError:  # a value that is none, which Popen refuses
        return None
    path = [one for one in found.get("PYTHONPATH", "").split(os.pathsep) if one]
    if found.get(VARIABLE) == settings and CHILD in path:
        return None
    path = [CHILD, *(one for one in path if one != CHILD)]
    return {**found, VARIABLE: settings, "PYTHONPATH": os.pathsep.join(path)}


def guard_popen(subprocess: Any, settings: Any) -> None:
    """Make every program that is started by `subprocess` begin with the guard, whatever its environment.

    settings: a function that gives them as text, or None when there is no guard any more.
    """
    original = subprocess.Popen.__init__

    def __init__(self: Any, *args: Any, **options: Any) -> None:  # noqa: N807  # it takes the place of one
        text = settings()
        if text is not None and len(args) <= 10:  # the environment is by keyword, as everybody has it
            given = options.get("env")
            if given is None or hasattr(given, "items"):  # what is no environment is for Popen to refuse
                options["env"] = completed(os.environ if given is None else given, text) or given
        original(self, *args, **options)

    __init__.__wrapped__ = original  # type: ignore[attr-defined]
    __init__.__doc__ = original.__doc__
    subprocess.Popen.__init__ = __init__


class Watcher:
    """Calls a function with a module as soon as it is imported, before anybody else has it."""

    def __init__(self, patches: dict[str, Any]) -> None:
        self._patches = patches

    def install(self) -> None:
        """Patch what is imported already, and wait for the rest."""
        for name in list(self._patches):
            module = sys.modules.get(name)
            if module is not None:
                self._patches.pop(name)(module)
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """What the import system asks each of its finders."""
        patch = self._patches.pop(name, None)
        if patch is None:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Patching(spec.loader, patch)  # type: ignore[assignment]
                return spec
        self._patches[name] = patch  # it is not installed
        return None


class _Patching:
    """A module's loader, which patches the module when it has loaded it."""

    def __init__(self, loader: Any, patch: Any) -> None:
        self._loader = loader
        self._patch = patch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._patch(module)
