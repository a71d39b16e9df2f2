"""The paths of `hostile_server` by what becomes of their images, and addresses to refuse."""

from hostile_server import HostileServer
from sharpeye.web.addresses import Address, public_only
from sharpeye.web.image_fetcher import ImageFetcher, WebLimits

LIMITS = WebLimits(
    max_bytes=2**20, seconds=2.0, silence_seconds=1.5, slow_seconds=0.5, min_bytes_per_second=1000
)

GOOD = {
    "good": 300,
    "fails-once": 15,
    "busy-once": 2,
    "slow": 10,
    "cut-once": 5,
    "unsaid": 5,
    "chunked": 5,
    "gzip": 5,
    "moved": 10,
    "noai-others": 3,
    "reset-once": 5,
}
BAD = {
    "failed": {
        "404": 20,
        "410": 2,
        "500": 3,
        "busy-long": 2,
        "drip": 2,
        "drip-headers": 2,
        "hang": 2,
        "cut": 3,
        "huge": 2,
        "endless": 2,
        "gzip-bomb": 2,
        "gzip-cut": 2,
        "gzip-lie": 2,
        "reset": 3,
        "garbage": 2,
        "headers": 2,
        "self": 2,
        "nowhere": 2,
        "chain": 1,
    },
    "rejected": {"html": 10, "text": 3, "empty": 3, "pixels": 2, "cut-unsaid": 1},
    "refused": {"disallowed": 10, "noai": 5, "noimageai": 5},
    "duplicate": {"copy": 20},
}
# URLs that are not requested, neither from a list nor after a redirect.
REFUSED = (
    "http://10.0.0.1/a.jpg",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]/a.jpg",
    "http://[::ffff:127.0.0.1]/a.jpg",
    "http://0.0.0.0/a.jpg",
    "http://2130706433/a.jpg",
    "http://0177.0.0.1/a.jpg",
    "http://0x7f.1/a.jpg",
    "http://127.0.0.1:{bystander}/a.jpg",
    "http://localhost:{bystander}/a.jpg",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{bystander}/a.jpg",
    "data:image/png;base64,AAAA",
    "http://user:secret@127.0.0.1:{bystander}/a.jpg",
    "gopher://127.0.0.1:{bystander}/_",
)


def fetcher_for(*servers: HostileServer) -> ImageFetcher:
    """A fetcher that reaches public addresses, and these servers."""
    ports = {server.port for server in servers}

    def check(address: Address, port: int) -> str:
        return "" if str(address) == "127.0.0.1" and port in ports else public_only(address, port)

    return ImageFetcher(check, LIMITS)
