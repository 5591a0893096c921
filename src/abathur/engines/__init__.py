"""Engines: each runs the same scripts on one kind of database."""
