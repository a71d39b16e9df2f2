"""Train networks by gradient descent."""
