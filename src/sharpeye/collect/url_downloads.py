"""Download the images of a list of URLs into a class folder, many at once but few per host.

A list has a URL per line, with an optional licence after a tab. Images that arrived once are not
requested again. Retryable failures are repeated after a pause; a pause that the server asks for
applies to the whole host.
"""

import contextlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sharpeye.collect.ingest import ClassFolder
from sharpeye.collect.sources import ADDED, FAILED, REFUSED, UNKNOWN, CollectCounts
from sharpeye.core.progress import StageProgress
from sharpeye.core.user_text import decode_user_text
from sharpeye.errors import DataError, UsageError
from sharpeye.web.fetch_error import MAX_PAUSE_SECONDS, PAUSES_SECONDS, FetchError
from sharpeye.web.host_queue import HostQueue
from sharpeye.web.urls import tidy_url, without_password

if TYPE_CHECKING:
    from sharpeye.web.image_fetcher import ImageFetcher

MAX_LIST_BYTES = 2**30
_MAX_URL_CHARACTERS = 8192
_JOIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A URL, or other text in its place in a list, and the licence of the image."""

    url: str
    licence: str = UNKNOWN


def read_list(file: Path, licence: str = UNKNOWN) -> list[ListedImage]:
    """The images in a text file; `licence` applies to lines without one.

    Raises:
        UsageError: no such file.
        DataError: it has no URL, or is no text in UTF-8 or UTF-16.
    """
    try:
        if file.stat().st_size > MAX_LIST_BYTES:
            raise DataError(f"{file} has more than {MAX_LIST_BYTES // 2**20} MiB; split it up")
        images = parse_list(decode_user_text(file.read_bytes(), file), licence)
    except OSError as error:
        raise UsageError(
            f"cannot read {file}: {error.strerror}; give a text file with one URL a line"
        ) from None
    except UsageError as error:
        raise DataError(f"{error}; give a file with one URL a line") from None
    if not any(image.url.startswith(("http://", "https://")) for image in images):
        raise DataError(f"no URL in {file}; it needs one a line, http://HOST/PATH or https://...")
    return images


def parse_list(text: str, licence: str = UNKNOWN) -> list[ListedImage]:
    """The images of a list, each URL once, with its first licence; `#` begins a comment."""
    images: dict[str, ListedImage] = {}
    for line in text.splitlines():
        url, _, rest = line.partition("\t")
        url = url.strip().strip('"')  # spreadsheets quote some cells
        if url and not url.startswith("#"):
            images.setdefault(url, ListedImage(url, rest.partition("\t")[0].strip() or licence))
    return [*images.values()]


def collect_urls(
    images: Iterable[ListedImage],
    folder: Path,
    *,
    fetcher: "ImageFetcher",
    counts: CollectCounts,
    max_images: int = 0,
    threads: int = 16,
    per_host: int = 4,
    progress: StageProgress | None = None,
) -> None:
    """Download images from URLs into a class folder.

    Args:
        images: without duplicate URLs.
        fetcher: it is closed on an interruption.
        counts: is added to, also if this ends by an error.
        max_images: stop when so many images were added; 0 takes all.
        threads: requests at once; `per_host`: to one host.
        progress: called with ("collect", done, total).

    Raises:
        EnvironmentFault: disk full, no permission. Earlier images are kept.
    """
    with ClassFolder(folder) as class_folder:
        downloader = _UrlDownloader(class_folder, fetcher, counts, max_images, per_host)
        downloader.run([*images], threads, progress)


@dataclass
class _UrlDownloader:
    """The shared state of the download threads."""

    folder: ClassFolder
    fetcher: "ImageFetcher"
    counts: CollectCounts
    max_images: int
    per_host: int

    def __post_init__(self) -> None:
        # With a limit, images are added one at a time, so that none exceeds it.
        self.enter = threading.Lock() if self.max_images else contextlib.nullcontext()
        self.queue = HostQueue[tuple[ListedImage, int]](self.per_host)  # (image, earlier attempts)
        self.lock = threading.Lock()
        self.error: BaseException | None = None

    def run(self, images: list[ListedImage], threads: int, progress: StageProgress | None) -> None:
        # URLs in the order of the list; hosts alternate, as each has its own queue.
        total = sum(self._add(image) for image in images)
        workers = [
            threading.Thread(target=self._work, daemon=True) for _ in range(min(threads, total))
        ]
        try:
            for worker in workers:
                worker.start()
            while any(worker.is_alive() for worker in workers):
                for worker in workers:
                    worker.join(0.1)  # short, so that a signal is noticed
                    if progress:
                        progress("collect", self.counts.tries, total)
        except BaseException:
            self.queue.stop()
            self.fetcher.close()
            for worker in workers:
                worker.join(_JOIN_SECONDS)
            raise
        if self.error:
            raise self.error

    def _add(self, image: ListedImage) -> int:
        """Queue a URL, unless it came before or cannot be requested; returns how many."""
        try:
            if len(image.url) > _MAX_URL_CHARACTERS:
                raise UsageError(f"a URL of {len(image.url):,} characters")
            url = tidy_url(image.url)
        except UsageError:
            shown = without_password(image.url[:_MAX_URL_CHARACTERS])
            reason = "no URL of http or https without a password in it"
            self._record_miss(ListedImage(shown, image.licence), REFUSED, reason)
            return 0
        if self.folder.arrived(url):
            self.counts.collected_before += 1
            return 0
        self.queue.put(urlsplit(url).netloc, (ListedImage(url, image.licence), 0))
        return 1

    def _work(self) -> None:
        queue = self.queue
        try:
            while item := queue.take():
                host, (image, tries) = item
                queue.pause(host, self.fetcher.delay_of(image.url))
                try:
                    self._try(image, tries, host)
                    queue.pause(host, self.fetcher.delay_of(image.url))  # known by now
                finally:
                    queue.done(host)
                if self._is_enough():
                    queue.stop()
        except BaseException as error:  # `run` raises it
            self.error = self.error or error
            queue.stop()

    def _try(self, image: ListedImage, tries: int, host: str) -> None:
        try:
            data = self.fetcher.get(image.url)
        except FetchError as error:
            self._retry_or_record(image, tries, host, error=error)
            return
        with self.enter:
            if self._is_enough():
                return
            ingested = self.folder.ingest(data, source=image.url, licence=image.licence)
            with self.lock:
                self.counts.count(image.url, ingested.status, ingested.reason)

    def _retry_or_record(
        self, image: ListedImage, tries: int, host: str, *, error: FetchError
    ) -> None:
        if self.fetcher.closed:
            return  # the request was broken off, which says nothing about the URL
        reason = error.reason
        if error.retry_after > MAX_PAUSE_SECONDS:
            reason += f", and wants to be asked again in {error.retry_after:,.0f} s"
        elif error.retryable and tries < len(PAUSES_SECONDS):
            if error.retry_after:
                self.queue.pause(host, error.retry_after)
            pause = max(PAUSES_SECONDS[tries], error.retry_after)
            self.queue.put(host, (image, tries + 1), pause)
            return
        self._record_miss(image, REFUSED if error.refused else FAILED, reason)
        with self.lock:
            self.counts.unreached += not error.reached and not error.refused

    def _record_miss(self, image: ListedImage, status: str, reason: str) -> None:
        self.folder.record(image.url, image.licence, status, reason=reason)
        with self.lock:
            self.counts.count(image.url, status, reason)

    def _is_enough(self) -> bool:
        return bool(self.max_images) and self.counts.counts[ADDED] >= self.max_images
