"""Decode, resize, view; boxes; Pascal VOC."""
