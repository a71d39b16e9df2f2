"""Train a model, from a folder to a run directory."""
