"""Export a run, and prove the result equal."""
