"""One image from the web, asked for with manners and taken with distrust.

Every hop of a redirect is checked as the first address is: http or https, an address that may be
connected to, allowed by the site's robots.txt. What comes is counted as it comes. Proxies are not
used: behind one, nobody here could tell where a request goes.
"""

import contextlib
import http.client
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit, urlunsplit

from sharpeye.core.version import __version__
from sharpeye.web.addresses import CONNECT_SECONDS, OutOfReach, Reach, connect, public_only
from sharpeye.web.connection import seconds_of
from sharpeye.web.deadline import Lease, NoAnswer
from sharpeye.web.robots import MAX_BYTES as ROBOTS_BYTES
from sharpeye.web.robots import RobotsRules, parse_robots, unwanted_tag
from sharpeye.web.urls import next_hop, origin_of, require_hop

_AGENT = f"Mozilla/5.0 (compatible; sharpeye/{__version__})"
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (408, 425, 429)  # and 5xx: another attempt may do
_PACKED = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # zlib's window bits
_CHUNK = 1 << 16
ROBOTS_PAUSE_SECONDS = 1.0  # after robots.txt could not be read; then three times as long, ...


@dataclass(frozen=True, slots=True)
class WebLimits:
    """What one request may cost."""

    bytes: int = 32 * 2**20  # unpacked; as many threads as there are hold one in memory each
    seconds: float = 60.0  # from the first packet to the last
    silence_seconds: float = 20.0  # in which nothing comes
    slow_seconds: float = 10.0  # after which it must have brought ...
    bytes_a_second: int = 1000  # ... so much on average
    redirects: int = 10
    robots_tries: int = 4  # after which a site whose robots.txt cannot be read is given up


@dataclass
class _Site:
    """What is known of one scheme, host and port.

    Attributes:
        rules: of its robots.txt, once that was read.
        error: why it could not be read the last time.
        failures: how often that was so.
        failed_at: when, by the monotonic clock.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    rules: RobotsRules | None = None
    error: NoAnswer | None = None
    failures: int = 0
    failed_at: float = 0.0

    def fail(self, error: NoAnswer, most: int) -> None:
        self.error, self.failed_at = error, time.monotonic()
        self.failures = self.failures + 1 if error.again else most

    def failure(self, most: int) -> NoAnswer | None:
        """What all are told who want something of the site."""
        error = self.error
        if error is None or error.refused:
            return error and NoAnswer(error.reason, refused=True)
        return NoAnswer(
            f"the site's robots.txt cannot be read: {error.reason}",
            again=self.failures < most,
            # For the whole site: else each of its URLs would use up a try at once.
            pause=max(error.pause, ROBOTS_PAUSE_SECONDS * 3 ** (self.failures - 1)),
            reached=error.reached,
        )


class ImageFetcher:
    """Gets what URLs lead to; used by several threads.

    Args:
        reach: which addresses may be connected to.
        limits: of each request.
    """

    def __init__(self, reach: Reach = public_only, limits: WebLimits | None = None) -> None:
        self._reach, self._limits = reach, limits or WebLimits()
        self._tls = ssl.create_default_context()
        self._sites: dict[str, _Site] = {}
        self._leases: set[Lease] = set()
        self._lock = threading.Lock()
        self._closed = False

    def get(self, url: str, *, robots: bool = True) -> bytes:
        """The body of the answer, redirects followed.

        Args:
            url: as `tidy_url` gives it.
            robots: heed robots.txt and X-Robots-Tag.

        Raises:
            NoAnswer: it did not come, or may not be taken.
        """
        seen: set[str] = set()
        while True:
            require_hop(url, seen, self._limits.redirects)
            seen.add(url)
            if robots and not self._rules(url).allow(url):
                raise NoAnswer("the site's robots.txt asks not to take it", refused=True)
            with self._asked(url) as answer:
                if answer.status in _REDIRECTS:
                    url = next_hop(url, answer.headers.get("Location", ""))
                    continue
                _require_good(answer)
                wish = unwanted_tag(answer.headers.get_all("X-Robots-Tag") or ())
                if robots and wish:
                    raise NoAnswer(f"the site asks for {wish} (X-Robots-Tag)", refused=True)
                return self._body(answer, self._limits.bytes)

    def delay_of(self, url: str) -> float:
        """Seconds that the site of a URL wants between two requests, if that is known yet."""
        site = self._sites.get(origin_of(url))
        return site.rules.delay_seconds if site and site.rules else 0.0

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Break off every request; none begins any more."""
        with self._lock:
            self._closed = True
            leases = [*self._leases]
        for lease in leases:
            lease.cut()

    # --- robots.txt ---

    def _rules(self, url: str) -> RobotsRules:
        origin, begin = origin_of(url), time.monotonic()
        with self._lock:
            site = self._sites.setdefault(origin, _Site())
        most = self._limits.robots_tries
        with site.lock:
            # Who waited here while another thread failed fails with it.
            tired = site.failures >= most or site.failed_at >= begin
            if site.rules is None and not tired:
                try:
                    site.rules = self._robots(f"{origin}/robots.txt")
                except NoAnswer as error:
                    site.fail(error, most)
            failure = None if site.rules else site.failure(most)
            if failure or site.rules is None:
                raise failure or NoAnswer("the site's robots.txt cannot be read")
            return site.rules

    def _robots(self, url: str) -> RobotsRules:
        seen: set[str] = set()
        while True:
            require_hop(url, seen, 5)  # hops, by RFC 9309
            seen.add(url)
            with self._asked(url) as answer:
                if answer.status in _REDIRECTS:
                    url = next_hop(url, answer.headers.get("Location", ""))
                    continue
                if 400 <= answer.status < 500 and answer.status not in _PASSING:
                    return RobotsRules()  # there is none
                _require_good(answer)
                return parse_robots(self._body(answer, ROBOTS_BYTES, cut=True))

    # --- one request ---

    @contextlib.contextmanager
    def _asked(self, url: str) -> Iterator[http.client.HTTPResponse]:
        """The answer to a request, whatever its status; its body is read within the block."""
        with self._lease() as lease:
            try:
                connection = self._connection(urlsplit(url), lease)
                parts = urlsplit(url)
                path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
                headers = {"User-Agent": _AGENT, "Accept": "image/*,*/*;q=0.5"}
                connection.request("GET", path, headers=headers | {"Connection": "close"})
                with connection.getresponse() as answer:
                    yield answer
            except OutOfReach as error:
                reason = f"no request is made there: {error}; --allow-private lets it be"
                raise NoAnswer(reason, refused=True) from None
            except NoAnswer:
                raise
            except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
                raise lease.explain(error) from None

    def _connection(self, parts: SplitResult, lease: Lease) -> http.client.HTTPConnection:
        host, seconds = parts.hostname or "", self._limits.silence_seconds
        encrypted = parts.scheme == "https"
        port = parts.port or (443 if encrypted else 80)
        opened = lease.hold(connect(host, port, self._reach))
        opened.settimeout(min(seconds, CONNECT_SECONDS))
        connection: http.client.HTTPConnection
        if encrypted:
            wrapped = self._tls.wrap_socket(
                opened, server_hostname=host, do_handshake_on_connect=False
            )
            opened = lease.hold(wrapped)
            wrapped.do_handshake()
            connection = http.client.HTTPSConnection(host, port, context=self._tls)
        else:
            connection = http.client.HTTPConnection(host, port)
        opened.settimeout(seconds)
        connection.sock = opened  # so it connects nowhere by itself
        lease.connected = True
        return connection

    @contextlib.contextmanager
    def _lease(self) -> Iterator[Lease]:
        lease = Lease(self._limits.seconds)
        with self._lock:
            if self._closed:
                raise NoAnswer("it was broken off", again=True, reached=False)
            self._leases.add(lease)
        try:
            with lease:
                yield lease
        finally:
            with self._lock:
                self._leases.discard(lease)

    def _body(self, answer: http.client.HTTPResponse, limit: int, *, cut: bool = False) -> bytes:
        """The whole body, unpacked. With `cut`, what is over the limit is left, not refused."""
        announced = answer.length
        if announced is not None and announced > limit and not cut:
            raise _too_large(limit)
        packing = answer.headers.get("Content-Encoding", "identity").strip().casefold()
        window = _PACKED.get(packing)
        unpack = zlib.decompressobj(window) if window else None
        body, begin, come = bytearray(), time.monotonic(), 0
        while chunk := answer.read1(_CHUNK):
            come += len(chunk)
            # No more than one byte too many is ever unpacked.
            body += unpack.decompress(chunk, limit + 1 - len(body)) if unpack else chunk
            if len(body) > limit or come > limit:
                if cut:
                    return bytes(body[:limit])
                raise _too_large(limit)
            seconds = time.monotonic() - begin
            if seconds > self._limits.slow_seconds and come < self._limits.bytes_a_second * seconds:
                raise NoAnswer(f"it is too slow: {come:,} bytes in {seconds:.0f} s", again=True)
        # A length of 0 is left when all came, and None when nobody said how much would.
        if answer.length:
            reason = f"the connection closed after {come:,} of {announced:,} bytes"
            raise NoAnswer(reason, again=True)
        if unpack and not unpack.eof:
            raise NoAnswer("the connection closed before all of it had come", again=True)
        return bytes(body)


def _require_good(answer: http.client.HTTPResponse) -> None:
    status = answer.status
    if status == 200:
        return
    words = http.client.responses.get(status, "")
    reason = f"the server answers {status} {words}".rstrip()
    if status >= 500 or status in _PASSING:
        pause = seconds_of(answer.headers.get("Retry-After", "")) if status in (429, 503) else 0.0
        raise NoAnswer(reason, again=True, pause=pause)
    raise NoAnswer(reason)


def _too_large(limit: int) -> NoAnswer:
    return NoAnswer(f"it has more than {limit / 2**20:,.0f} MiB")
