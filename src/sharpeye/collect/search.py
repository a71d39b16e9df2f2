"""Download images that a search engine finds into a class folder.

icrawler knows the URLs and the pages of each engine; `ImageFetcher` sends every request. Result
pages are requested one after the other and regardless of the engine's robots.txt, as by a person's
browser; for the images, the robots.txt of their sites applies.
"""

import importlib
import itertools
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from sharpeye.collect.sources import ADDED, UNKNOWN, CollectCounts
from sharpeye.collect.url_downloads import ListedImage, collect_urls
from sharpeye.core.progress import StageProgress
from sharpeye.errors import MissingExtra, NetworkError, UsageError, near_match
from sharpeye.web.fetch_error import FetchError
from sharpeye.web.urls import tidy_url

if TYPE_CHECKING:
    from sharpeye.web.image_fetcher import ImageFetcher

log = logging.getLogger(__name__)

MAX_IMAGES = 1000  # the limit of the engines
FLICKR_KEY = "FLICKR_APIKEY"
_FLICKR_SIZES = ["large", "medium 800", "medium 640", "medium", "original", "small"]
_RESULTS_PER_IMAGE = 3  # spare results, as some are dead links or duplicates
ENGINES = ("bing", "google", "baidu", "flickr")  # each is a module in icrawler.builtin
_UNESCAPED = ("bing", "baidu")  # engines whose words icrawler does not escape in URLs


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
    """Search, and download images by `collect_urls`; returns the engine's number of results.

    Args:
        engine: of `ENGINES`; flickr needs a key in the environment variable FLICKR_APIKEY.
        max_images: new images, 1..1000.
        rewrite: maps the URL of a result page to another one.

    Raises:
        MissingExtra: icrawler is not installed.
        UsageError: unknown engine, no words, `max_images` out of range, no key.
        NetworkError: the engine cannot be reached, or has no result.
        EnvironmentFault: disk full, no permission.
    """
    if engine not in ENGINES:
        raise UsageError(f"no search engine is called {engine}. {near_match(engine, ENGINES)}")
    if not words.strip() or not 1 <= max_images <= MAX_IMAGES:
        raise UsageError(
            f"a search takes words, and 1 to {MAX_IMAGES} images. Received: {words!r}, {max_images}"
        )

    def get(url: str, **_: object) -> SimpleNamespace:
        content = fetcher.get(tidy_url(rewrite(url)), robots=False)
        return SimpleNamespace(content=content)

    session = SimpleNamespace(get=get)  # what icrawler's parsers need of a session of requests
    results: set[str] = set()
    max_results = max_images * _RESULTS_PER_IMAGE
    for urls in _result_pages(engine, words.strip(), max_results, session=session):
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


def _result_pages(
    engine: str, words: str, max_results: int, *, session: SimpleNamespace
) -> Iterator[list[str]]:
    """The images' URLs, as a list per result page."""
    feeder, parser = _feeder_and_parser(engine, session)
    options: dict[str, Any] = {}
    if engine == "flickr":
        key = os.environ.get(FLICKR_KEY)
        if not key:
            raise UsageError(
                f"flickr wants a key: set {FLICKR_KEY} to yours, from flickr.com/services/api"
            )
        _run_in_thread(feeder.feed, apikey=key, text=words, per_page=100)
        options = {"apikey": key, "size_preference": _FLICKR_SIZES}
    else:
        keyword = quote_plus(words) if engine in _UNESCAPED else words
        results = min(MAX_IMAGES, max_results)
        _run_in_thread(feeder.feed, keyword=keyword, offset=0, max_num=results)
    while not feeder.out_queue.empty():
        try:
            page = session.get(feeder.out_queue.get())
        except FetchError as error:
            raise NetworkError(
                f"cannot search with {engine}: {error.reason}; check the network, or try "
                "another engine"
            ) from None
        urls: list[str] = []
        arguments = {"parser": parser, "page": page, "urls": urls, "max_results": max_results}
        _run_in_thread(_read_page, **arguments, **options)
        yield urls


def _feeder_and_parser(engine: str, session: SimpleNamespace) -> tuple[Any, Any]:
    try:
        module = importlib.import_module(f"icrawler.builtin.{engine}")
        signal = importlib.import_module("icrawler.utils").Signal()
    except ImportError:
        raise MissingExtra("icrawler", "collect", "searching") from None
    signal.set(feeder_exited=False, parser_exited=False, reach_max_num=False)
    name = engine.capitalize()
    feeder, parser = (
        getattr(module, f"{name}{kind}")(1, signal, session) for kind in ("Feeder", "Parser")
    )
    # icrawler's own queue would wait for another thread.
    feeder.out_queue = queue.Queue()
    return feeder, parser


def _read_page(
    parser: Any, page: SimpleNamespace, urls: list[str], *, max_results: int, **options: Any
) -> None:
    """Append the URLs in a page, up to a failure of the parser."""
    try:
        for task in itertools.islice(parser.parse(page, **options) or (), max_results):
            urls.append(str(task["file_url"]))
    except Exception as error:  # written for pages that change every year
        log.warning("a page of results could not be read: %s", type(error).__name__)


def _run_in_thread(work: Callable[..., None], **arguments: object) -> None:
    """Run icrawler's code in a thread without signals, which its bare `except:` would swallow."""
    thread = threading.Thread(target=work, kwargs=arguments, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
