"""Support the flags and files of TensorFlow-for-Poets."""
