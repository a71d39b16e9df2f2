"""HTTP: addresses, robots.txt, downloads."""
