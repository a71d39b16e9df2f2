"""Types, configuration, storage, metrics."""
