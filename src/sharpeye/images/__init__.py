"""Decode, resize and augment images; boxes; Pascal VOC."""
