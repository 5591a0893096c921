"""Keeps a process away from every database that is no test's, by an audit hook and an authorizer.

It needs nothing but the standard library: a child process loads this directory by its path, as
`abathur_guard`, and may have no abathur, nor anything else, to import.
"""

from __future__ import annotations

from .hook import CANARY, CanaryError, Guard, install, installed
from .refusals import Refusal
from .settings import VARIABLE, Settings

__all__ = ["CANARY", "VARIABLE", "CanaryError", "Guard", "Refusal", "Settings", "install", "installed"]
