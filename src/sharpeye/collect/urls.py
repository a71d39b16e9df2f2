"""Images from a list of URLs into a class folder: many at once, few on one host.

What arrived once is not asked for again. What may come with another attempt is tried again after
a pause, or after the one that the server asks for; a host that asks for a pause gets it from all.
"""

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from sharpeye.collect.ingest import ClassFolder
from sharpeye.collect.sources import ADDED, ARRIVED, FAILED, REFUSED, UNKNOWN
from sharpeye.errors import DataError, UsageError
from sharpeye.web.connection import without_password
from sharpeye.web.deadline import NoAnswer
from sharpeye.web.download import MAX_PAUSE_SECONDS, PAUSES_SECONDS
from sharpeye.web.host_queue import HostQueue
from sharpeye.web.image_fetcher import ImageFetcher
from sharpeye.web.urls import tidy_url

log = logging.getLogger(__name__)

Tell = Callable[[str, int, int], None]

MAX_LIST_BYTES = 2**30
_MAX_LINE = 8192  # characters of a URL and its licence
_JOIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A URL, or what stands for one in a list; what may be done with the image."""

    url: str
    licence: str = UNKNOWN


@dataclass
class CollectCounts:
    """What came of many tries.

    Attributes:
        counts: images by status; see `sources.Source`.
        before: URLs left out because something came from them in an earlier run.
        unreached: failures in which no server answered.
        examples: (source, reason) of the first that brought nothing.
    """

    counts: Counter[str] = field(default_factory=Counter)
    before: int = 0
    unreached: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)

    _MAX_EXAMPLES = 20

    @property
    def tries(self) -> int:
        return self.counts.total()

    @property
    def missing(self) -> int:
        """Tries that brought no image, neither a new one nor one that is there already."""
        return sum(count for status, count in self.counts.items() if status not in ARRIVED)

    def count(self, source: str, status: str, reason: str) -> None:
        self.counts[status] += 1
        if status not in ARRIVED and len(self.examples) < self._MAX_EXAMPLES:
            self.examples.append((source, reason))


def read_list(file: Path, licence: str = UNKNOWN) -> list[ListedImage]:
    """The URLs of a text file: one a line, with a licence behind a tab; `#` begins a comment.

    Raises:
        UsageError: no such file.
        DataError: it holds no URL, or is no text.
    """
    try:
        if file.stat().st_size > MAX_LIST_BYTES:
            raise DataError(f"{file} has more than {MAX_LIST_BYTES // 2**20} MiB; split it up")
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(
            f"cannot read {file}: {error.strerror}; give a text file with one URL a line"
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{file} is no text in UTF-8; give a file with one URL a line") from None
    wanted: dict[str, ListedImage] = {}
    for line in lines:
        url, _, own = line.partition("\t")
        url = url.strip()
        if url and not url.startswith("#"):
            own = own.partition("\t")[0].strip()
            wanted.setdefault(url, ListedImage(url, own or licence))
    if not any(each.url.startswith(("http://", "https://")) for each in wanted.values()):
        raise DataError(f"no URL in {file}; it needs one a line, http://HOST/PATH or https://...")
    return [*wanted.values()]


def collect_urls(
    wanted: Iterable[ListedImage],
    folder: Path,
    *,
    web: ImageFetcher,
    tally: CollectCounts,
    most: int = 0,
    threads: int = 16,
    per_host: int = 4,
    tell: Tell = lambda *_: None,
) -> None:
    """Bring what URLs lead to into a class folder.

    Args:
        wanted: no URL twice.
        folder: the class's.
        web: what asks; it is closed if this is interrupted.
        tally: is added to, also if this ends by an error.
        most: stop when so many images were added; 0: take all.
        threads: requests at once.
        per_host: requests to one host at once.
        tell: is told ("collect", done, of how many).

    Raises:
        EnvironmentFault: disk full, no permission. What came before is kept.
    """
    with ClassFolder(folder) as opened:
        _Collector(opened, web, tally, most, tell).run([*wanted], threads, per_host)


@dataclass(slots=True)
class _Task:
    url: str
    licence: str
    tries: int = 0


class _Collector:
    """The threads' common knowledge."""

    def __init__(
        self, folder: ClassFolder, web: ImageFetcher, tally: CollectCounts, most: int, tell: Tell
    ) -> None:
        self._folder, self._web, self._tally, self._most = folder, web, tally, most
        self._tell = tell
        self._lock = threading.Lock()
        # With a limit, one after the other goes through the door: none too many.
        self._gate = threading.Lock() if most else contextlib.nullcontext()
        self._fault: BaseException | None = None

    def run(self, wanted: list[ListedImage], threads: int, per_host: int) -> None:
        turns = HostQueue[_Task](per_host)
        # URLs in the order of the list; hosts take turns, as each has its own line.
        total = sum(self._enter(turns, each) for each in wanted)
        crew = [
            threading.Thread(target=self._work, args=(turns,), daemon=True)
            for _ in range(min(threads, total))
        ]
        try:
            for thread in crew:
                thread.start()
            while any(thread.is_alive() for thread in crew):
                for thread in crew:
                    thread.join(0.1)  # short, so that a signal is seen
                    self._tell("collect", self._tally.tries, total)
        except BaseException:
            turns.stop()
            self._web.close()
            for thread in crew:
                thread.join(_JOIN_SECONDS)
            raise
        if self._fault:
            raise self._fault

    def _enter(self, turns: HostQueue[_Task], wanted: ListedImage) -> int:
        """Put a URL in line, unless it came before or cannot be asked for; returns how many."""
        try:
            if len(wanted.url) > _MAX_LINE:
                raise UsageError(f"a URL of {len(wanted.url):,} characters")
            url = tidy_url(wanted.url)
        except UsageError:
            shown = without_password(wanted.url[:_MAX_LINE])
            reason = "no URL of http or https without a password in it"
            self._missed(_Task(shown, wanted.licence), REFUSED, reason)
            return 0
        if self._folder.arrived(url):
            self._tally.before += 1
            return 0
        turns.put(urlsplit(url).netloc, _Task(url, wanted.licence))
        return 1

    def _work(self, turns: HostQueue[_Task]) -> None:
        try:
            while taken := turns.take():
                host, task = taken
                turns.rest(host, self._web.delay_of(task.url))
                try:
                    self._try(task, host, turns)
                    turns.rest(host, self._web.delay_of(task.url))  # known by now
                finally:
                    turns.done(host)
                if self._is_enough():
                    turns.stop()
        except BaseException as error:  # into the thread that waits for this one
            self._fault = self._fault or error
            turns.stop()

    def _try(self, task: _Task, host: str, turns: HostQueue[_Task]) -> None:
        try:
            data = self._web.get(task.url)
        except NoAnswer as error:
            self._again_or_missed(task, host, turns, error)
            return
        with self._gate:
            if self._is_enough():
                return
            done = self._folder.ingest(data, source=task.url, licence=task.licence)
            with self._lock:
                self._tally.count(task.url, done.status, done.reason)

    def _again_or_missed(
        self, task: _Task, host: str, turns: HostQueue[_Task], error: NoAnswer
    ) -> None:
        if self._web.closed:
            return  # it was broken off here, which says nothing about it
        reason = error.reason
        if error.pause > MAX_PAUSE_SECONDS:
            reason += f", and wants to be asked again in {error.pause:,.0f} s"
        elif error.again and task.tries < len(PAUSES_SECONDS):
            pause = max(PAUSES_SECONDS[task.tries], error.pause)
            if error.pause:
                turns.rest(host, error.pause)
            task.tries += 1
            turns.put(host, task, pause)
            return
        self._missed(task, REFUSED if error.refused else FAILED, reason)
        with self._lock:
            self._tally.unreached += not error.reached and not error.refused

    def _missed(self, task: _Task, status: str, reason: str) -> None:
        self._folder.record(task.url, task.licence, status, reason)
        with self._lock:
            self._tally.count(task.url, status, reason)

    def _is_enough(self) -> bool:
        return bool(self._most) and self._tally.counts[ADDED] >= self._most
