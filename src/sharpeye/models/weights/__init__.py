"""Weights files and their download."""
