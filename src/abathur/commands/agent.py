"""CommandAgent: a program and how it is run, checked before any task is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from abathur.commands.given import OURS
from abathur.commands.process import Command, run
from abathur.context import Context
from abathur.errors import InvalidInputError
from abathur.tasks.new import seconds

KILL_AFTER: Final = 5.0
LONGEST_KILL_AFTER: Final = 300.0
OUTPUTS: Final = ("json", "text")


class CommandAgent:
    """A handler that starts a program for each attempt: `runner.agent("reviewer")(CommandAgent([...]))`.

    command: the program and its arguments; no shell is involved. env: variables that are added to
    this process's. cwd: the directory in which it is started, else this process's. output: ``json``,
    or ``text`` to take what it prints as it is. kill_after: seconds between SIGTERM and SIGKILL when
    it is to end early.

    Raises InvalidInputError, also when there is no such program.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        output: str = "json",
        kill_after: float = KILL_AFTER,
    ) -> None:
        given = {"command": command, "env": env, "cwd": cwd, "output": output, "kill_after": kill_after}
        for name, check in CHECKS.items():
            check(given[name])
        directory = Path.cwd() if cwd is None else Path(cwd).absolute()
        find_program(command[0], directory, env or {})
        self.command = Command(
            tuple(command), dict(env or {}), str(directory), output == "text", float(kill_after)
        )

    async def __call__(self, ctx: Context) -> Any:
        """Run one attempt; the result of the task is returned."""
        return await run(self.command, ctx)

    def __repr__(self) -> str:
        return f"CommandAgent({list(self.command.argv)!r})"


def _check_command(command: Any) -> None:
    if isinstance(command, (str, bytes)) or not isinstance(command, Sequence):
        words = command.split() if isinstance(command, str) and command.strip() else ["./agent.sh", "--fast"]
        listed = ", ".join(f'"{word}"' for word in words)
        kind = "one text" if isinstance(command, str) else f"a {type(command).__name__}"
        raise InvalidInputError(
            f"command is {kind}.",
            "Expected a list: the program, then one entry for each argument.",
            f'Write command = [{listed}], or ["sh", "-c", "..."] if a shell is to read it.',
        )
    if not command or not all(isinstance(word, str) and "\0" not in word for word in command):
        raise InvalidInputError(
            "command is empty." if not command else f"command={list(command)!r} holds what is no text.",
            "Expected the program and its arguments, each a text without NUL.",
            'Write numbers as text, too: command = ["./agent.sh", "3"].',
        )
    if not command[0].strip():
        raise InvalidInputError(
            "command begins with an empty text.", "Expected a program.", 'Write command = ["./agent.sh"].'
        )


def _check_env(env: Any) -> None:
    if env is None:
        return
    if not isinstance(env, Mapping):
        raise InvalidInputError(
            f"env is a {type(env).__name__}.",
            "Expected names with texts.",
            'Write env = { MODEL = "small" }.',
        )
    for name, value in env.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise InvalidInputError(
                f"env has the name {name!r}.",
                "Expected the name of an environment variable.",
                "Use letters, digits and underscores.",
            )
        if name in OURS:
            raise InvalidInputError(
                f"env sets {name}, which abathur itself sets for each attempt.",
                f"Expected none of {', '.join(OURS)}.",
                "Give it another name.",
            )
        if not isinstance(value, str) or "\0" in value:
            raise InvalidInputError(
                f"env has {name} = {value!r}.",
                "Expected a text without NUL.",
                f'Write {name} = "{value}", in quotes.' if isinstance(value, (int, float)) else "Write text.",
            )


def _check_cwd(cwd: Any) -> None:
    if cwd is None:
        return
    if not isinstance(cwd, (str, os.PathLike)) or not os.fspath(cwd):
        raise InvalidInputError(
            f"cwd={cwd!r} is no path.", "Expected a directory.", "Leave it out for the default."
        )
    if not Path(cwd).is_dir():
        raise InvalidInputError(
            f"There is no directory {Path(cwd).absolute()} for cwd.",
            "Expected one.",
            "Make it, or correct cwd.",
        )


def _check_output(output: Any) -> None:
    if output not in OUTPUTS:
        raise InvalidInputError(
            f"output={output!r} is unknown.", "Expected 'json' or 'text'.", "Leave it out for 'json'."
        )


def _check_kill_after(kill_after: Any) -> None:
    seconds("kill_after", kill_after, LONGEST_KILL_AFTER, zero=True)


CHECKS: Final[Mapping[str, Callable[[Any], None]]] = {
    "command": _check_command,
    "env": _check_env,
    "cwd": _check_cwd,
    "output": _check_output,
    "kill_after": _check_kill_after,
}
"""By parameter, so that a configuration file can name the key that is wrong."""


def find_program(name: str, directory: Path, env: Mapping[str, str]) -> None:
    """Refuse a program that cannot be started from `directory`. Raises InvalidInputError."""
    if os.sep not in name:
        if shutil.which(name, path=env.get("PATH")) is None:
            is_near = Path(directory, name).is_file()
            raise InvalidInputError(
                f"There is no program {name!r} on the PATH.",
                "Expected one that is installed, or a path.",
                f'Write "./{name}" for the file in {directory}.'
                if is_near
                else "Install it, or give its path.",
            )
        return
    path = Path(directory, name)
    if not path.is_file():
        raise InvalidInputError(
            f"There is no file {path}.",
            "Expected a program; its path is seen from the agent's cwd.",
            "Correct the path in command, or cwd.",
        )
    if not os.access(path, os.X_OK):
        raise InvalidInputError(
            f"{path} is not executable.",
            "Expected a program.",
            f'Run `chmod +x {name}`, or name its interpreter first, such as "sh".',
        )
