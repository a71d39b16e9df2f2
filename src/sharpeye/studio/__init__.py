"""Pages to collect, label and train."""
