"""Fit heads on frozen features by solvers."""
