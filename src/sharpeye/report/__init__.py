"""Evaluate predictions; make tables, charts and pages."""
