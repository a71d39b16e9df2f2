"""Translate a model to other formats."""
