"""Where the application keeps its data. Like many, it has one place, and every import leads to it."""

from __future__ import annotations

import os
from pathlib import Path

DATABASE = Path(os.environ.get("DANCERS_DATABASE") or Path(__file__).parent.parent / "dancers.db")
