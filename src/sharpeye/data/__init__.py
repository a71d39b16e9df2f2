"""Scan, split; features and pixels."""
