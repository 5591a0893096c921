"""`python -m abathur`, for where the command `abathur` is not on the path."""

from __future__ import annotations

from abathur.cli import main

main(prog_name="abathur")
