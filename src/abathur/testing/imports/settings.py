"""Reads what is forbidden, and where the tests are, from the configuration file that pytest would take."""

from __future__ import annotations

import configparser
import os
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from abathur.errors import ConfigError
from abathur.testing.imports.finding import Forbidden

INI: Final = "abathur_forbidden_imports"
NAMES: Final = (
    "pytest.toml",
    ".pytest.toml",
    "pytest.ini",
    ".pytest.ini",
    "pyproject.toml",
    "tox.ini",
    "setup.cfg",
)
"""In the order in which pytest looks for them, in each directory from the tests upward."""
ALWAYS: Final = frozenset({"pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini"})
"""Those that are pytest's even if they are empty."""


@frozen
class Settings:
    """What a project says about its tests."""

    root: Path
    """The directory of the configuration file, else the one in which the check was started."""
    file: Path | None = None
    forbidden: tuple[Forbidden, ...] = ()
    tests: tuple[Path, ...] = ()
    """Where its tests are, as `testpaths` says."""
    sources: tuple[Path, ...] = ()
    """Where its modules are, as `pythonpath` says."""


def read_settings(paths: Sequence[Path], file: Path | None = None) -> Settings:
    """The settings for the tests at these paths, from `file` if that is given. Raises ConfigError."""
    if file is not None:
        values = _values(file)
        if values is None:
            raise ConfigError(
                str(file),
                None,
                None,
                "It has no section for pytest.",
                "Expected [tool.pytest.ini_options] in pyproject.toml, [pytest] or [tool:pytest] in others.",
                "Name another file, or leave the option out.",
            )
        return _settings(file, values)
    for directory in _upward(paths):
        for name in NAMES:
            path = directory / name
            if path.is_file() and (values := _values(path)) is not None:
                return _settings(path, values)
    return Settings(Path.cwd())


def _upward(paths: Sequence[Path]) -> Iterator[Path]:
    there = [path.absolute() for path in paths] or [Path.cwd()]
    common = Path(os.path.commonpath(there))
    start = common if common.is_dir() else common.parent
    yield from (start, *start.parents)


def _settings(file: Path, values: dict[str, Any]) -> Settings:
    root = file.absolute().parent
    forbidden = []
    for text in _lines(file, values, INI):
        try:
            forbidden.append(Forbidden.parse(text))
        except ValueError as error:
            said = getattr(error, "problem", str(error))
            raise ConfigError(
                str(file), None, INI, said, "Expected module:name in each line.", "Correct it."
            ) from None
    return Settings(
        root,
        file,
        tuple(forbidden),
        tuple(path for text in _lines(file, values, "testpaths") for path in sorted(root.glob(text))),
        tuple(root / text for text in _lines(file, values, "pythonpath")),
    )


def _lines(file: Path, values: dict[str, Any], key: str) -> list[str]:
    """A setting that holds several texts: a list in TOML, else lines; words for the paths of pytest."""
    value = values.get(key, [])
    if isinstance(value, str):
        parts: Iterable[str] = value.splitlines() if key == INI else value.split()
        return [text for part in parts if (text := part.strip())]
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ConfigError(
            str(file), None, key, f"{key} = {value!r} is no list of texts.", "Expected a list.", "Correct it."
        )
    return [text for one in value if (text := one.strip())]


def _values(file: Path) -> dict[str, Any] | None:
    """The settings of pytest in a file; None if it has none. Raises ConfigError for what cannot be read."""
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".toml":
            return _of_toml(tomllib.loads(text), is_own=file.name in ALWAYS)
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.read_string(text)
    except (OSError, UnicodeError, tomllib.TOMLDecodeError, configparser.Error) as error:
        said = " ".join(str(error).split())
        raise ConfigError(
            str(file),
            None,
            None,
            f"It cannot be read: {said}.",
            "Expected a file that pytest can read.",
            "Correct it.",
        ) from None
    section = "tool:pytest" if file.suffix == ".cfg" else "pytest"
    if parser.has_section(section):
        return dict(parser[section])
    return {} if file.name in ALWAYS else None


def _of_toml(data: dict[str, Any], *, is_own: bool) -> dict[str, Any] | None:
    if is_own:
        found = data.get("pytest", {})
        return found if isinstance(found, dict) else {}
    tool = data.get("tool", {})
    pytest = tool.get("pytest") if isinstance(tool, dict) else None
    if not isinstance(pytest, dict):
        return None
    options = pytest.get("ini_options", pytest)
    return options if isinstance(options, dict) else None
