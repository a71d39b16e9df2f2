"""Download images from a list of URLs into a class, while the page shows the progress."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.collect.sources import ADDED, CONFLICT, DUPLICATE, CollectCounts
from sharpeye.collect.url_downloads import ListedImage, collect_urls, parse_list
from sharpeye.errors import BusyError, SharpEyeError, UsageError

if TYPE_CHECKING:
    from sharpeye.web.image_fetcher import ImageFetcher

_MAX_URLS = 20_000


class UrlListDownload:
    """Downloads at most one list at a time. Safe from several threads.

    Addresses of private networks are refused: otherwise a page of the studio could be used to
    explore them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._fetcher: ImageFetcher | None = None
        self._counts = CollectCounts()
        self._label, self._total = "", 0
        self._error, self._stopped = "", False

    def start(self, text: str, label: str, folder: Path) -> None:
        """Start to download a list, in the format of `parse_list`, into the folder of a class.

        Raises:
            UsageError: the list has no URL, or too many.
            BusyError: another list is being downloaded.
        """
        from sharpeye.web.image_fetcher import ImageFetcher

        images = _parse_url_list(text)
        with self._lock:
            if self._is_running():
                raise BusyError(f"pictures for {self._label} are still coming; wait, or stop that")
            self._counts, self._fetcher = counts, fetcher = CollectCounts(), ImageFetcher()
            self._label, self._total = label, len(images)
            self._error, self._stopped = "", False

            def download() -> None:
                try:
                    collect_urls(images, folder, fetcher=fetcher, counts=counts)
                except SharpEyeError as error:
                    self._error = str(error)
                except OSError as error:
                    self._error = f"{error.strerror or error}"

            self._thread = threading.Thread(target=download, daemon=True)
            self._thread.start()

    def status(self) -> dict[str, Any]:
        """The progress as a JSON-ready dict."""
        tried, before = self._counts, self._counts.collected_before
        return {
            "running": self._is_running(),
            "label": self._label,
            "total": self._total,
            "done": tried.tries + before,
            "added": tried.counts[ADDED],
            "there": tried.counts[DUPLICATE] + tried.counts[CONFLICT] + before,
            "missing": tried.missing,
            "problems": [{"name": name, "reason": reason} for name, reason in tried.examples],
            "error": self._error,
            "stopped": self._stopped,
        }

    def stop(self) -> None:
        """Cancel the download; received images stay."""
        with self._lock:
            self._stopped = self._is_running()
            if self._fetcher is not None:
                self._fetcher.close()

    def close(self) -> None:
        """Cancel the download and wait for its end."""
        self.stop()
        if self._thread is not None:
            self._thread.join(5)

    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()


def _parse_url_list(text: str) -> list[ListedImage]:
    images = parse_list(text)
    if not any(image.url.startswith(("http://", "https://")) for image in images):
        raise UsageError("no address in it; it needs one a line, http://... or https://...")
    if len(images) > _MAX_URLS:
        raise UsageError(
            f"{len(images):,} addresses are over the limit of {_MAX_URLS:,}; send a part of them, "
            "or run: sharpeye collect urls FILE DIR/CLASS"
        )
    return images
