"""Ids: UUIDv7 text, so that ids sort by the time at which they were made."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid_utils import uuid7


def new_id() -> str:
    """A new id. Its first 48 bits are the time in milliseconds."""
    return str(uuid7())
