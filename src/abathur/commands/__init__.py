"""Command agents: an agent that is a program, started for each attempt of a task."""

from __future__ import annotations

from abathur.commands.agent import CommandAgent

__all__ = ["CommandAgent"]
