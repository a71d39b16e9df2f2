"""model.onnx: write, open, verify and export it."""
