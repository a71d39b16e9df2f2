"""Collect images from the web, videos and archives."""
