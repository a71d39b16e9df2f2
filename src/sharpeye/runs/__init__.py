"""The run directory and event files."""
