"""One script a row of the table in docs/performance.md; `python -m bench` runs them all."""
