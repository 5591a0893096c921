"""Row storage for plugins: their schemas, filters and operations."""
