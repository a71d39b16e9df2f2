"""TensorFlow-for-Poets' flags and files."""
