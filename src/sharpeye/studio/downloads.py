"""Images from a list of URLs into a class, while the page shows how far it is."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.collect.sources import ADDED, CONFLICT, DUPLICATE, CollectCounts
from sharpeye.collect.url_downloads import collect_urls
from sharpeye.collect.url_list import ListedImage
from sharpeye.errors import BusyError, SharpEyeError, UsageError

if TYPE_CHECKING:
    from sharpeye.web.image_fetcher import ImageFetcher

MAX_URLS = 20_000


class Downloads:
    """At most one list is being worked off. Used by several threads.

    Private networks are not asked: a page of the studio could else be made to look around there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._web: ImageFetcher | None = None
        self._tally = CollectCounts()
        self._label, self._total = "", 0
        self._error, self._stopped = "", False

    def start(self, text: str, label: str, folder: Path) -> int:
        """Begin with a list.

        Args:
            text: a URL a line, with a licence behind a tab; `#` begins a comment.
            label: the class, to be shown.
            folder: its folder.

        Returns:
            how many URLs there are.

        Raises:
            UsageError: there is no URL in it, or there are too many.
            BusyError: another list is being worked off.
        """
        from sharpeye.web.image_fetcher import ImageFetcher

        wanted = urls_in(text)
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                raise BusyError(f"pictures for {self._label} are still coming; wait, or stop that")
            self._tally, self._web = tally, web = CollectCounts(), ImageFetcher()
            self._label, self._total = label, len(wanted)
            self._error, self._stopped = "", False
            self._thread = threading.Thread(
                target=self._run, args=(wanted, folder, web, tally), daemon=True
            )
            self._thread.start()
        return len(wanted)

    def told(self) -> dict[str, Any]:
        """How far it is, as JSON."""
        counts = self._tally.counts
        return {
            "running": self._thread is not None and self._thread.is_alive(),
            "label": self._label,
            "total": self._total,
            "done": self._tally.tries + self._tally.before,
            "added": counts[ADDED],
            "there": counts[DUPLICATE] + counts[CONFLICT] + self._tally.before,
            "missing": sum(counts.values()) - counts[ADDED] - counts[DUPLICATE] - counts[CONFLICT],
            "problems": [
                {"name": source, "reason": reason} for source, reason in self._tally.examples
            ],
            "error": self._error,
            "stopped": self._stopped,
        }

    def stop(self) -> None:
        """Break off; what came stays."""
        with self._lock:
            self._stopped = self._thread is not None and self._thread.is_alive()
            if self._web is not None:
                self._web.close()

    def close(self) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join(5)

    def _run(
        self, wanted: list[ListedImage], folder: Path, web: "ImageFetcher", tally: CollectCounts
    ) -> None:
        try:
            collect_urls(wanted, folder, fetcher=web, counts=tally)
        except SharpEyeError as error:
            self._error = str(error)
        except OSError as error:
            self._error = f"{error.strerror or error}"


def urls_in(text: str) -> list[ListedImage]:
    """The URLs of a text.

    Raises:
        UsageError: there is none, or there are too many.
    """
    wanted: dict[str, ListedImage] = {}
    for line in text.splitlines():
        url, _, licence = line.partition("\t")
        url = url.strip()
        if url and not url.startswith("#"):
            wanted.setdefault(
                url, ListedImage(url, licence.partition("\t")[0].strip() or "unknown")
            )
    if not any(url.startswith(("http://", "https://")) for url in wanted):
        raise UsageError("no address in it; it needs one a line, http://... or https://...")
    if len(wanted) > MAX_URLS:
        raise UsageError(
            f"{len(wanted):,} addresses are over the limit of {MAX_URLS:,}; send a part of them, "
            "or run: sharpeye collect urls FILE DIR/CLASS"
        )
    return [*wanted.values()]
