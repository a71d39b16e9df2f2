"""Whose turn it is: many tasks at once, but few on one host, and none on a host that wants rest."""

import heapq
import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Task = TypeVar("Task")


@dataclass
class _Host(Generic[Task]):
    waiting: list[tuple[float, int, Task]] = field(
        default_factory=list
    )  # (not before, order, task)
    running: int = 0
    free_at: float = 0.0  # by the monotonic clock


class HostQueue(Generic[Task]):
    """A queue of tasks that several threads take from.

    Args:
        per_host: at most this many tasks of one host are out at once.
    """

    def __init__(self, per_host: int) -> None:
        self._per_host = per_host
        self._hosts: dict[str, _Host[Task]] = {}
        self._line: list[tuple[float, int, str]] = []  # hosts by when one of their tasks may run
        self._order = itertools.count()
        self._open = 0  # tasks that wait or are out
        self._stopped = False
        self._changed = threading.Condition()

    def put(self, host: str, task: Task, seconds: float = 0.0) -> None:
        """Add a task, to be taken so many seconds from now at the earliest."""
        with self._changed:
            entry = self._hosts.setdefault(host, _Host())
            heapq.heappush(entry.waiting, (time.monotonic() + seconds, next(self._order), task))
            self._open += 1
            self._offer(host, entry)

    def take(self) -> tuple[str, Task] | None:
        """Wait for a task; None when all are done, or after `stop`."""
        with self._changed:
            while self._open and not self._stopped:
                pause = None
                if self._line:
                    pause = self._line[0][0] - time.monotonic()
                    if pause <= 0:
                        taken = self._take_of(heapq.heappop(self._line)[2])
                        if taken:
                            return taken
                        continue
                self._changed.wait(pause)
            return None

    def _take_of(self, host: str) -> tuple[str, Task] | None:
        entry = self._hosts.get(host)
        if entry is None or not entry.waiting or entry.running >= self._per_host:
            return None
        if max(entry.waiting[0][0], entry.free_at) > time.monotonic():
            self._offer(host, entry)  # it wanted rest after it had got in line
            return None
        task = heapq.heappop(entry.waiting)[2]
        entry.running += 1
        self._offer(host, entry)
        return host, task

    def done(self, host: str) -> None:
        """What was taken is done; what is to be done again was put before."""
        with self._changed:
            entry = self._hosts[host]
            entry.running -= 1
            self._open -= 1
            self._offer(host, entry)
            if not entry.waiting and not entry.running:
                del self._hosts[host]
            self._changed.notify_all()

    def rest(self, host: str, seconds: float) -> None:
        """Leave a host alone for a while."""
        with self._changed:
            entry = self._hosts.setdefault(host, _Host())
            entry.free_at = max(entry.free_at, time.monotonic() + seconds)

    def stop(self) -> None:
        """Let nobody take any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _offer(self, host: str, entry: _Host[Task]) -> None:
        """Put a host in line, where it may stand more than once: `_take_of` looks again."""
        if entry.waiting and entry.running < self._per_host:
            due = max(entry.waiting[0][0], entry.free_at)
            heapq.heappush(self._line, (due, next(self._order), host))
            self._changed.notify()
