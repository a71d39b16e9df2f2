"""Export a run, and verify the result."""
