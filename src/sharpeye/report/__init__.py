"""Evaluation, tables, charts and pages."""
