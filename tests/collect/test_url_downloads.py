"""Collecting from a list of URLs: everything that a web server can do to it, over real sockets."""

import csv
import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import hostile_server as hostile_module
from hostile_server import FORMATS, Hostile, image, serving
from sharpeye.collect import url_downloads as module
from sharpeye.collect.ingest import SUFFIXES
from sharpeye.collect.sources import CollectCounts
from sharpeye.collect.url_downloads import collect_urls
from sharpeye.collect.url_list import ListedImage, read_list
from sharpeye.errors import DataError, EnvironmentFault, UsageError
from sharpeye.images.decode import decode
from sharpeye.images.formats import sniff
from sharpeye.web import image_fetcher as web_module
from sharpeye.web.addresses import Address, public_only
from sharpeye.web.fetch_error import FetchError
from sharpeye.web.image_fetcher import ImageFetcher, WebLimits
from sharpeye.web.urls import tidy_url

LIMITS = WebLimits(
    bytes=2**20, seconds=3.0, silence_seconds=1.5, slow_seconds=0.5, bytes_a_second=1000
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    monkeypatch.setattr(module, "PAUSES_SECONDS", (0.02, 0.1))
    monkeypatch.setattr(web_module, "ROBOTS_PAUSE_SECONDS", 0.02)
    with serving() as hostile:
        yield hostile


def only(*servers: Hostile) -> ImageFetcher:
    """Public addresses, and these servers."""
    ports = {server.port for server in servers}

    def reach(address: Address, port: int) -> str:
        return "" if str(address) == "127.0.0.1" and port in ports else public_only(address, port)

    return ImageFetcher(reach, LIMITS)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "sources.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def images_in(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "sources.csv"}


def collect(server: Hostile, folder: Path, *paths: str, **options: int) -> CollectCounts:
    tally = CollectCounts()
    wanted = [ListedImage(server.url(path) if path.startswith("/") else path) for path in paths]
    collect_urls(wanted, folder, fetcher=only(server), counts=tally, **options)  # type: ignore[arg-type]
    return tally


# --- the battery ---------------------------------------------------------------------------------

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
# Where a redirect may not lead, and what must not be asked for at all.
FORBIDDEN = (
    "http://10.0.0.1/a.jpg",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]/a.jpg",
    "http://[::ffff:127.0.0.1]/a.jpg",
    "http://0.0.0.0/a.jpg",
    "http://2130706433/a.jpg",
    "http://0177.0.0.1/a.jpg",
    "http://0x7f.1/a.jpg",
    "http://127.0.0.1:{canary}/a.jpg",
    "http://localhost:{canary}/a.jpg",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{canary}/a.jpg",
    "data:image/png;base64,AAAA",
    "http://user:secret@127.0.0.1:{canary}/a.jpg",
    "gopher://127.0.0.1:{canary}/_",
)


def test_of_500_urls_all_good_images_arrive_once_and_nothing_else(
    server: Hostile, tmp_path: Path
) -> None:
    folder = tmp_path / "photos" / "rose"
    expected: dict[str, str] = {}
    for kind, count in GOOD.items():
        expected |= {server.url(f"/{kind}/{n}.jpg"): "added" for n in range(count)}
    for status, kinds in BAD.items():
        for kind, count in kinds.items():
            expected |= {server.url(f"/{kind}/{n}.jpg"): status for n in range(count)}
    expected[server.url("/chain/0")] = "failed"
    del expected[server.url("/chain/0.jpg")]
    server.elsewhere |= {"/loop/a": "/loop/b", "/loop/b": "/loop/a"}
    expected |= {server.url("/loop/a"): "failed", server.url("/x.secret"): "refused"}
    server.elsewhere |= {"/to-disallowed": "/disallowed/1.jpg"}
    expected[server.url("/to-disallowed")] = "refused"
    with serving() as canary:
        for number, form in enumerate(FORBIDDEN):
            target = form.format(canary=canary.port)
            server.elsewhere[f"/to/{number}"] = target
            expected[server.url(f"/to/{number}")] = "refused"
            expected[target.replace("user:secret@", "***@")] = "refused"
        wanted = [
            ListedImage(url.replace("***@", "user:secret@"), "CC0") for url in sorted(expected)
        ]
        assert len(wanted) >= 500
        tally, web = CollectCounts(), only(server)
        collect_urls(wanted, folder, fetcher=web, counts=tally, threads=24, per_host=24)
        assert canary.hits == {}

    rows = rows_of(folder)
    statuses = {row["source"]: row["status"] for row in rows}
    for n in range(BAD["duplicate"]["copy"]):  # which of two comes first is nobody's business
        pair = [server.url(f"/copy/{n}.jpg"), server.url(f"/good/{n}.jpg")]
        assert sorted(statuses[url] for url in pair) == ["added", "duplicate"]
        statuses |= {url: expected[url] for url in pair}
    assert statuses == expected
    assert len(rows) == len(expected)
    assert tally.counts == Counter(expected.values())
    assert tally.before == 0

    contents = [
        image(f"/{kind}/{n}.jpg")
        for kind, count in GOOD.items()
        if kind != "moved"
        for n in range(count)
    ]
    contents += [image(f"/good/moved-{n}.jpg") for n in range(GOOD["moved"])]
    found = images_in(folder)
    assert sorted(found.values()) == sorted(contents)
    for name, data in found.items():
        kind = sniff(data[:32])
        assert kind
        assert name == hashlib.sha256(data).hexdigest()[:16] + SUFFIXES[kind]
        decode(data, name)
    assert {sniff(data[:32]) for data in found.values()} == set(FORMATS)

    for row in rows:
        assert bool(row["path"]) == (row["status"] == "added")
        assert bool(row["reason"]) == (row["status"] != "added")
        assert bool(row["sha256"]) == (row["status"] in ("added", "duplicate", "rejected"))
        assert row["licence"] == "CC0"
        if row["path"]:
            digest = hashlib.sha256((folder / row["path"]).read_bytes()).hexdigest()
            assert row["sha256"] == digest
    text = (folder / "sources.csv").read_text(encoding="utf-8")
    assert "secret@" not in text
    assert "user:" not in text
    assert not [path for path in server.hits if path.startswith("/disallowed")]
    assert server.hits["/robots.txt"] == 1
    assert server.hits["/500/0.jpg"] == 3  # one try and two more
    assert server.hits["/404/0.jpg"] == server.hits["/busy-long/0.jpg"] == 1
    assert all("sharpeye/" in agent for agent in server.agents)
    reasons = {row["source"]: row["reason"] for row in rows}
    for path, said in {
        "/404/0.jpg": "the server answers 404 Not Found",
        "/busy-long/0.jpg": "Too Many Requests, and wants to be asked again in 3,600 s",
        "/html/0.jpg": "a saved web page",
        "/empty/0.jpg": "the file is empty",
        "/huge/0.jpg": "more than 1 MiB",
        "/endless/0.jpg": "more than 1 MiB",
        "/gzip-bomb/0.jpg": "more than 1 MiB",
        "/drip/0.jpg": "too slow",
        "/drip-headers/0.jpg": "it took more than 3 s",
        "/cut/0.jpg": "the connection closed after 100 of",
        "/self/0.jpg": "in a circle",
        "/loop/a": "in a circle",
        "/chain/0": "more than 10 redirects",
        "/disallowed/0.jpg": "robots.txt",
        "/noai/0.jpg": "asks for noai",
        "/to/1": "169.254.169.254 is a link-local address",
        "/to/10": "it leads to file:///etc/passwd",
    }.items():
        assert said in reasons[server.url(path)], path

    # --- once more: only what did not arrive is asked for again
    server.hits.clear()
    again = CollectCounts()
    collect_urls(
        [w for w in wanted if "/hang/" not in w.url and "/drip" not in w.url],
        folder, fetcher=only(server), counts=again, threads=24, per_host=24,
    )  # fmt: skip
    arrived = sum(status in ("added", "duplicate") for status in expected.values())
    assert again.before == arrived
    assert again.counts["added"] == again.counts["duplicate"] == 0
    assert not [path for path in server.hits if path.split("/")[1] in {*GOOD, "copy"}]
    assert images_in(folder) == found


# --- one at a time -------------------------------------------------------------------------------


def test_a_deleted_image_does_not_come_back(server: Hostile, tmp_path: Path) -> None:
    collect(server, tmp_path / "c", "/good/1", "/good/2")
    (row, _) = rows_of(tmp_path / "c")
    (tmp_path / "c" / row["path"]).unlink()
    tally = collect(server, tmp_path / "c", "/good/1", "/good/2", "/good/3")
    assert (tally.before, tally.counts) == (2, {"added": 1})


def test_no_more_than_asked_for_come(server: Hostile, tmp_path: Path) -> None:
    tally = collect(server, tmp_path / "c", *[f"/good/{n}" for n in range(60)], max_images=7)
    assert tally.counts["added"] == 7
    assert len(images_in(tmp_path / "c")) == 7


def test_a_host_is_asked_by_few_at_once(server: Hostile, tmp_path: Path) -> None:
    web, now, most, lock = only(server), Counter[str](), Counter[str](), threading.Lock()
    plain = web.get

    def get(url: str, *, robots: bool = True) -> bytes:
        host = url.split("/")[2].split(":")[0]
        with lock:
            now[host] += 1
            most[host] = max(most[host], now[host])
        try:
            return plain(url, robots=robots)
        finally:
            with lock:
                now[host] -= 1

    web.get = get  # type: ignore[method-assign]
    hosts = ("127.0.0.1", "localhost")
    wanted = [ListedImage(server.url(f"/slow/{n}", host)) for host in hosts for n in range(8)]
    tally = CollectCounts()
    collect_urls(wanted, tmp_path / "c", fetcher=web, counts=tally, threads=12, per_host=3)
    assert most == {"127.0.0.1": 3, "localhost": 3}
    assert tally.counts == {"added": 8, "duplicate": 8}


def test_crawl_delay_is_kept(server: Hostile, tmp_path: Path) -> None:
    server.robots = lambda: (200, b"User-agent: sharpeye\nCrawl-delay: 0.3\n")
    begin = time.monotonic()
    collect(server, tmp_path / "c", "/good/1", "/good/2", "/good/3", "/good/4", per_host=1)
    assert time.monotonic() - begin > 0.6
    assert len(images_in(tmp_path / "c")) == 4


@pytest.mark.parametrize("status", [404, 403, 401])
def test_a_site_without_robots_txt_allows_all(status: int, server: Hostile, tmp_path: Path) -> None:
    server.robots = lambda: (status, b"User-agent: *\nDisallow: /\n")
    assert collect(server, tmp_path / "c", "/good/1").counts == {"added": 1}


def test_a_site_whose_robots_txt_cannot_be_read_is_not_asked(
    server: Hostile, tmp_path: Path
) -> None:
    server.robots = lambda: (500, b"")
    tally = collect(server, tmp_path / "c", *[f"/good/{n}" for n in range(20)])
    assert tally.counts == {"failed": 20}
    assert "robots.txt cannot be read: the server answers 500" in tally.examples[0][1]
    assert set(server.hits) == {"/robots.txt"}
    assert server.hits["/robots.txt"] <= 4  # for all of them
    assert tally.unreached == 0


def test_a_site_whose_robots_txt_comes_late_is_asked_then(server: Hostile, tmp_path: Path) -> None:
    answers = [(503, b""), (500, b""), (200, b"")]
    server.robots = lambda: answers.pop(0)
    tally = collect(server, tmp_path / "c", *[f"/good/{n}" for n in range(20)])
    assert tally.counts == {"added": 20}
    assert answers == []


def test_who_cannot_be_reached_is_counted(server: Hostile, tmp_path: Path) -> None:
    with serving() as gone:
        pass
    tally = CollectCounts()
    wanted = [ListedImage(gone.url("/good/1")), ListedImage("http://nobody.invalid/1.jpg")]
    collect_urls(wanted, tmp_path / "c", fetcher=only(server, gone), counts=tally)
    assert (tally.tries, tally.unreached) == (2, 2)
    assert {row["status"] for row in rows_of(tmp_path / "c")} == {"failed"}


def test_a_full_disk_ends_it_at_once(
    server: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise EnvironmentFault("no room")

    monkeypatch.setattr("sharpeye.collect.ingest.storage.write_bytes", full)
    with pytest.raises(EnvironmentFault, match="no room"):
        collect(server, tmp_path / "c", *[f"/good/{n}" for n in range(40)])
    assert sum(server.hits.values()) < 40


def test_an_interruption_breaks_off_what_hangs_and_keeps_what_came(
    server: Hostile, tmp_path: Path
) -> None:
    web = only(server)
    web._limits = WebLimits(seconds=60, silence_seconds=60)
    tally, folder = CollectCounts(), tmp_path / "c"

    def told(stage: str, done: int, total: int) -> None:
        if done >= 5:
            raise KeyboardInterrupt

    wanted = [ListedImage(server.url(f"/hang/{n}")) for n in range(3)]
    wanted += [ListedImage(server.url(f"/good/{n}")) for n in range(5)]
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        collect_urls(wanted, folder, fetcher=web, counts=tally, per_host=8, progress=told)
    assert time.monotonic() - begin < 5
    assert len(images_in(folder)) == len(rows_of(folder)) == 5
    assert not [t for t in threading.enumerate() if "_work" in t.name and t.is_alive()]
    with pytest.raises(FetchError, match="broken off"):
        web.get(server.url("/good/9"))


# --- lists and addresses -------------------------------------------------------------------------


def test_a_list_may_have_comments_licences_and_odd_lines(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text(
        "\ufeff# roses\nhttp://a/1.jpg\n\n  http://a/2.jpg \tCC BY 4.0\r\nhttp://a/1.jpg\tCC0\n"
        "not a url\nhttp://a/3 4.jpg\t\n",
        encoding="utf-8",
    )
    assert read_list(file, "mine") == [
        ListedImage("http://a/1.jpg", "mine"),
        ListedImage("http://a/2.jpg", "CC BY 4.0"),
        ListedImage("not a url", "mine"),
        ListedImage("http://a/3 4.jpg", "mine"),
    ]
    for content in (b"", b"# nothing\n", b"photos/rose\n"):
        file.write_bytes(content)
        with pytest.raises(DataError, match="no URL in"):
            read_list(file)
    file.write_bytes(b"http://a/\xff\xfe\n")
    with pytest.raises(DataError, match="no text in UTF-8"):
        read_list(file)
    with pytest.raises(UsageError, match="No such file"):
        read_list(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://a.example/x y.jpg", "http://a.example/x%20y.jpg"),
        ("http://a.example/ü.jpg?q=ä b#part", "http://a.example/%C3%BC.jpg?q=%C3%A4%20b"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("https://a.example/%20.jpg?a=1&b=%2F", "https://a.example/%20.jpg?a=1&b=%2F"),
        ("  http://a.example:8080/x  ", "http://a.example:8080/x"),
    ],
)
def test_addresses_are_escaped_as_a_browser_does(text: str, url: str) -> None:
    assert tidy_url(text) == url
    assert tidy_url(url) == url


@pytest.mark.parametrize(
    "text",
    ["ftp://a/x", "//a/x", "a/x", "http://", "http://u:p@a/", "http://a:99999999/", "http://[a/"],
)
def test_what_is_no_address_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(UsageError, match="a URL must be") as raised:
        tidy_url(text)
    assert "u:p" not in str(raised.value)


def test_the_battery_has_a_handler_for_each_kind() -> None:
    source = Path(hostile_module.__file__).read_text()
    for kind in (*GOOD, *(kind for kinds in BAD.values() for kind in kinds)):
        assert kind.isdecimal() or f'"{kind}"' in source
