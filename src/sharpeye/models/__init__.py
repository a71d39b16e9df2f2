"""Architectures, weights, Keras to ONNX."""
