"""Check a data set, and correct it."""
