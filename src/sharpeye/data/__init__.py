"""Scan and split images; compute features and pixels."""
