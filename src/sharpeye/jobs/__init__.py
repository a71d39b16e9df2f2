"""Train, sweep, audit and export."""
