"""Every behaviour, on every engine."""
