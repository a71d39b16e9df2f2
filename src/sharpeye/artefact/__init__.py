"""Write, open, verify and export `model.onnx`."""
