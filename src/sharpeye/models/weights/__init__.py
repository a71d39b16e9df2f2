"""Read and download weights files."""
