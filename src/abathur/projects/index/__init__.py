"""The index of a project: its text files in chunks, in the project's own store, for full-text search."""
