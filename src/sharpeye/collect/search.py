"""Download images that a search engine finds into a class folder.

icrawler knows how each engine is asked and how its pages are read. Everything that goes over the
network, the engine's pages too, goes through `ImageFetcher`. Result pages are requested without
regard to the engine's robots.txt, as a person's browser does, and one after the other; for the
images, the robots.txt of their sites is heeded.
"""

import importlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from sharpeye.collect.sources import ADDED, UNKNOWN, CollectCounts
from sharpeye.collect.url_downloads import collect_urls
from sharpeye.collect.url_list import ListedImage
from sharpeye.core.progress import StageProgress
from sharpeye.errors import MissingExtra, NetworkError, UsageError, near_match
from sharpeye.web.fetch_error import FetchError
from sharpeye.web.urls import tidy_url

if TYPE_CHECKING:
    from sharpeye.web.image_fetcher import ImageFetcher

log = logging.getLogger(__name__)

MAX_IMAGES = 1000  # what an engine shows
FLICKR_KEY = "FLICKR_APIKEY"
_FLICKR_SIZES = ["large", "medium 800", "medium 640", "medium", "original", "small"]
_RESULTS_PER_IMAGE = 3  # some results are gone, and some are there twice


@dataclass(frozen=True, slots=True)
class _Engine:
    """An engine in icrawler: its module, and the first word of its classes' names."""

    module: str
    name: str
    escapes_words: bool  # whether icrawler escapes the words of the search


ENGINES = {
    "bing": _Engine("bing", "Bing", escapes_words=False),
    "google": _Engine("google", "Google", escapes_words=True),
    "baidu": _Engine("baidu", "Baidu", escapes_words=False),
    "flickr": _Engine("flickr", "Flickr", escapes_words=True),
}


def collect_search(
    words: str,
    folder: Path,
    *,
    engine: str,
    max_images: int,
    fetcher: "ImageFetcher",
    counts: CollectCounts,
    licence: str = UNKNOWN,
    threads: int = 16,
    per_host: int = 4,
    rewrite: Callable[[str], str] = lambda url: url,
    progress: StageProgress | None = None,
) -> int:
    """Search, and download the images into a class folder; see also `collect_urls`.

    Args:
        words: what to search for.
        engine: a key of `ENGINES`; flickr needs a key in the environment variable FLICKR_APIKEY.
        max_images: new images, 1..1000.
        rewrite: the address of a result page to another one.

    Returns:
        number of results that the engine gave.

    Raises:
        MissingExtra: icrawler is not installed.
        UsageError: unknown engine, no words, `max_images` out of range, no key.
        NetworkError: the engine cannot be reached, or gives no result.
        EnvironmentFault: disk full, no permission.
    """
    if engine not in ENGINES:
        raise UsageError(f"no search engine is called {engine}. {near_match(engine, ENGINES)}")
    if not words.strip() or not 1 <= max_images <= MAX_IMAGES:
        raise UsageError(
            f"a search takes words, and 1 to {MAX_IMAGES} pictures. Received: {words!r}, "
            f"{max_images}"
        )
    results: set[str] = set()
    session = _Session(fetcher, rewrite)
    for urls in _pages(
        ENGINES[engine], words.strip(), max_images * _RESULTS_PER_IMAGE, session=session
    ):
        new = [url for url in dict.fromkeys(urls) if url not in results]
        if not new:  # engines repeat their last page without end
            break
        results.update(new)
        collect_urls(
            [ListedImage(url, licence) for url in new],
            folder,
            fetcher=fetcher,
            counts=counts,
            max_images=max_images,
            threads=threads,
            per_host=per_host,
            progress=progress,
        )
        if counts.counts[ADDED] >= max_images:
            break
    if not results:
        raise NetworkError(
            f"{engine} gives no result for {words!r}: there is none, or its pages have changed; "
            "try another engine, or a newer icrawler"
        )
    return len(results)


class _Session:
    """What icrawler's parsers need of a session of requests, and of its responses."""

    def __init__(self, fetcher: "ImageFetcher", rewrite: Callable[[str], str]) -> None:
        self._fetcher, self._rewrite = fetcher, rewrite

    def get(self, url: str, **_: object) -> SimpleNamespace:
        content = self._fetcher.get(tidy_url(self._rewrite(url)), robots=False)
        return SimpleNamespace(content=content)


def _pages(
    engine: _Engine, words: str, max_results: int, *, session: _Session
) -> Iterator[list[str]]:
    """The images' URLs, a list for each page of results."""
    feeder_class, parser_class, signal = _icrawler_classes(engine)
    feeder, parser = feeder_class(1, signal, session), parser_class(1, signal, session)
    # icrawler's own queue would wait for a thread to take what is put into it.
    feeder.out_queue = queue.Queue()
    options: dict[str, Any] = {}
    if engine.name == "Flickr":
        key = _flickr_key()
        _run_in_thread(lambda: feeder.feed(apikey=key, text=words, per_page=100))
        options = {"apikey": key, "size_preference": _FLICKR_SIZES}
    else:
        keyword = words if engine.escapes_words else quote_plus(words)
        results = min(MAX_IMAGES, max_results)
        _run_in_thread(lambda: feeder.feed(keyword=keyword, offset=0, max_num=results))
    while not feeder.out_queue.empty():
        try:
            page = session.get(feeder.out_queue.get())
        except FetchError as error:
            raise NetworkError(
                f"cannot search with {engine.module}: {error.reason}; check the network, or try "
                "another engine"
            ) from None
        urls: list[str] = []
        read = partial(_read_page, parser, page, options, max_results=max_results, urls=urls)
        _run_in_thread(read)
        yield urls


def _read_page(
    parser: Any,
    page: SimpleNamespace,
    options: dict[str, Any],
    *,
    max_results: int,
    urls: list[str],
) -> None:
    """Append the URLs that a page names, up to where the parser fails on it."""
    try:
        for task in parser.parse(page, **options) or ():
            urls.append(str(task["file_url"]))
            if len(urls) >= max_results:
                break
    except Exception as error:  # written for pages that change every year
        log.warning("a page of results could not be read: %s", type(error).__name__)


def _run_in_thread(work: Callable[[], None]) -> None:
    """Keep signals from icrawler's code: it has bare `except:`, which would swallow them."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)


def _icrawler_classes(engine: _Engine) -> tuple[Any, Any, Any]:
    """(feeder's class, parser's class, signal that no end was reached yet)."""
    try:
        module = importlib.import_module(f"icrawler.builtin.{engine.module}")
        signal = importlib.import_module("icrawler.utils").Signal()
    except ImportError:
        raise MissingExtra("icrawler", "collect", "searching") from None
    signal.set(feeder_exited=False, parser_exited=False, reach_max_num=False)
    return getattr(module, f"{engine.name}Feeder"), getattr(module, f"{engine.name}Parser"), signal


def _flickr_key() -> str:
    key = os.environ.get(FLICKR_KEY, "")
    if not key:
        raise UsageError(
            f"flickr wants a key: set {FLICKR_KEY} to yours, from flickr.com/services/api"
        )
    return key
