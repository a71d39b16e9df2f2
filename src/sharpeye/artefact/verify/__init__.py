"""Verify a graph before a runtime opens it."""
