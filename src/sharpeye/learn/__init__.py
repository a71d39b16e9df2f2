"""Fit heads and networks to arrays."""
