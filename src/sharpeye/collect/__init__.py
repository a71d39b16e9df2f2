"""Images from web, videos, archives."""
