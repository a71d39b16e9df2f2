"""Predict with NumPy, Pillow and ONNX Runtime alone."""
