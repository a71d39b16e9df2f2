"""Serve a model over HTTP by three protocols."""
