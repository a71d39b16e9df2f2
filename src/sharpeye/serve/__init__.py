"""The HTTP server: three protocols."""
