"""Downloads: private addresses in every spelling, and servers that lie, stall and change."""

import contextlib
import hashlib
import ipaddress
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from battery.private_addresses import HOSTS, TRICKS, Canary, canary
from battery.tally import LossError, Tally, Tier
from hostile_server import image
from hostile_server import serving as serving_hostile
from hostile_urls import BAD, GOOD, REFUSED, fetcher_for
from loopback import Loopback, Resource, serving
from runner import temporaries
from sharpeye.cli.app import run
from sharpeye.collect import url_downloads
from sharpeye.collect.datasets import list_datasets
from sharpeye.collect.sources import CollectCounts
from sharpeye.collect.url_downloads import ListedImage, collect_urls
from sharpeye.errors import SharpEyeError
from sharpeye.images.decode import decode
from sharpeye.web import addresses, download, http_client, image_fetcher
from sharpeye.web.addresses import anywhere, public_only
from sharpeye.web.download import locked_download
from sharpeye.web.fetch_error import FetchError
from sharpeye.web.image_fetcher import ImageFetcher, WebLimits
from tls_server import make_certificate, serving_tls

BODY = random.Random(0).randbytes(200_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
LIMITS = WebLimits(max_bytes=2**20, seconds=2.0, silence_seconds=1.0, slow_seconds=0.5)


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses to which a connection was attempted; only those of this machine are made."""
    attempts: list[str] = []
    connect = socket.socket.connect

    def record(self: socket.socket, address: Any) -> None:
        attempts.append(str(address[0]))
        if not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
            raise ConnectionRefusedError(111, "Connection refused")
        connect(self, address)

    def resolve(host: str, port: int, **options: Any) -> list[Any]:
        """Without a request to a name server."""
        flags = 0 if host.casefold().rstrip(".") == "localhost" else socket.AI_NUMERICHOST
        return getaddrinfo(host, port, flags=flags, **options)

    getaddrinfo = socket.getaddrinfo
    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "connect", record)
    return attempts


@contextlib.contextmanager
def failing(words: str = "") -> Iterator[None]:
    """Fail unless the block ends in a FetchError with these words in it."""
    try:
        yield
    except FetchError as error:
        assert words in error.reason, error.reason
    else:
        raise LossError("it was fetched")


def test_private_addresses(
    tally: Tally,
    tier: Tier,
    connected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Addresses of private networks, in every spelling, in a list of URLs and as redirects."""
    monkeypatch.setattr(url_downloads, "PAUSES_SECONDS", (0.0,))
    with canary() as listener, serving_hostile() as server:
        public = ImageFetcher(public_only, LIMITS)
        fetcher = fetcher_for(server)  # to which this one server is public
        urls = [f"http://{host}:{listener.port}/x.jpg" for host in HOSTS]
        urls += [form.format(listener.port) for form in TRICKS]
        urls += [form.format(bystander=listener.port) for form in REFUSED]
        step = 1 if tier.name != "small" else 3
        for number, url in enumerate(urls[::step]):
            with tally.case(f"directly {url!r}"):
                with failing():
                    target = http_client.redirect_target("http://a.example/", url)
                    public.get(target, robots=False)
                _check_unreached(listener, connected, server.port)
            with tally.case(f"by a redirect to {url!r}"):
                server.redirects[f"/to/{number}"] = url
                with failing():
                    fetcher.get(server.url(f"/to/{number}"))
                _check_unreached(listener, connected, server.port)
            if tier.name == "small":
                continue
            with tally.case(f"by a redirect of robots.txt to {url!r}"):
                server.redirects["/robots.txt"] = url
                with contextlib.suppress(FetchError):  # a relative one leads to no robots.txt
                    fetcher_for(server).get(server.url("/good/1"))
                del server.redirects["/robots.txt"]
                _check_unreached(listener, connected, server.port)
        listed = tmp_path / "list.txt"
        listed.write_text("\n".join(url.partition("\r")[0] for url in urls), encoding="utf-8")
        with tally.case("all of them in a list of the command line"):
            assert run(["collect", "urls", str(listed), str(tmp_path / "c"), "-q"]) in (3, 7)
            _check_unreached(listener, connected, server.port)


def _check_unreached(listener: Canary, connected: list[str], port: int) -> None:
    """Fail if a connection was attempted, but to the server or to a public address."""
    plain = [ipaddress.ip_address(each.partition("%")[0]) for each in connected]
    private = [str(each) for each in plain if public_only(each, port)]
    connected.clear()
    assert set(private) <= {"127.0.0.1"}, f"connections to {private}"
    if listener.connections:
        peers = [*listener.connections]
        listener.connections.clear()
        raise LossError(f"this machine was reached: {peers}")


def test_names_that_resolve_differently(
    tally: Tally, monkeypatch: pytest.MonkeyPatch, connected: list[str]
) -> None:
    """Names that resolve to private addresses, first, later, or among public ones."""
    public, private = "8.8.8.8", "127.0.0.1"
    scripts: dict[str, list[list[str]]] = {
        "private": [[private]],
        "public, then private": [[public], [private]],
        "private, then public": [[private], [public]],
        "both, the private one first": [[private, public], [private]],
        "both, the public one first": [[public, private], [private]],
        "in IPv6": [["::1"], ["::ffff:127.0.0.1"]],
        "of a cloud's metadata": [["169.254.169.254"], ["fd00:ec2::254"]],
        "in turn": [[public], [private]] * 10,
    }
    with canary() as listener:
        for name, script in scripts.items():
            left = [*script]

            def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
                found = left.pop(0) if len(left) > 1 else left[0]  # noqa: B023
                family = {4: socket.AF_INET, 6: socket.AF_INET6}
                return [
                    (
                        family[ipaddress.ip_address(each).version],
                        socket.SOCK_STREAM,
                        6,
                        "",
                        (each, port),
                    )
                    for each in found
                ]

            monkeypatch.setattr(addresses.socket, "getaddrinfo", getaddrinfo)
            fetcher = ImageFetcher(public_only, LIMITS)
            for attempt in range(len(script) + 1):
                with tally.case(f"{name}, attempt {attempt}"):
                    url = f"http://name.example:{listener.port}/x.jpg"
                    with failing():
                        fetcher.get(url, robots=attempt == 0)
                    assert set(connected) <= {public}, connected
                    connected.clear()
                    assert not listener.connections


def test_servers_of_images(
    tally: Tally, tier: Tier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers of images that stall, lie, never end, explode or send something else."""
    monkeypatch.setattr(url_downloads, "PAUSES_SECONDS", (0.02, 0.05))
    monkeypatch.setattr(image_fetcher, "ROBOTS_PAUSE_SECONDS", 0.02)
    waits = {"drip", "drip-headers", "hang", "endless"}  # they take the whole time limit
    count = tier.count(small=1, battery=2, full=20)
    bad = {kind: status for status, kinds in BAD.items() for kind in kinds if kind != "copy"}
    kinds = dict.fromkeys(GOOD, "added") | bad
    kinds = {k: v for k, v in kinds.items() if tier.name != "small" or k not in waits}
    with serving_hostile() as server:
        counts = CollectCounts()
        expected = {server.url(f"/{k}/{n}"): v for k, v in kinds.items() for n in range(count)}
        listed = [ListedImage(url) for url in expected]
        folder, start = tmp_path / "rose", time.monotonic()
        collect_urls(
            listed, folder, fetcher=fetcher_for(server), counts=counts, threads=24, per_host=24
        )
        seconds = time.monotonic() - start
    statuses = _statuses(folder)
    for url, status in expected.items():
        with tally.case(url.split("/", 3)[3]):
            assert statuses[url] == status
    with tally.case("nothing else is in the folder"):
        files = [file for file in folder.iterdir() if file.name != "sources.csv"]
        assert len(files) == sum(status == "added" for status in expected.values())
        for file in files:
            decode(file.read_bytes(), file.name)
    tally.figures["all"] = f"{seconds:.1f} s"


def _statuses(folder: Path) -> dict[str, str]:
    from sharpeye.core.tables import read_table

    return {row["source"]: row["status"] for row in read_table(folder / "sources.csv")}


# --- one file ------------------------------------------------------------------------------------

CHANGES: dict[str, dict[str, Any]] = {
    "it is whole": {},
    "no length": {"announces_length": False},
    "no ranges": {"ranges": False},
    "no ETag": {"etag": None},
    "a weak ETag": {"etag": 'W/"1"'},
    "a date for an ETag": {
        "etag": None,
        "headers": {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"},
    },
    "a length that is too small": {"headers": {"Content-Length": "1000"}},
    "a length that is too large": {"headers": {"Content-Length": "900000"}},
    "a length of 30 GB": {"headers": {"Content-Length": str(30 * 10**9)}},
    "a length below zero": {"headers": {"Content-Length": "-5"}},
    "a length that is no number": {"headers": {"Content-Length": "many"}},
    "gzip that nobody asked for": {"headers": {"Content-Encoding": "gzip"}},
    "a range that nobody asked for": {"headers": {"Content-Range": "bytes 5-9/10"}},
    "busy once": {"statuses": [503]},
    "broken for good": {"statuses": [500] * 9},
    "gone": {"statuses": [404]},
    "a partial response to the first request": {"statuses": [206] * 9},
    "a range that cannot be": {"statuses": [416] * 9},
    "a redirect to a file": {"statuses": [302], "location": "file:///etc/passwd"},
    "a redirect to itself": {"statuses": [302] * 30, "location": "/file"},
    "a redirect without a target": {"statuses": [302] * 9},
    "a redirect with a line break": {"statuses": [302] * 9, "location": "/file%0d%0aX: y"},
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSES_SECONDS", (0.0, 0.0))
    with serving() as loopback:
        yield loopback


def test_downloads_of_a_file(
    tally: Tally, tier: Tier, seed: int, server: Loopback, tmp_path: Path
) -> None:
    """Downloads that are cut, resumed, changed on the way, or of the wrong digest or length."""
    draw = np.random.default_rng(seed)
    slowest = 0.0
    step = 3 if tier.name == "small" else 1
    for number in range(tier.count(small=1, battery=8, full=100)):
        for name, changes in [*CHANGES.items()][::step]:
            for known in (SHA256, None):
                cuts = [int(draw.integers(0, len(BODY))) for _ in range(number % 4)]
                with tally.case(f"{name}, cuts {cuts}, {'digest' if known else 'no digest'}"):
                    options = {key: _copy(value) for key, value in changes.items()}
                    server.files["/file"] = Resource(BODY, cuts=cuts, **options)
                    start = time.monotonic()
                    _check_download(server, tmp_path / f"{number}", known, changes)
                    slowest = max(slowest, time.monotonic() - start)
        _try_changed_file(tally, server, tmp_path / f"changed{number}", draw)
    tally.figures["slowest"] = f"{slowest:.1f} s"


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, list | dict) else value


def _check_download(
    server: Loopback, folder: Path, sha256: str | None, changes: dict[str, Any]
) -> None:
    """The file is there as it should be, or an error is, with exit code 4 or 7, and no file."""
    file = folder / "file.bin"
    try:
        with locked_download(f"{server.root}/file", file, sha256, size=len(BODY)):
            pass
    except SharpEyeError as error:
        assert error.exit_code in (4, 7), error
        assert len(str(error).splitlines()) == 1
        assert not file.exists(), "an incomplete file has its final name"
        left = [each.suffix for each in temporaries(folder)]
        assert set(left) <= ({".part", ".json"} if error.exit_code == 7 else set()), left
        assert changes or sha256 is None, error
    else:
        if file.read_bytes() != BODY:
            raise LossError("the file is not what the server has")
        assert not temporaries(folder)
    for each in folder.iterdir():
        each.unlink()


def _try_changed_file(
    tally: Tally, server: Loopback, folder: Path, draw: np.random.Generator
) -> None:
    """Cut a download, change the file on the server, and download it again."""
    other = bytes(draw.integers(0, 256, len(BODY), np.uint8))
    for honours in (True, False):
        with tally.case(f"changed between two runs, If-Range {'heeded' if honours else 'ignored'}"):
            cut = int(draw.integers(1, len(BODY)))
            url = server.add("/file", BODY, etag='"1"', cuts=[cut, 0, 0])
            with contextlib.suppress(SharpEyeError), locked_download(url, folder / "file.bin"):
                pass
            server.files["/file"] = Resource(other, etag='"2"', honours_if_range=honours)
            with locked_download(url, folder / "file.bin") as file:
                if file.read_bytes() != other:
                    raise LossError("two versions of a file are mixed")
            file.unlink()


def test_downloads_by_command(tally: Tally, server: Loopback, tmp_path: Path) -> None:
    """`fetch` of what is no archive, of another digest, and from nobody; built-in digests."""
    url = server.add("/page.zip", b"<!DOCTYPE html>" + b" " * 3000)
    for name, arguments, code in (
        ("a web page for an archive", [url], 4),
        ("another digest", [url, "--sha256", "0" * 64], 4),
        ("a missing file", [f"{server.root}/none.zip"], 7),
        ("nobody listens", ["http://127.0.0.1:9/a.zip"], 7),
        ("a local file", ["file:///etc/passwd"], 2),
        ("a password", ["http://user:word@127.0.0.1/a.zip"], 2),
    ):
        with tally.case(name):
            target = tmp_path / "data"
            assert run(["fetch", arguments[0], str(target), *arguments[1:], "-q"]) == code
            assert not target.exists()
    for dataset in list_datasets():
        with tally.case(f"the digest of {dataset.name}"):
            assert all(len(file.sha256 or "") == 64 for file in dataset.files)


def test_encrypted_servers(tally: Tally, tmp_path: Path) -> None:
    """Certificates: good, of another host, expired, of an unknown issuer; plain text."""
    good = make_certificate(tmp_path / "good.pem")
    other = make_certificate(tmp_path / "other.pem", "other.example")
    expired = make_certificate(tmp_path / "expired.pem", days=-1)

    def get(port: int, trusted: Path | None, scheme: str = "https") -> bytes:
        fetcher = ImageFetcher(anywhere, LIMITS)
        if trusted:
            fetcher._client.tls.load_verify_locations(trusted)
        return fetcher.get(f"{scheme}://localhost:{port}/1.jpg", robots=False)

    for name, certificate, trusted, words in (
        ("another host", other, other, "certificate is not valid"),
        ("expired", expired, expired, "certificate has expired"),
        ("unknown issuer", good, None, "certificate is not valid"),
    ):
        with tally.case(name), serving_tls(certificate) as port, failing(words):
            get(port, trusted)
    with serving_tls(good) as port:
        with tally.case("good"):
            assert get(port, good) == image("/1.jpg")
        with tally.case("plain text to an encrypted port"), failing():
            get(port, None, "http")
    with tally.case("encryption to a plain port"), serving_hostile() as server, failing():
        get(server.port, None)
