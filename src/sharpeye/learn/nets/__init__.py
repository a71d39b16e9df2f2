"""Networks, by gradient descent."""
