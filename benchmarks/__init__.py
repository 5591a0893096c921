"""Reproducible comparisons, each printing its method: `python -m benchmarks --list`."""
