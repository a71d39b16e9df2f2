"""Searching: icrawler's own classes read pages of a server that imitates the engines."""

import html
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from hostile_server import HostileServer, serving
from sharpeye.collect import search as module
from sharpeye.collect import url_downloads
from sharpeye.collect.search import ENGINES, collect_search
from sharpeye.collect.sources import CollectCounts
from sharpeye.errors import MissingExtra, NetworkError, UsageError
from sharpeye.web import image_fetcher
from sharpeye.web.addresses import Address, public_only
from sharpeye.web.image_fetcher import ImageFetcher, WebLimits

pytest.importorskip("icrawler")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    monkeypatch.setattr(url_downloads, "PAUSES_SECONDS", (0.02, 0.1))
    monkeypatch.setenv("FLICKR_APIKEY", "key-of-mine")
    monkeypatch.setattr(image_fetcher, "ROBOTS_PAUSE_SECONDS", 0.01)
    with serving() as running:
        yield running


def fetcher_for(server: HostileServer) -> ImageFetcher:
    def check(address: Address, port: int) -> str:
        return "" if port == server.port else public_only(address, port)

    return ImageFetcher(check, WebLimits(seconds=10, silence_seconds=5))


def bing(images: list[str]) -> bytes:
    divs = "".join(
        f'<div class="imgpt"><a m="{html.escape(json.dumps({"murl": url}).replace(": ", ":"))}">'
        "x</a></div>"
        for url in images
    )
    return f"<html>{divs}<div class='imgpt'><a>no m</a></div></html>".encode()


def google(images: list[str]) -> bytes:
    return f"<html><script>{json.dumps([[url, 1, 2] for url in images])}</script></html>".encode()


def baidu(images: list[str]) -> bytes:
    return json.dumps({"data": [{"hoverURL": url} for url in images] + [{}]}).encode()


class EngineImitation:
    """Rewrites the addresses of result pages to the server, and notes them."""

    def __init__(
        self, server: HostileServer, pages: Callable[[list[str]], bytes], results: int
    ) -> None:
        self.server, self.pages, self.requested = server, pages, list[str]()
        self.results_left = [server.url(f"/good/{n}.jpg") for n in range(results)]

    def __call__(self, url: str) -> str:
        self.requested.append(url)
        if "flickr.photos.getSizes" in url:
            (photo,) = parse_qs(urlsplit(url).query)["photo_id"]
            source = self.server.url(f"/good/{photo}.jpg")
            body = json.dumps(
                {"stat": "ok", "sizes": {"size": [{"label": "Large", "source": source}]}}
            ).encode()
        elif "flickr.photos.search" in url:
            photos = [{"id": str(n)} for n in range(len(self.results_left))]
            body = json.dumps({"stat": "ok", "photos": {"photo": photos}}).encode()
        else:
            page, self.results_left = self.results_left[:10], self.results_left[10:]
            body = self.pages(page)
        path = f"/page/{len(self.requested)}"
        self.server.pages[path] = body
        return self.server.url(path)


PAGES = {"bing": bing, "google": google, "baidu": baidu, "flickr": bing}


@pytest.mark.parametrize("engine", ENGINES)
def test_images_of_each_engine_are_collected(
    engine: str, server: HostileServer, tmp_path: Path
) -> None:
    rewrite = EngineImitation(server, PAGES[engine], results=10)
    rewrite.results_left[3] = server.url("/html/3.jpg")
    rewrite.results_left[4] = server.url("/404/4.jpg")
    rewrite.results_left[5] = server.url("/disallowed/5.jpg")
    rewrite.results_left[6] = "http://169.254.169.254/6.jpg"
    counts = CollectCounts()
    words = "red rose & thorn"
    collect_search(
        words, tmp_path / "rose", engine=engine, max_images=20, fetcher=fetcher_for(server),
        counts=counts, rewrite=rewrite,
    )  # fmt: skip
    hosts = {
        "bing": "www.bing.com",
        "google": "www.google.com",
        "baidu": "image.baidu.com",
        "flickr": "api.flickr.com",
    }
    page = urlsplit(rewrite.requested[0])
    assert page.netloc == hosts[engine]
    name = {"bing": "q", "google": "q", "baidu": "word", "flickr": "text"}[engine]
    assert parse_qs(page.query)[name] == [words]
    if engine == "flickr":  # its pages name images by number
        assert counts.counts == {"added": 10}
    else:
        assert counts.counts == {"added": 6, "rejected": 1, "failed": 1, "refused": 2}
    text = (tmp_path / "rose" / "sources.csv").read_text()
    assert text.count(",unknown,") == counts.tries
    assert "key-of-mine" not in text


def test_pages_are_read_until_there_are_enough(server: HostileServer, tmp_path: Path) -> None:
    rewrite, counts = EngineImitation(server, bing, results=200), CollectCounts()
    collect_search(
        "rose", tmp_path / "c", engine="bing", max_images=15, fetcher=fetcher_for(server),
        counts=counts, rewrite=rewrite,
    )  # fmt: skip
    assert counts.counts == {"added": 15}
    assert len(rewrite.requested) == 2
    assert sum(path.startswith("/good") for path in server.hits) <= 20


def test_no_result_is_an_error(server: HostileServer, tmp_path: Path) -> None:
    for pages in (bing, lambda _: b"\x00 <not a page", lambda _: b""):
        rewrite = EngineImitation(server, pages, results=0)
        with pytest.raises(NetworkError, match="gives no result for 'rose'"):
            collect_search(
                "rose", tmp_path / "c", engine="bing", max_images=5, fetcher=fetcher_for(server),
                counts=CollectCounts(), rewrite=rewrite,
            )  # fmt: skip


def test_an_engine_that_cannot_be_reached_is_an_error(
    server: HostileServer, tmp_path: Path
) -> None:
    with pytest.raises(NetworkError, match="cannot search with bing: the server answers 500"):
        collect_search(
            "rose", tmp_path / "c", engine="bing", max_images=5, fetcher=fetcher_for(server),
            counts=CollectCounts(), rewrite=lambda _: server.url("/500/x"),
        )  # fmt: skip


def test_invalid_searches_are_refused(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(words: str = "rose", engine: str = "bing", max_images: int = 5) -> None:
        collect_search(
            words,
            tmp_path,
            engine=engine,
            max_images=max_images,
            fetcher=fetcher_for(server),
            counts=CollectCounts(),
        )

    with pytest.raises(UsageError, match=r"no search engine is called bong\. Did you mean bing"):
        search(engine="bong")
    with pytest.raises(UsageError, match="1 to 1000 images"):
        search(max_images=1001)
    with pytest.raises(UsageError, match="a search takes words"):
        search(" ")
    monkeypatch.delenv("FLICKR_APIKEY")
    with pytest.raises(UsageError, match="set FLICKR_APIKEY"):
        search(engine="flickr")
    assert server.hits == {}

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(module.importlib, "import_module", missing)
    with pytest.raises(MissingExtra, match=r"pip install 'sharpeye\[collect\]'"):
        search()
