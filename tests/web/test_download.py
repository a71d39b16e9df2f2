"""Downloads over a real connection: whole, broken, resumed, changed, refused."""

import hashlib
import random
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

import loopback as loopback_module
from loopback import Loopback, Request, Resource, serving
from sharpeye.core import storage
from sharpeye.errors import BusyError, EnvironmentFault, ModelError, NetworkError, UsageError
from sharpeye.web import download as module
from sharpeye.web.addresses import Address, public_redirect
from sharpeye.web.download import locked_download
from sharpeye.web.fetch_error import FetchError
from sharpeye.web.urls import redirect_target

BODY = random.Random(0).randbytes(600_000)
OTHER = random.Random(1).randbytes(600_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
CUT = 250_000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "PAUSES_SECONDS", (0.0, 0.0))
    with serving() as loopback:
        yield loopback


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "file.bin"


def download(url: str, file: Path, sha256: str | None = None, **options: Any) -> Path:
    with locked_download(url, file, sha256, **options) as downloaded:
        return downloaded


def names(file: Path) -> list[str]:
    """The names in the file's folder, hidden ones too."""
    return sorted(entry.name for entry in file.parent.iterdir())


def part_of(file: Path) -> Path:
    (part,) = file.parent.glob(f"{storage.TEMPORARY_PREFIX}*.part")
    return part


def interrupted_download(server: Loopback, file: Path, **options: Any) -> str:
    """Download CUT bytes of a file; returns its URL."""
    url = server.add("/file", BODY, cuts=[CUT, 0, 0], **options)
    with pytest.raises(NetworkError):
        download(url, file)
    server.requests.clear()
    return url


# --- success -------------------------------------------------------------------------------------


def test_a_file_comes_whole_and_nothing_else_is_left(server: Loopback, file: Path) -> None:
    url = server.add("/file", BODY)
    assert download(url, file, SHA256.upper(), size=len(BODY)) == file
    assert file.read_bytes() == BODY
    assert names(file) == ["file.bin"]
    headers = server.requests[0].headers
    assert headers.pop("User-Agent").startswith("sharpeye/")
    assert headers.pop("Host") in url
    assert headers == {"Accept-Encoding": "identity", "Connection": "close"}


def test_progress_is_in_megabytes(server: Loopback, file: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    url = server.add("/file", BODY * 5, cuts=[len(BODY) * 3])
    download(url, file, progress=lambda *report: reports.append(report))
    assert reports == sorted(reports)
    assert (reports[0], reports[-1]) == (("download, MB", 0, 3), ("download, MB", 3, 3))


def test_a_file_with_the_right_digest_is_not_requested_again(server: Loopback, file: Path) -> None:
    url = server.add("/file", BODY)
    for _ in range(2):
        download(url, file, SHA256)
    assert len(server.requests) == 1
    file.write_bytes(OTHER)
    download(url, file, SHA256)
    assert file.read_bytes() == BODY
    assert names(file) == ["file.bin"]


def test_without_a_length_the_file_ends_with_the_connection(server: Loopback, file: Path) -> None:
    url = server.add("/file", BODY, announces_length=False)
    assert download(url, file).read_bytes() == BODY


def test_a_cut_without_a_length_is_seen_by_the_size_that_is_known(
    server: Loopback, file: Path
) -> None:
    url = server.add("/file", BODY, announces_length=False, cuts=[CUT])
    assert download(url, file, size=len(BODY)).read_bytes() == BODY
    assert server.sent == [CUT, len(BODY) - CUT]


def test_an_empty_file_is_a_file(server: Loopback, file: Path) -> None:
    assert download(server.add("/file", b""), file).read_bytes() == b""


def test_redirects_are_followed(server: Loopback, file: Path) -> None:
    server.add("/file", BODY)
    url = server.add("/here", b"", statuses=[302, 302], location="/file")
    assert download(url, file).read_bytes() == BODY
    assert [request.path for request in server.requests] == ["/here", "/file"]


def test_the_proxy_of_the_environment_is_used(
    server: Loopback, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://host.example:81/file?x=1"
    server.files[url] = Resource(BODY, cuts=[CUT])  # a proxy gets URLs as a whole
    monkeypatch.setenv("http_proxy", server.root.replace("//", "//user:word@"))
    assert download(url, file).read_bytes() == BODY
    assert server.sent == [CUT, len(BODY) - CUT]
    assert server.requests[0].headers["Host"] == "host.example:81"
    assert server.requests[0].headers["Proxy-Authorization"] == "Basic dXNlcjp3b3Jk"
    monkeypatch.setenv("no_proxy", "host.example,127.0.0.1")
    with pytest.raises(NetworkError, match=r"host\.example"):
        download(url, file)
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", "bogus://127.0.0.1:1")
    with pytest.raises(NetworkError, match="cannot be requested: Unknown scheme for proxy"):
        download(url, file)


# --- interruptions -------------------------------------------------------------------------------


def test_a_cut_connection_is_resumed_where_it_broke(server: Loopback, file: Path) -> None:
    url = server.add("/file", BODY, cuts=[CUT])
    assert download(url, file, SHA256).read_bytes() == BODY
    assert server.statuses == [200, 206]
    assert server.sent == [CUT, len(BODY) - CUT]
    assert server.requests[1].headers["If-Range"] == '"1"'


def test_a_later_run_resumes_and_the_error_says_where(server: Loopback, file: Path) -> None:
    url = server.add("/file", BODY, cuts=[CUT, 100_000, 0])
    with pytest.raises(NetworkError) as caught:
        download(url, file)
    assert str(caught.value) == (
        f"cannot download {url}: the connection closed after 350,000 of 600,000 bytes; "
        "run the same command again: it goes on at 0.3 MB"
    )
    assert not file.exists()
    assert part_of(file).read_bytes() == BODY[:350_000]
    server.requests.clear()
    assert download(url, file).read_bytes() == BODY
    assert (server.statuses, server.sent) == ([206], [250_000])
    assert names(file) == ["file.bin"]


@pytest.mark.parametrize("statuses", [[500], [503, 502], [429], [408]])
def test_a_server_out_of_order_is_tried_again(
    statuses: list[int], server: Loopback, file: Path
) -> None:
    url = server.add("/file", BODY, statuses=list(statuses))
    assert download(url, file).read_bytes() == BODY
    assert server.statuses == [*statuses, 200]


def test_a_stalled_body_is_resumed(
    server: Loopback, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    url = server.add("/file", BODY, stalls=[CUT])
    assert download(url, file).read_bytes() == BODY
    assert server.requests[1].sent == len(BODY) - CUT


class SlowWriter:
    """Writes a response's headers and the start of its body at once, the rest in small pieces."""

    closed = False

    def __init__(self, handler: BaseHTTPRequestHandler, start: int, size: int) -> None:
        self._file, self._start, self._size = handler.wfile, start, size

    def write(self, data: bytes) -> None:
        if data.startswith(b"HTTP/"):
            self._file.write(data)
            return
        self._file.write(data[: self._start])
        for start in range(self._start, len(data), self._size):
            time.sleep(0.01)
            self._file.write(data[start : start + self._size])

    def flush(self) -> None:
        self._file.flush()


def test_a_server_that_sends_next_to_nothing_is_given_up(
    server: Loopback, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However quick it was before, and though no single wait is long."""
    respond = loopback_module._respond

    def slowly(handler: BaseHTTPRequestHandler, loopback: Loopback, request: Request) -> None:
        monkeypatch.setattr(handler, "wfile", SlowWriter(handler, 100_000, 20), raising=False)
        respond(handler, loopback, request)

    url = server.add("/file", BODY)
    with monkeypatch.context() as patch:
        patch.setattr(loopback_module, "_respond", slowly)
        patch.setattr(module, "SLOW_SECONDS", 0.1)
        patch.setattr(module, "SLOW_BYTES", 2000)
        before = time.monotonic()
        with pytest.raises(NetworkError, match=r"too slow: \d+ bytes in 0 s; run the same"):
            download(url, file)
        assert time.monotonic() - before < 5
    received = part_of(file).stat().st_size
    assert 300_000 <= received < 310_000  # of three attempts
    assert server.statuses == [200, 206, 206]
    server.requests.clear()
    assert download(url, file).read_bytes() == BODY
    assert server.sent == [len(BODY) - received]


def test_a_server_that_is_quick_enough_is_not_given_up(
    server: Loopback, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLOW_SECONDS", 1e-6)
    monkeypatch.setattr(module, "SLOW_BYTES", 0)
    assert download(server.add("/file", BODY), file).read_bytes() == BODY
    assert server.statuses == [200]


def send_retry_after(monkeypatch: pytest.MonkeyPatch, retry_after: str) -> list[float]:
    """Let the server name a pause in its refusals; returns the pauses that the download makes."""
    respond = loopback_module._respond

    def with_retry_after(
        handler: BaseHTTPRequestHandler, loopback: Loopback, request: Request
    ) -> None:
        send = handler.send_response

        def send_response(status: int, message: str | None = None) -> None:
            send(status, message)
            if status in (429, 503):
                handler.send_header("Retry-After", retry_after)

        monkeypatch.setattr(handler, "send_response", send_response)
        respond(handler, loopback, request)

    pauses: list[float] = []
    monkeypatch.setattr(loopback_module, "_respond", with_retry_after)
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    return pauses


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_the_server_names_is_respected(
    status: int, server: Loopback, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = send_retry_after(monkeypatch, "45")
    url = server.add("/file", BODY, statuses=[status], cuts=[CUT])
    assert download(url, file).read_bytes() == BODY
    assert pauses == [45.0, 0.0]  # the second one is not the server's
    assert server.statuses == [status, 200, 206]


def test_a_pause_may_be_a_date(
    server: Loopback, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    pauses = send_retry_after(monkeypatch, date)
    download(server.add("/file", BODY, statuses=[503]), file)
    assert 20 < pauses[0] <= 40


@pytest.mark.parametrize(
    "retry_after",
    [
        "",
        "-5",
        "soon",
        "1e3",
        "Mon, 01 Jan 2024 00:00:00 GMT",
        "Mon, 01 Jan 2024 00:00:00 +9999999",
    ],
)
def test_an_invalid_pause_is_ignored(
    retry_after: str, server: Loopback, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = send_retry_after(monkeypatch, retry_after)
    download(server.add("/file", BODY, statuses=[503]), file)
    assert pauses == [0.0]


@pytest.mark.parametrize("retry_after", ["61", "9" * 400])
def test_a_pause_that_is_too_long_is_left_to_the_user(
    retry_after: str, server: Loopback, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = interrupted_download(server, file)
    pauses = send_retry_after(monkeypatch, retry_after)
    server.files["/file"].statuses = [429]
    server.files["/file"].cuts = []
    with pytest.raises(NetworkError, match="and wants to be asked again in") as caught:
        download(url, file)
    assert str(caught.value).endswith("run the same command again then: it goes on at 0.2 MB")
    assert (server.statuses, pauses) == ([429], [])
    assert download(url, file).read_bytes() == BODY
    assert server.statuses == [429, 206]


def test_a_refusal_of_the_server_is_final(server: Loopback, file: Path) -> None:
    with pytest.raises(NetworkError, match=r"/gone: the server answers 404 Not Found; check the"):
        download(f"{server.root}/gone", file)
    url = server.add("/none", b"", statuses=[204])
    with pytest.raises(NetworkError, match="the server answers 204 No Content; check the address"):
        download(url, file)
    assert server.statuses == [404, 204]
    assert names(file) == []


def test_nobody_listens(file: Path, server: Loopback) -> None:
    with serving() as other:
        url = f"{other.root}/file"
    with pytest.raises(NetworkError, match="refused; check the address and the network, then run"):
        download(url, file)


# --- changes on the server ----------------------------------------------------------------------


def test_a_server_without_ranges_sends_all_of_it(server: Loopback, file: Path) -> None:
    url = server.add("/file", BODY, ranges=False, cuts=[CUT])
    assert download(url, file).read_bytes() == BODY
    assert (server.statuses, server.sent) == ([200, 200], [CUT, len(BODY)])


@pytest.mark.parametrize("honours", [True, False])
def test_a_changed_file_starts_again(honours: bool, server: Loopback, file: Path) -> None:
    """Also from a server that sends the rest of the new version after the start of the old one."""
    url = interrupted_download(server, file)
    server.add("/file", OTHER, etag='"2"', honours_if_range=honours)
    assert download(url, file).read_bytes() == OTHER
    assert server.statuses == ([200] if honours else [206, 200])


def test_a_file_that_became_shorter_starts_again(server: Loopback, file: Path) -> None:
    url = interrupted_download(server, file)
    server.add("/file", BODY[:1000], honours_if_range=False)
    assert download(url, file).read_bytes() == BODY[:1000]
    assert server.statuses == [416, 200]


def test_last_modified_is_used_where_the_etag_is_weak(server: Loopback, file: Path) -> None:
    date = {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    url = interrupted_download(server, file, etag='W/"1"', headers=date)
    assert download(url, file).read_bytes() == BODY
    assert server.requests[0].headers["If-Range"] == date["Last-Modified"]
    assert server.statuses == [206]


def test_without_a_version_only_a_digest_makes_resuming_safe(server: Loopback, file: Path) -> None:
    url = interrupted_download(server, file, etag=None)
    assert download(url, file).read_bytes() == BODY
    assert server.statuses == [200]
    url = server.add("/file", BODY, etag=None, cuts=[CUT])
    server.requests.clear()
    assert download(url, file.with_name("checked"), SHA256).read_bytes() == BODY
    assert server.statuses == [200, 206]


def test_a_damaged_note_starts_again(server: Loopback, file: Path) -> None:
    url = interrupted_download(server, file)
    (note,) = file.parent.glob("*.json")
    note.write_text('{"validator": ')
    assert download(url, file).read_bytes() == BODY
    assert server.statuses == [200]


def test_a_part_that_was_whole_needs_no_server(server: Loopback, file: Path) -> None:
    url = interrupted_download(server, file)
    with part_of(file).open("ab") as part:
        part.write(BODY[CUT:])
    assert download(url, file, SHA256).read_bytes() == BODY
    assert server.requests == []


# --- refusals ------------------------------------------------------------------------------------


def test_a_wrong_digest_deletes_the_bytes(server: Loopback, file: Path) -> None:
    url = server.add("/file", OTHER)
    with pytest.raises(
        ModelError, match=rf"{url} gives is refused: its SHA-256 is \w+, not {SHA256}"
    ):
        download(url, file, SHA256)
    assert names(file) == []
    assert len(server.requests) == 1


def test_bytes_spoiled_by_a_power_cut_are_fetched_anew(server: Loopback, file: Path) -> None:
    url = interrupted_download(server, file)
    part_of(file).write_bytes(bytes(CUT))
    assert download(url, file, SHA256).read_bytes() == BODY
    assert server.statuses == [206, 200]


@pytest.mark.parametrize("length", [True, False])
def test_too_long_a_body_is_refused(
    length: bool, server: Loopback, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.add("/file", BODY, announces_length=length)
    with pytest.raises(ModelError, match="599,999"):
        download(url, file, size=len(BODY) - 1)
    monkeypatch.setattr(module, "MAX_BYTES", 500_000)
    with pytest.raises(ModelError, match="more than 500,000"):
        download(url, file)
    assert names(file) == []


def test_too_short_a_body_is_refused(server: Loopback, file: Path) -> None:
    url = server.add("/file", BODY)
    with pytest.raises(ModelError, match="it has 600,000 bytes, not 600,001"):
        download(url, file, size=len(BODY) + 1)
    url = server.add("/file", BODY, announces_length=False)
    with pytest.raises(NetworkError, match="closed after 600,000 of 600,001 bytes"):
        download(url, file, size=len(BODY) + 1)


def test_a_wrong_length_is_found_by_the_digest_and_an_invalid_one_at_once(
    server: Loopback, file: Path
) -> None:
    url = server.add("/file", BODY, headers={"Content-Length": "1000"})
    with pytest.raises(ModelError, match="SHA-256"):
        download(url, file, SHA256)
    server.add("/file", BODY, headers={"Content-Length": "nonsense"})
    with pytest.raises(NetworkError, match="bad Content-Length"):  # as RFC 9112, 6.3, demands
        download(url, file, SHA256)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/file",
        "data:,x",
        "http:///path",
        "https://user:word@host/file",
        "http://host:port/",
        "http://host/a b",
        "http://host/\r\nX: y",
        "http://[host/",
        "http://bücher.example/",
        "pictures.zip",
    ],
)
def test_only_urls_of_plain_http_are_accepted(url: str, file: Path) -> None:
    with pytest.raises(UsageError, match="a URL must be http://HOST/PATH or https"):
        download(url, file)
    assert not file.parent.exists()


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_redirects_to_other_schemes_are_refused(
    location: str, server: Loopback, file: Path
) -> None:
    url = server.add("/here", b"", statuses=[302], location=location)
    with pytest.raises(NetworkError, match=rf"/here: .*{location}"):
        download(url, file)
    assert names(file) == []


def test_a_server_of_the_internet_does_not_lead_into_a_private_network(
    server: Loopback, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that was typed may be private, and then its redirects, too."""
    target = server.add("/secret", BODY)
    with serving() as internet:
        url = internet.add("/file", b"", statuses=[302] * 2, location=target)
        assert download(url, file).read_bytes() == BODY
        server.requests.clear()

        def check(address: Address, port: int) -> str:
            return "" if internet.root.endswith(f":{port}") else public_redirect(address, port)

        monkeypatch.setattr(module, "public_redirect", check)
        reason = r"127\.0\.0\.1 is this machine, and a server of the internet leads there"
        with pytest.raises(NetworkError, match=reason):
            download(url, file)
        assert server.requests == []


def test_redirects_do_not_leave_encryption_nor_go_in_circles(server: Loopback, file: Path) -> None:
    assert redirect_target("https://host/file", "https://other/") == "https://other/"
    with pytest.raises(FetchError, match="it leads to http://host/file, away from https"):
        redirect_target("https://host/file", "http://host/file")
    url = server.add("/here", b"", statuses=[302] * 50, location="/here")
    with pytest.raises(NetworkError, match="/here: its redirects go in a circle; check the"):
        download(url, file)
    assert server.statuses == [302]


def test_a_redirect_that_is_no_address_is_an_error(server: Loopback, file: Path) -> None:
    url = server.add("/bad", b"", statuses=[302] * 9, location="http://[bad")
    with pytest.raises(NetworkError, match=r"/bad: it leads to http://\[bad, which is no plain"):
        download(url, file)


# --- this machine --------------------------------------------------------------------------------


def test_a_full_disk_is_seen_before_anything_comes(
    server: Loopback, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.add("/file", BODY)
    full = shutil._ntuple_diskusage(10**6, 10**6, 1000)  # type: ignore[attr-defined]
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: full)
    with pytest.raises(EnvironmentFault, match=r"0\.6 MB are to come and 0\.0 MB are free; free"):
        download(url, file)
    assert not list(file.parent.glob("*.part"))


def test_a_path_that_cannot_be_written_is_named(server: Loopback, file: Path) -> None:
    file.parent.write_text("a file")
    with pytest.raises(EnvironmentFault, match=r"folder: .*a file is where a folder should be"):
        download(server.add("/file", BODY), file)
    file.parent.unlink()
    file.mkdir(parents=True)
    with pytest.raises(EnvironmentFault, match=r"file\.bin: .*a folder where a file should be"):
        download(server.add("/file", BODY), file)


def test_two_downloads_do_not_write_the_same_bytes(server: Loopback, file: Path) -> None:
    url = server.add("/file", BODY)
    with locked_download(url, file) as first:
        with pytest.raises(BusyError, match="another process downloads"):
            download(url, file)
        assert first.read_bytes() == BODY
    assert download(url, file) == file
    assert names(file) == ["file.bin"]
