"""Train, sweep, audit, export."""
