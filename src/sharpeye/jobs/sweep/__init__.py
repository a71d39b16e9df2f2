"""Train with many settings, and rank them."""
