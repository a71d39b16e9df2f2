"""NumPy, Pillow and ONNX Runtime."""
