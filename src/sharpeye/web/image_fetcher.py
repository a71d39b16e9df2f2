"""Fetch images from the web under robots.txt, address checks, and limits of size and time.

Every URL of a chain of redirects is checked like the first one: http or https, an allowed address,
permission by the site's robots.txt. Bytes are counted as they arrive. Proxies are not used, as a
proxy would choose the address of a request.
"""

import threading
import time
import zlib
from dataclasses import dataclass, field, replace

from sharpeye.core.version import __version__
from sharpeye.web.addresses import CONNECT_SECONDS, AddressCheck, public_only
from sharpeye.web.fetch_error import FetchError
from sharpeye.web.http_client import HttpClient, Response, body_chunks, body_length, status_error
from sharpeye.web.robots import MAX_BYTES as MAX_ROBOTS_BYTES
from sharpeye.web.robots import RobotsRules, unwanted_tag
from sharpeye.web.urls import origin_of

_HEADERS = {
    "User-Agent": f"Mozilla/5.0 (compatible; sharpeye/{__version__})",
    "Accept": "image/*,*/*;q=0.5",
}
_ZLIB_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # some servers use these unrequested
_MAX_ROBOTS_REDIRECTS = 5  # by RFC 9309
ROBOTS_PAUSE_SECONDS = 1.0  # after robots.txt could not be read; then three times as long, ...


@dataclass(frozen=True, slots=True)
class WebLimits:
    """Limits on the cost of one request."""

    max_bytes: int = 32 * 2**20  # decompressed; each thread holds so many in memory
    seconds: float = 60.0  # from resolving the name to the last byte
    silence_seconds: float = 20.0  # without any data
    slow_seconds: float = 10.0  # period of a speed measurement
    min_bytes_per_second: int = 1000
    max_redirects: int = 10
    max_robots_tries: int = 4  # failures to read robots.txt before its site is given up


class ImageFetcher:
    """Fetches the content of URLs; used by several threads.

    Raises:
        MissingExtra: httpx or Protego is not installed.
    """

    def __init__(self, check: AddressCheck = public_only, limits: WebLimits | None = None) -> None:
        self._limits = limits or WebLimits()
        self._client = HttpClient(
            check,
            headers=_HEADERS,
            connect_seconds=min(self._limits.silence_seconds, CONNECT_SECONDS),
            silence_seconds=self._limits.silence_seconds,
            total_seconds=self._limits.seconds,
        )
        self._no_rules = RobotsRules()
        self._sites: dict[str, _SiteRobots] = {}
        self._lock = threading.Lock()

    def get(self, url: str, *, robots: bool = True) -> bytes:
        """The body of the response to a URL of `tidy_url`, redirects followed.

        Raises:
            FetchError: the fetch failed; or, with `robots`, its site forbids it.
        """

        def require_allowed(url: str) -> None:
            if robots and not self._rules_for(url).allow(url):
                raise FetchError("the site's robots.txt asks not to take it", refused=True)

        with self._client.get(
            url, max_redirects=self._limits.max_redirects, before_request=require_allowed
        ) as response:
            if response.status_code != 200:
                raise status_error(response)
            tag = unwanted_tag(response.headers.get_list("X-Robots-Tag"))
            if robots and tag:
                raise FetchError(f"the site asks for {tag} (X-Robots-Tag)", refused=True)
            return self._read_body(response, self._limits.max_bytes)

    def delay_of(self, url: str) -> float:
        """Seconds that the site of a URL requires between two requests; 0 if unknown so far."""
        site = self._sites.get(origin_of(url))
        return site.rules.delay_seconds if site and site.rules else 0.0

    @property
    def closed(self) -> bool:
        return self._client.closed

    def close(self) -> None:
        """Break off every request; none begins any more."""
        self._client.close()

    def _rules_for(self, url: str) -> RobotsRules:
        origin, begin = origin_of(url), time.monotonic()
        max_failures = self._limits.max_robots_tries
        with self._lock:
            site = self._sites.setdefault(origin, _SiteRobots())
        with site.lock:
            if site.rules is not None:
                return site.rules
            # A thread that waited for another thread's failed attempt fails, too.
            if site.error and (site.failures >= max_failures or site.failed_at >= begin):
                raise replace(site.error)
            try:
                site.rules = self._fetch_rules(f"{origin}/robots.txt")
            except FetchError as error:
                site.failed_at = time.monotonic()
                site.failures = site.failures + 1 if error.retryable else max_failures
                site.error = _site_error(error, site.failures, max_failures)
                raise replace(site.error) from None
            return site.rules

    def _fetch_rules(self, url: str) -> RobotsRules:
        with self._client.get(url, max_redirects=_MAX_ROBOTS_REDIRECTS) as response:
            if response.status_code != 200:
                error = status_error(response)
                if response.is_client_error and not error.retryable:
                    return self._no_rules  # there is no robots.txt
                raise error
            return RobotsRules(self._read_body(response, MAX_ROBOTS_BYTES, truncate=True))

    def _read_body(self, response: Response, limit: int, *, truncate: bool = False) -> bytes:
        """The decompressed body; excess bytes are an error, or are dropped with `truncate`."""
        too_large = FetchError(f"it has more than {limit / 2**20:,.0f} MiB")
        length = body_length(response)
        if length is not None and length > limit and not truncate:
            raise too_large
        window = _ZLIB_WINDOWS.get(response.headers.get("Content-Encoding", "").strip().casefold())
        unpacker = zlib.decompressobj(window) if window else None
        body, received = bytearray(), 0
        slow_seconds = self._limits.slow_seconds
        slow_bytes = self._limits.min_bytes_per_second * slow_seconds
        for chunk in body_chunks(response, slow_seconds, slow_bytes):
            received += len(chunk)
            try:  # at most one excess byte is decompressed
                body += unpacker.decompress(chunk, limit + 1 - len(body)) if unpacker else chunk
            except zlib.error as error:
                raise FetchError(f"it cannot be unpacked: {error}", retryable=True) from None
            if len(body) > limit or received > limit:
                if truncate:
                    return bytes(body[:limit])
                raise too_large
        if length and received < length:
            reason = f"the connection closed after {received:,} of {length:,} bytes"
            raise FetchError(reason, retryable=True)
        if unpacker and not unpacker.eof:
            raise FetchError("the connection closed before all of it had come", retryable=True)
        return bytes(body)


@dataclass
class _SiteRobots:
    """The robots.txt of one scheme, host and port, or the last error in reading it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    rules: RobotsRules | None = None
    error: FetchError | None = None
    failures: int = 0
    failed_at: float = 0.0  # by the monotonic clock


def _site_error(error: FetchError, failures: int, max_failures: int) -> FetchError:
    """The error for each URL of a site whose robots.txt could not be read."""
    if error.refused:
        return FetchError(error.reason, refused=True)
    return FetchError(
        f"the site's robots.txt cannot be read: {error.reason}",
        retryable=failures < max_failures,
        # One error for the whole site: otherwise each of its URLs would use an attempt at once.
        retry_after=max(error.retry_after, ROBOTS_PAUSE_SECONDS * 3 ** (failures - 1)),
        reached=error.reached,
    )
