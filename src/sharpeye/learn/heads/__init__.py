"""Heads on frozen features, by solvers."""
