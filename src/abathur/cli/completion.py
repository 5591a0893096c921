"""`abathur completion`: the script that teaches a shell to complete abathur's command lines."""

from __future__ import annotations

import click

from abathur.cli.options import Settings, json_only
from abathur.cli.output import write, write_json

VARIABLE = "_ABATHUR_COMPLETE"
"""By which the shell asks abathur for completions; click derives it from the program's name."""


@click.command(
    short_help="Print the completion script of a shell.",
    epilog="""\b
Examples:
  eval "$(abathur completion bash)"
  eval "$(abathur completion zsh)"
  abathur completion fish | source

\b
For every new shell, put that line into ~/.bashrc, into ~/.zshrc below the
line with compinit, or into ~/.config/fish/config.fish.
""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_only
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, statuses, files, ids and agent types.

    Ids and agent types come from the database that the command line, $ABATHUR_DATABASE or the
    current directory names; the newest ids come first. Needs bash 4.4 or newer, zsh, or fish.
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None, shell  # noqa: S101  # click brings all three
    script = made(ctx.find_root().command, {}, "abathur", VARIABLE).source().strip()
    settings = ctx.ensure_object(Settings)
    if settings.json:
        write_json({"shell": shell, "script": script})
    else:
        write(script)
