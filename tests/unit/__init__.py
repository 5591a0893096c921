"""Tests of one module each, without a database where possible."""
