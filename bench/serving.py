"""A server as a process of its own, to measure."""

import contextlib
import http.client
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Server:
    """Where it listens."""

    host: str
    port: int

    def connect(self) -> http.client.HTTPConnection:
        """A connection that stays open between requests."""
        return http.client.HTTPConnection(self.host, self.port, timeout=60)


@contextlib.contextmanager
def serving(model: Path, cache: Path) -> Iterator[Server]:
    """Run `sharpeye serve` on a free port until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sharpeye", "serve", str(model), "--port", "0"],
        env=os.environ | {"SHARPEYE_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        message = process.stdout.readline() if process.stdout else ""
        result = re.search(r"http://([\d.]+):(\d+)", message)
        if not result:
            raise SystemExit(f"the server did not start: {message}")
        yield Server(result[1], int(result[2]))
    finally:
        process.terminate()
        process.wait(30)
