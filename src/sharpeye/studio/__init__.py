"""Web pages to collect, label and train."""
