"""Crash points: a handler is stopped everywhere in turn, as in a killed process, and its work resumed."""
