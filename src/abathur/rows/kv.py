"""`store.kv`: values under keys of a plugin, with an end if one is given."""

from __future__ import annotations

from typing import Any

from abathur.engines.base import Engine


class Keys:
    """The keys of one plugin. No other plugin can reach them."""

    def __init__(self, engine: Engine, plugin: str) -> None:
        self._engine = engine
        self._plugin = plugin

    async def set(self, key: str, value: Any, ttl_seconds: float | None = None) -> dict[str, Any]:
        """Keep a JSON value of at most 65,536 bytes, for so many seconds or for ever. Returns ``{}``.

        Raises RowValidationError or ValueTooLargeError.
        """
        raise NotImplementedError

    async def get(self, key: str) -> dict[str, Any]:
        """Returns ``{"exists": True, "value": ...}`` or ``{"exists": False}``."""
        raise NotImplementedError

    async def delete(self, key: str) -> dict[str, Any]:
        """Returns ``{"deleted": bool}``."""
        raise NotImplementedError

    async def list(self, prefix: str = "", limit: int = 1_000) -> dict[str, Any]:
        """Returns ``{"keys", "count", "truncated"}``: the keys that begin with `prefix`, sorted."""
        raise NotImplementedError
