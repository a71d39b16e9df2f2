"""Download the images of a list of URLs into a class folder: many at once, few from one host.

What arrived once is not requested again. What another attempt may bring is tried again after a
pause, or after the one that the server asks for; that pause then holds for the whole host.
"""

import contextlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sharpeye.collect.ingest import ClassFolder
from sharpeye.collect.sources import ADDED, FAILED, REFUSED, CollectCounts
from sharpeye.collect.url_list import ListedImage
from sharpeye.core.progress import StageProgress
from sharpeye.errors import UsageError
from sharpeye.web.fetch_error import MAX_PAUSE_SECONDS, PAUSES_SECONDS, FetchError
from sharpeye.web.host_queue import HostQueue
from sharpeye.web.urls import tidy_url, without_password

if TYPE_CHECKING:
    from sharpeye.web.image_fetcher import ImageFetcher

_MAX_URL_CHARACTERS = 8192
_JOIN_SECONDS = 5.0


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
    """Download what URLs lead to into a class folder.

    Args:
        images: no URL twice.
        folder: the class's.
        fetcher: sends the requests; it is closed if this is interrupted.
        counts: is added to, also if this ends by an error.
        max_images: stop when so many images were added; 0: take all.
        threads: requests at once.
        per_host: requests to one host at once.
        progress: called with ("collect", done, total).

    Raises:
        EnvironmentFault: disk full, no permission. What came before is kept.
    """
    with ClassFolder(folder) as class_folder:
        downloads = _UrlDownloader(
            class_folder, fetcher, counts, max_images=max_images, per_host=per_host
        )
        downloads.run([*images], threads, progress)


@dataclass(slots=True)
class _UrlTask:
    url: str
    licence: str
    tries: int = 0


class _UrlDownloader:
    """What the threads share."""

    def __init__(
        self,
        folder: ClassFolder,
        fetcher: "ImageFetcher",
        counts: CollectCounts,
        *,
        max_images: int,
        per_host: int,
    ) -> None:
        self._folder, self._fetcher, self._counts = folder, fetcher, counts
        self._max_images = max_images
        self._queue = HostQueue[_UrlTask](per_host)
        self._lock = threading.Lock()
        # With a limit, images enter one after the other, so that none is too many.
        self._enter = threading.Lock() if max_images else contextlib.nullcontext()
        self._error: BaseException | None = None

    def run(self, images: list[ListedImage], threads: int, progress: StageProgress | None) -> None:
        # URLs in the order of the list; hosts alternate, as each has a line of its own.
        total = sum(self._add(image) for image in images)
        workers = [
            threading.Thread(target=self._work, daemon=True) for _ in range(min(threads, total))
        ]
        try:
            for worker in workers:
                worker.start()
            while any(worker.is_alive() for worker in workers):
                for worker in workers:
                    worker.join(0.1)  # short, so that a signal is seen
                    if progress:
                        progress("collect", self._counts.tries, total)
        except BaseException:
            self._queue.stop()
            self._fetcher.close()
            for worker in workers:
                worker.join(_JOIN_SECONDS)
            raise
        if self._error:
            raise self._error

    def _add(self, image: ListedImage) -> int:
        """Queue a URL, unless it came before or cannot be requested; returns how many."""
        try:
            if len(image.url) > _MAX_URL_CHARACTERS:
                raise UsageError(f"a URL of {len(image.url):,} characters")
            url = tidy_url(image.url)
        except UsageError:
            shown = without_password(image.url[:_MAX_URL_CHARACTERS])
            reason = "no URL of http or https without a password in it"
            self._record_miss(_UrlTask(shown, image.licence), REFUSED, reason)
            return 0
        if self._folder.arrived(url):
            self._counts.collected_before += 1
            return 0
        self._queue.put(urlsplit(url).netloc, _UrlTask(url, image.licence))
        return 1

    def _work(self) -> None:
        queue = self._queue
        try:
            while item := queue.take():
                host, task = item
                queue.pause(host, self._fetcher.delay_of(task.url))
                try:
                    self._try(task, host)
                    queue.pause(host, self._fetcher.delay_of(task.url))  # known by now
                finally:
                    queue.done(host)
                if self._is_enough():
                    queue.stop()
        except BaseException as error:  # `run` raises it
            self._error = self._error or error
            queue.stop()

    def _try(self, task: _UrlTask, host: str) -> None:
        try:
            data = self._fetcher.get(task.url)
        except FetchError as error:
            self._retry_or_record(task, host, error)
            return
        with self._enter:
            if self._is_enough():
                return
            ingested = self._folder.ingest(data, source=task.url, licence=task.licence)
            with self._lock:
                self._counts.count(task.url, ingested.status, ingested.reason)

    def _retry_or_record(self, task: _UrlTask, host: str, error: FetchError) -> None:
        if self._fetcher.closed:
            return  # the request was broken off, which says nothing about the URL
        reason = error.reason
        if error.retry_after > MAX_PAUSE_SECONDS:
            reason += f", and wants to be asked again in {error.retry_after:,.0f} s"
        elif error.retryable and task.tries < len(PAUSES_SECONDS):
            if error.retry_after:
                self._queue.pause(host, error.retry_after)
            pause = max(PAUSES_SECONDS[task.tries], error.retry_after)
            task.tries += 1
            self._queue.put(host, task, pause)
            return
        self._record_miss(task, REFUSED if error.refused else FAILED, reason)
        with self._lock:
            self._counts.unreached += not error.reached and not error.refused

    def _record_miss(self, task: _UrlTask, status: str, reason: str) -> None:
        self._folder.record(task.url, task.licence, status, reason=reason)
        with self._lock:
            self._counts.count(task.url, status, reason)

    def _is_enough(self) -> bool:
        return bool(self._max_images) and self._counts.counts[ADDED] >= self._max_images
