"""Reads abathur.toml.

A new section: a value class, a function here that makes it from its Table, a field of Config, and
its name in SECTIONS.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from abathur.agents import LONGEST_TIMEOUT, MOST, check
from abathur.commands import CommandAgent
from abathur.commands.agent import CHECKS, KILL_AFTER, LONGEST_KILL_AFTER
from abathur.config.table import Table, duration, text, whole
from abathur.database import Database
from abathur.errors import ConfigError
from abathur.runner import Runner
from abathur.tasks.retention import Retention

FILE: Final = "abathur.toml"
SECTIONS: Final = ("database", "runner", "retention", "agents")
LONGEST_RETENTION: Final = 100 * 365 * 86_400
LONGEST: Final = 86_400


@frozen(kw_only=True)
class AgentConfig:
    """One [agents.NAME]."""

    handler: CommandAgent
    timeout: float | None
    max_attempts: int | None
    concurrency: int | None


@frozen(kw_only=True)
class Config:
    """What a configuration file says."""

    path: Path
    database: str | None = None
    """A path, made absolute from the file's directory, or a URL."""
    runner: Mapping[str, Any] = field(factory=dict)
    """Arguments of Runner: concurrency, lease, grace."""
    retention: Retention | None = None
    """How long tasks that have ended are kept; None keeps them for ever."""
    agents: Mapping[str, AgentConfig] = field(factory=dict)

    def make_runner(self, db: Database) -> Runner:
        """A runner with the settings and the agents of the file. Raises ConfigError if it has none."""
        if not self.agents:
            raise ConfigError(
                str(self.path),
                None,
                None,
                "It declares no agents.",
                "Expected a table [agents.NAME].",
                EXAMPLE,
            )
        runner = Runner(db, **self.runner, retention=self.retention)
        self.register(runner)
        return runner

    def register(self, runner: Runner) -> None:
        """Give a runner the agents of the file. Raises ConfigError if it has one of that name."""
        for name, agent in self.agents.items():
            if name in runner.agent_types:
                raise ConfigError(
                    str(self.path),
                    f"agents.{name}",
                    None,
                    "The runner has a handler for this agent type already.",
                    "Expected one handler for each.",
                    "Rename one of the two.",
                )
            runner.agent(
                name, timeout=agent.timeout, max_attempts=agent.max_attempts, concurrency=agent.concurrency
            )(agent.handler)


EXAMPLE: Final = 'Write [agents.reviewer] and below it command = ["./review.sh"].'


def read(path: Path) -> Config:
    """Read and check a whole file. Raises ConfigError."""
    top = _load(path)
    top.only(SECTIONS)
    return Config(
        path=path,
        database=_database(top),
        runner=_runner(top.table("runner")),
        retention=_retention(top.table("retention")),
        agents=_agents(top.table("agents")),
    )


def database_of(path: Path) -> str | None:
    """The database that a file names; nothing else in it is looked at. Raises ConfigError."""
    return _database(_load(path))


def _load(path: Path) -> Table:
    try:
        values = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        remedy = f"Make it, or name another one with --config. {EXAMPLE}"
        raise _wrong(path, "There is no such file.", "Expected a configuration file.", remedy) from None
    except OSError as error:
        problem = f"It cannot be read: {error.strerror}."
        raise _wrong(path, problem, "Expected a file.", "Look at its path and its permissions.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        remedy = "Correct that line; texts stand in double quotes, and tables begin with [name]."
        raise _wrong(path, f"It is not TOML: {error}.", "Expected TOML in UTF-8.", remedy) from None
    return Table(path, None, values)


def _wrong(path: Path, problem: str, expected: str, remedy: str) -> ConfigError:
    return ConfigError(str(path), None, None, problem, expected, remedy)


def _database(top: Table) -> str | None:
    found: str | None = top.get("database", text)
    if found is None or "://" in found:
        return found
    return str(top.path.absolute().parent / found)


def _runner(table: Table) -> dict[str, Any]:
    table.only(("concurrency", "lease", "grace"))
    checks = {
        "concurrency": whole(1, MOST),
        "lease": duration(LONGEST),
        "grace": duration(LONGEST, zero=True),
    }
    return {key: table.get(key, checks[key]) for key in table.names()}


def _retention(table: Table) -> Retention | None:
    table.only(("completed", "failed", "cancelled"))
    check = duration(LONGEST_RETENTION, zero=True)
    ages = {key: timedelta(seconds=table.get(key, check)) for key in table.names()}
    return Retention(**ages) if ages else None


def _agents(table: Table) -> dict[str, AgentConfig]:
    found = {}
    for name in table.names():
        agent = table.table(name)
        with agent.at(None):
            check(name, None, None, None)
        found[name] = _agent(agent)
    return found


def _agent(table: Table) -> AgentConfig:
    table.only((*CHECKS, "concurrency", "timeout", "max_attempts"))
    if "command" not in table.names():
        raise table.error(
            None, "It has no command.", "Expected the program and its arguments.",
            'Write command = ["./review.sh"].',
        )  # fmt: skip
    directory = table.path.absolute().parent

    def plain(key: str) -> Any:
        return table.get(key, lambda value: (CHECKS[key](value), value)[1])

    cwd = table.get("cwd", lambda value: _directory(directory, value), directory)
    command, env, output = plain("command"), plain("env"), plain("output") or "json"
    with table.at("command"):
        handler = CommandAgent(
            command,
            env=env,
            cwd=cwd,
            output=output,
            kill_after=table.get("kill_after", duration(LONGEST_KILL_AFTER, zero=True), KILL_AFTER),
        )
    return AgentConfig(
        handler=handler,
        timeout=table.get("timeout", duration(LONGEST_TIMEOUT)),
        max_attempts=table.get("max_attempts", whole(1, MOST)),
        concurrency=table.get("concurrency", whole(1, MOST)),
    )


def _directory(home: Path, value: Any) -> Path:
    path = home / text(value)
    CHECKS["cwd"](path)
    return path
