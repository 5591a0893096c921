"""Found by every Python process that a guarded test starts: puts the guard in force there too.

It then makes way for the `sitecustomize` that the process would have had without it.
"""

from __future__ import annotations

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def _load(name: str, place: str) -> object:
    from importlib.machinery import ModuleSpec, SourceFileLoader

    spec = ModuleSpec(name, SourceFileLoader(name, os.path.join(place, "__init__.py")), is_package=True)
    spec.origin = os.path.join(place, "__init__.py")
    spec.has_location = True
    spec.submodule_search_locations = [place]
    from importlib._bootstrap import _load as load  # type: ignore[attr-defined]

    return load(spec)


def _guard() -> None:
    settings = os.environ.get("ABATHUR_GUARD")
    if not settings or "abathur_guard" in sys.modules:
        return
    try:
        guard = _load("abathur_guard", os.path.join(os.path.dirname(HERE), "guard"))
        guard.install(guard.Guard(guard.Settings.from_text(settings)))  # type: ignore[attr-defined]
    except Exception as error:  # noqa: BLE001  # without a guard it is better to say so than to be silent
        sys.stderr.write(f"abathur: this process has no guard, because it could not be loaded: {error!r}\n")


def _next() -> None:
    """Run the other `sitecustomize`, if there is one."""
    from importlib.machinery import PathFinder

    sys.path[:] = [place for place in sys.path if os.path.abspath(place) != HERE]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    from importlib.util import module_from_spec

    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


_guard()
_next()
