"""The command line: `abathur`, or `python -m abathur`.

The commands import the library when they run, so that `abathur --help` answers at once.
"""

from __future__ import annotations

from abathur.cli.app import main

__all__ = ["main"]
