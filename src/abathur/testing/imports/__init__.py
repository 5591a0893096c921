"""The static check: which test code imports what no test may import, found by its syntax alone."""

from abathur.testing.imports.check import Checked, check_files
from abathur.testing.imports.finding import Finding, Forbidden
from abathur.testing.imports.settings import Settings, read_settings

__all__ = ["Checked", "Finding", "Forbidden", "Settings", "check_files", "read_settings"]
