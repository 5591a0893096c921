"""The database service: a Database behind a NATS subject tree, for rows, keys, chat statistics and tasks.

Needs the extra `nats`::

    service = DatabaseService("nats://127.0.0.1:4222", "agents.db")
    await service.start()

docs/nats.md tells its subjects and messages.
"""

from __future__ import annotations

from abathur.errors import MissingExtraError

try:
    import nats as nats  # only to see whether it is there
except ModuleNotFoundError as error:
    if error.name != "nats":
        raise
    raise MissingExtraError("nats", "nats-py", "The database service") from None

from abathur.service.connection import Access
from abathur.service.limits import Limits
from abathur.service.service import DatabaseService

__all__ = ["Access", "DatabaseService", "Limits"]
