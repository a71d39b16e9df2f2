"""Access the web: addresses, robots.txt, downloads."""
