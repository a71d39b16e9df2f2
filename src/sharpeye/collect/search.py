"""Images that a search engine finds, into a class folder.

icrawler knows how each engine is asked and how its answers are read. Everything that goes over
the network, the engine's pages too, goes through `Web`. Result pages are asked for without regard
to the engine's robots.txt, as a person's browser does, and one after the other; for the images,
that of their sites is heeded.
"""

import importlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from sharpeye.collect.sources import ADDED, UNKNOWN
from sharpeye.collect.urls import CollectCounts, ListedImage, Tell, collect_urls
from sharpeye.errors import MissingExtra, NetworkError, UsageError, near_match
from sharpeye.web.deadline import NoAnswer
from sharpeye.web.image_fetcher import ImageFetcher
from sharpeye.web.urls import tidy_url

log = logging.getLogger(__name__)

MOST = 1000  # what an engine shows
FLICKR_KEY = "FLICKR_APIKEY"
_FLICKR_SIZES = ["large", "medium 800", "medium 640", "medium", "original", "small"]
_SPARE = 3  # results for each image wanted: some are gone, and some are there twice


@dataclass(frozen=True, slots=True)
class _Engine:
    """How an engine is asked: icrawler's module, its classes' first name, and its words."""

    module: str
    name: str
    escaped: bool  # whether its feeder leaves the words as they are


ENGINES = {
    "bing": _Engine("bing", "Bing", escaped=False),
    "google": _Engine("google", "Google", escaped=True),
    "baidu": _Engine("baidu", "Baidu", escaped=False),
    "flickr": _Engine("flickr", "Flickr", escaped=True),
}


def collect_search(
    words: str,
    folder: Path,
    *,
    engine: str,
    most: int,
    web: ImageFetcher,
    tally: CollectCounts,
    licence: str = UNKNOWN,
    threads: int = 16,
    per_host: int = 4,
    rewrite: Callable[[str], str] = lambda url: url,
    tell: Tell = lambda *_: None,
) -> int:
    """Search, and bring the images into a class folder.

    Args:
        words: what to search for.
        engine: a key of `ENGINES`; flickr wants a key in the environment variable FLICKR_APIKEY.
        most: new images, 1..1000.
        tally: is added to, also if this ends by an error.
        rewrite: the address of a result page to another one.

    Returns:
        number of results that the engine gave.

    Raises:
        MissingExtra: icrawler is not installed.
        UsageError: unknown engine, no words, `most` out of range, no key.
        NetworkError: the engine cannot be reached, or gives no result.
        EnvironmentFault: disk full, no permission.
    """
    if engine not in ENGINES:
        raise UsageError(f"no search engine is called {engine}. {near_match(engine, ENGINES)}")
    if not words.strip() or not 1 <= most <= MOST:
        raise UsageError(
            f"a search takes words, and 1 to {MOST} pictures. Received: {words!r}, {most}"
        )
    seen: set[str] = set()
    for urls in _pages(ENGINES[engine], words.strip(), most, web, rewrite):
        fresh = [url for url in dict.fromkeys(urls) if url not in seen]
        if not fresh:  # engines repeat their last page without end
            break
        seen.update(fresh)
        collect_urls(
            [ListedImage(url, licence) for url in fresh],
            folder,
            web=web,
            tally=tally,
            most=most,
            threads=threads,
            per_host=per_host,
            tell=tell,
        )
        if tally.counts[ADDED] >= most:
            break
    if not seen:
        raise NetworkError(
            f"{engine} gives no result for {words!r}: there is none, or its pages have changed; "
            "try another engine, or a newer icrawler"
        )
    return len(seen)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What icrawler's parsers want of an answer."""

    content: bytes


class _Session:
    """What icrawler's parsers want of a session."""

    def __init__(self, web: ImageFetcher, rewrite: Callable[[str], str]) -> None:
        self._web, self._rewrite = web, rewrite

    def get(self, url: str, **_: object) -> _Answer:
        return _Answer(self._web.get(tidy_url(self._rewrite(url)), robots=False))


def _pages(
    engine: _Engine, words: str, most: int, web: ImageFetcher, rewrite: Callable[[str], str]
) -> Iterator[list[str]]:
    """The images' URLs, a list for each page of results."""
    feeder_class, parser_class, signal = _classes(engine)
    session = _Session(web, rewrite)
    feeder, parser = feeder_class(1, signal, session), parser_class(1, signal, session)
    # icrawler's own would wait for a thread to take what it puts.
    feeder.out_queue = queue.Queue()
    options: dict[str, Any] = {}
    if engine.name == "Flickr":
        key = _flickr_key()
        _apart(lambda: feeder.feed(apikey=key, text=words, per_page=100))
        options = {"apikey": key, "size_preference": _FLICKR_SIZES}
    else:
        asked = words if engine.escaped else quote_plus(words)
        results = min(MOST, most * _SPARE)
        _apart(lambda: feeder.feed(keyword=asked, offset=0, max_num=results))
    while not feeder.out_queue.empty():
        page = feeder.out_queue.get()
        try:
            answer = session.get(page)
        except NoAnswer as error:
            raise NetworkError(
                f"cannot search with {engine.module}: {error.reason}; check the network, or try "
                "another engine"
            ) from None
        urls: list[str] = []
        _apart(lambda: _read(parser, answer, options, most * _SPARE, urls))  # noqa: B023
        yield urls


def _read(
    parser: Any, answer: _Answer, options: dict[str, Any], most: int, urls: list[str]
) -> None:
    """Add what a page names; a page that the parser stumbles over names no more."""
    try:
        for task in parser.parse(answer, **options) or ():
            urls.append(str(task["file_url"]))
            if len(urls) >= most:
                break
    except Exception as error:  # written for pages that change every year
        log.warning("a page of results could not be read: %s", type(error).__name__)


def _apart(work: Callable[[], None]) -> None:
    """Run icrawler's code in a thread: it has bare `except:`, which would swallow a signal's."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)


def _classes(engine: _Engine) -> tuple[Any, Any, Any]:
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
