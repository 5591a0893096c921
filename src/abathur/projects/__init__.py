"""The project registry: which project a directory is, its store, and the index of its files."""
