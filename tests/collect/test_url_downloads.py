"""Downloads from a list of URLs, and all that a web server can do to them, over real sockets."""

import csv
import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import hostile_server as hostile_module
from hostile_server import FORMATS, HostileServer, image, serving
from hostile_urls import BAD, GOOD, REFUSED, fetcher_for
from sharpeye.collect import url_downloads as module
from sharpeye.collect.sources import CollectCounts
from sharpeye.collect.url_downloads import ListedImage, collect_urls, read_list
from sharpeye.errors import DataError, EnvironmentFault, UsageError
from sharpeye.images.decode import decode
from sharpeye.images.formats import sniff, suffixes_of
from sharpeye.web import image_fetcher as fetcher_module
from sharpeye.web.addresses import anywhere
from sharpeye.web.fetch_error import FetchError
from sharpeye.web.image_fetcher import ImageFetcher, WebLimits
from sharpeye.web.urls import tidy_url


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    monkeypatch.setattr(module, "PAUSES_SECONDS", (0.02, 0.1))
    monkeypatch.setattr(fetcher_module, "ROBOTS_PAUSE_SECONDS", 0.02)
    with serving() as running:
        yield running


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "sources.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def images_in(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "sources.csv"}


def collect(server: HostileServer, folder: Path, *paths: str, **options: int) -> CollectCounts:
    counts = CollectCounts()
    images = [ListedImage(server.url(path) if path.startswith("/") else path) for path in paths]
    collect_urls(images, folder, fetcher=fetcher_for(server), counts=counts, **options)  # type: ignore[arg-type]
    return counts


# --- 500 URLs ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_of_500_urls_all_good_images_arrive_once_and_nothing_else(
    server: HostileServer, tmp_path: Path
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
    server.redirects |= {"/loop/a": "/loop/b", "/loop/b": "/loop/a"}
    expected |= {server.url("/loop/a"): "failed", server.url("/x.secret"): "refused"}
    server.redirects |= {"/to-disallowed": "/disallowed/1.jpg"}
    expected[server.url("/to-disallowed")] = "refused"
    with serving() as bystander:
        for number, form in enumerate(REFUSED):
            target = form.format(bystander=bystander.port)
            server.redirects[f"/to/{number}"] = target
            expected[server.url(f"/to/{number}")] = "refused"
            expected[target.replace("user:secret@", "***@")] = "refused"
        images = [
            ListedImage(url.replace("***@", "user:secret@"), "CC0") for url in sorted(expected)
        ]
        assert len(images) >= 500
        counts, fetcher = CollectCounts(), fetcher_for(server)
        collect_urls(images, folder, fetcher=fetcher, counts=counts, threads=24, per_host=24)
        assert bystander.hits == {}

    rows = rows_of(folder)
    statuses = {row["source"]: row["status"] for row in rows}
    for n in range(BAD["duplicate"]["copy"]):  # either of the two may come first
        pair = [server.url(f"/copy/{n}.jpg"), server.url(f"/good/{n}.jpg")]
        assert sorted(statuses[url] for url in pair) == ["added", "duplicate"]
        statuses |= {url: expected[url] for url in pair}
    assert statuses == expected
    assert len(rows) == len(expected)
    assert counts.counts == Counter(expected.values())
    assert counts.collected_before == 0

    contents = [
        image(f"/{kind}/{n}.jpg")
        for kind, count in GOOD.items()
        if kind != "moved"
        for n in range(count)
    ]
    contents += [image(f"/good/moved-{n}.jpg") for n in range(GOOD["moved"])]
    files = images_in(folder)
    assert sorted(files.values()) == sorted(contents)
    for name, data in files.items():
        kind = sniff(data[:32])
        assert kind
        assert name == hashlib.sha256(data).hexdigest()[:16] + suffixes_of(kind)[0]
        decode(data, name)
    assert {sniff(data[:32]) for data in files.values()} == set(FORMATS)

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
    for path, words in {
        "/404/0.jpg": "the server answers 404 Not Found",
        "/busy-long/0.jpg": "Too Many Requests, and wants to be asked again in 3,600 s",
        "/html/0.jpg": "a saved web page",
        "/empty/0.jpg": "the file is empty",
        "/huge/0.jpg": "more than 1 MiB",
        "/endless/0.jpg": "more than 1 MiB",
        "/gzip-bomb/0.jpg": "more than 1 MiB",
        "/drip/0.jpg": "too slow",
        "/drip-headers/0.jpg": "it took more than 2 s",
        "/cut/0.jpg": "the connection closed after 100 of",
        "/self/0.jpg": "in a circle",
        "/loop/a": "in a circle",
        "/chain/0": "more than 10 redirects",
        "/disallowed/0.jpg": "robots.txt",
        "/noai/0.jpg": "asks for noai",
        "/to/1": "169.254.169.254 is a link-local address",
        "/to/10": "it leads to file:///etc/passwd",
    }.items():
        assert words in reasons[server.url(path)], path

    # --- once more: only what did not arrive is requested again
    server.hits.clear()
    second_counts = CollectCounts()
    collect_urls(
        [w for w in images if "/hang/" not in w.url and "/drip" not in w.url],
        folder, fetcher=fetcher_for(server), counts=second_counts, threads=24, per_host=24,
    )  # fmt: skip
    arrived = sum(status in ("added", "duplicate") for status in expected.values())
    assert second_counts.collected_before == arrived
    assert second_counts.counts["added"] == second_counts.counts["duplicate"] == 0
    assert not [path for path in server.hits if path.split("/")[1] in {*GOOD, "copy"}]
    assert images_in(folder) == files


# --- single rules -------------------------------------------------------------------------------


def test_a_deleted_image_does_not_come_back(server: HostileServer, tmp_path: Path) -> None:
    collect(server, tmp_path / "c", "/good/1", "/good/2")
    (row, _) = rows_of(tmp_path / "c")
    (tmp_path / "c" / row["path"]).unlink()
    counts = collect(server, tmp_path / "c", "/good/1", "/good/2", "/good/3")
    assert (counts.collected_before, counts.counts) == (2, {"added": 1})


def test_the_number_of_images_is_limited(server: HostileServer, tmp_path: Path) -> None:
    counts = collect(server, tmp_path / "c", *[f"/good/{n}" for n in range(60)], max_images=7)
    assert counts.counts["added"] == 7
    assert len(images_in(tmp_path / "c")) == 7


def test_few_requests_go_to_a_host_at_once(server: HostileServer, tmp_path: Path) -> None:
    fetcher, running, highest = fetcher_for(server), Counter[str](), Counter[str]()
    lock, unpatched_get = threading.Lock(), fetcher.get

    def get(url: str, *, robots: bool = True) -> bytes:
        host = url.split("/")[2].split(":")[0]
        with lock:
            running[host] += 1
            highest[host] = max(highest[host], running[host])
        try:
            return unpatched_get(url, robots=robots)
        finally:
            with lock:
                running[host] -= 1

    fetcher.get = get  # type: ignore[method-assign]
    hosts = ("127.0.0.1", "localhost")
    images = [ListedImage(server.url(f"/slow/{n}", host)) for host in hosts for n in range(8)]
    counts = CollectCounts()
    collect_urls(images, tmp_path / "c", fetcher=fetcher, counts=counts, threads=12, per_host=3)
    assert highest == {"127.0.0.1": 3, "localhost": 3}
    assert counts.counts == {"added": 8, "duplicate": 8}


def test_crawl_delay_is_respected(server: HostileServer, tmp_path: Path) -> None:
    server.robots = lambda: (200, b"User-agent: sharpeye\nCrawl-delay: 0.3\n")
    begin = time.monotonic()
    collect(server, tmp_path / "c", "/good/1", "/good/2", "/good/3", "/good/4", per_host=1)
    assert time.monotonic() - begin > 0.6
    assert len(images_in(tmp_path / "c")) == 4


@pytest.mark.parametrize("status", [404, 403, 401])
def test_a_site_without_robots_txt_allows_all(
    status: int, server: HostileServer, tmp_path: Path
) -> None:
    server.robots = lambda: (status, b"User-agent: *\nDisallow: /\n")
    assert collect(server, tmp_path / "c", "/good/1").counts == {"added": 1}


def test_a_site_whose_robots_txt_cannot_be_read_gets_no_other_request(
    server: HostileServer, tmp_path: Path
) -> None:
    server.robots = lambda: (500, b"")
    counts = collect(server, tmp_path / "c", *[f"/good/{n}" for n in range(20)])
    assert counts.counts == {"failed": 20}
    assert "robots.txt cannot be read: the server answers 500" in counts.examples[0][1]
    assert set(server.hits) == {"/robots.txt"}
    assert server.hits["/robots.txt"] <= 4  # for all of them
    assert counts.unreached == 0


def test_a_site_whose_robots_txt_comes_late_is_collected_then(
    server: HostileServer, tmp_path: Path
) -> None:
    responses = [(503, b""), (500, b""), (200, b"")]
    server.robots = lambda: responses.pop(0)
    counts = collect(server, tmp_path / "c", *[f"/good/{n}" for n in range(20)])
    assert counts.counts == {"added": 20}
    assert responses == []


def test_unreached_servers_are_counted(server: HostileServer, tmp_path: Path) -> None:
    with serving() as gone:
        pass
    counts = CollectCounts()
    images = [ListedImage(gone.url("/good/1")), ListedImage("http://nobody.invalid/1.jpg")]
    collect_urls(images, tmp_path / "c", fetcher=fetcher_for(server, gone), counts=counts)
    assert (counts.tries, counts.unreached) == (2, 2)
    assert {row["status"] for row in rows_of(tmp_path / "c")} == {"failed"}


def test_a_full_disk_ends_it_at_once(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise EnvironmentFault("no room")

    monkeypatch.setattr("sharpeye.collect.ingest.storage.write_bytes", full)
    with pytest.raises(EnvironmentFault, match="no room"):
        collect(server, tmp_path / "c", *[f"/good/{n}" for n in range(40)])
    assert sum(server.hits.values()) < 40


def test_an_interruption_ends_hanging_requests_and_keeps_the_images(
    server: HostileServer, tmp_path: Path
) -> None:
    fetcher = ImageFetcher(anywhere, WebLimits(seconds=60, silence_seconds=60))
    counts, folder = CollectCounts(), tmp_path / "c"

    def interrupt(stage: str, done: int, total: int) -> None:
        if done >= 5:
            raise KeyboardInterrupt

    images = [ListedImage(server.url(f"/hang/{n}")) for n in range(3)]
    images += [ListedImage(server.url(f"/good/{n}")) for n in range(5)]
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        collect_urls(images, folder, fetcher=fetcher, counts=counts, per_host=8, progress=interrupt)
    assert time.monotonic() - begin < 5
    assert len(images_in(folder)) == len(rows_of(folder)) == 5
    assert not [t for t in threading.enumerate() if "_work" in t.name and t.is_alive()]
    with pytest.raises(FetchError, match="broken off"):
        fetcher.get(server.url("/good/9"))


# --- lists and addresses -------------------------------------------------------------------------


def test_a_list_may_have_comments_licences_and_other_lines(tmp_path: Path) -> None:
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
    with pytest.raises(DataError, match="is not in UTF-8"):
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
def test_urls_are_escaped_as_in_a_browser(text: str, url: str) -> None:
    assert tidy_url(text) == url
    assert tidy_url(url) == url


@pytest.mark.parametrize(
    "text",
    ["ftp://a/x", "//a/x", "a/x", "http://", "http://u:p@a/", "http://a:99999999/", "http://[a/"],
)
def test_an_invalid_url_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(UsageError, match="a URL must be") as raised:
        tidy_url(text)
    assert "u:p" not in str(raised.value)


def test_the_server_has_a_case_for_each_kind() -> None:
    source = Path(hostile_module.__file__).read_text()
    for kind in (*GOOD, *(kind for kinds in BAD.values() for kind in kinds)):
        assert kind.isdecimal() or f'"{kind}"' in source
