"""Define architectures, load weights, and convert Keras models to ONNX."""
