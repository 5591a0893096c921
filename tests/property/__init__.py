"""Behaviour compared with models, over generated histories."""
