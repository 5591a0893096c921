"""`abathur serve`: answer for a database on a server, until it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

from abathur.cli.options import Settings, common
from abathur.cli.output import clean, note, write, write_json
from abathur.errors import InvalidInputError

if TYPE_CHECKING:
    from abathur.service import Access

DEFAULT: Final = "nats://127.0.0.1:4222"


def nats_url(url: str) -> str:
    """A server's URL of the command line, which everybody on this machine can read."""
    for one in url.split(","):
        if "@" in urlsplit(one if "://" in one else f"nats://{one}").netloc:
            raise InvalidInputError(
                "--nats has a user, a password or a token in its URL.",
                "Expected only where the server is: everybody on this machine can see a command's arguments.",
                "Put them into ABATHUR_NATS_USER and ABATHUR_NATS_PASSWORD, or ABATHUR_NATS_TOKEN, or use a "
                "file: --creds or --nkey.",
            )
    return url


def access(url: str, creds: Path | None = None, nkey: Path | None = None) -> Access:
    """Where the server is, and how to get in."""
    from abathur.service import Access

    return Access.of(nats_url(url), creds=creds, nkey=nkey)


@click.group(short_help="Answer for a database on a server, until it is stopped.")
@common
def serve() -> None:
    """Answer for a database on a server, until it is stopped."""


@serve.command(
    short_help="Answer requests for rows, keys, chat statistics and tasks over NATS.",
    epilog="""\b
Examples:
  abathur serve nats --database agents.db
  abathur serve nats --database agents.db --nats nats://127.0.0.1:4222 --prefix rosey
  abathur serve nats --nats tls://nats.example.org:4222 --creds service.creds

\b
Environment:
  ABATHUR_NATS_CREDS     a file of credentials, as --creds
  ABATHUR_NATS_NKEY      a file with the seed of an nkey, as --nkey
  ABATHUR_NATS_USER, ABATHUR_NATS_PASSWORD
  ABATHUR_NATS_TOKEN
""",
)
@click.option("--nats", "url", metavar="URL", default=DEFAULT, show_default=True, help="The NATS server.")
@click.option("--prefix", default="rosey", show_default=True, help="What all subjects begin with.")
@click.option(
    "--creds", type=click.Path(dir_okay=False, path_type=Path), help="A file of credentials, made by `nsc`."
)
@click.option(
    "--nkey", type=click.Path(dir_okay=False, path_type=Path), help="A file with the seed of an nkey."
)
@click.option("--no-tasks", is_flag=True, help="Neither enqueue tasks nor tell of their changes.")
@click.option("-v", "--verbose", is_flag=True, help="Log each request to standard error.")
@common
@click.pass_obj
def nats(
    settings: Settings,
    url: str,
    prefix: str,
    creds: Path | None,
    nkey: Path | None,
    no_tasks: bool,
    verbose: bool,
) -> None:
    """Answer requests for rows, keys, chat statistics and tasks over NATS, until it is stopped.

    Prints one line when it is ready. Ctrl-C or SIGTERM stops it: what was accepted is answered
    first. Several instances with one database and one prefix share the work.

    A server that is not on this machine must ask for credentials, which come from a file or from
    the environment, never from the command line.
    """
    import asyncio
    import logging

    from abathur.cli.serving_nats import serve_nats

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )

    def ready(line: str) -> None:
        if settings.json:
            write_json({"ready": True, "serving": line})
        else:
            write(clean(line))

    why = asyncio.run(
        serve_nats(settings, access(url, creds, nkey), prefix, ready, tasks=not no_tasks, echo=verbose)
    )
    note(f"Stopped: {why}.")
