"""A task queue for several threads, with a concurrency limit and pauses per host."""

import heapq
import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Task = TypeVar("Task")


@dataclass
class _Host(Generic[Task]):
    # A heap of (earliest time, order of `put`, task); all times are by the monotonic clock.
    waiting: list[tuple[float, int, Task]] = field(default_factory=list)
    running: int = 0  # number of tasks that were taken and are not done
    free_at: float = 0.0  # time of the next allowed request


class HostQueue(Generic[Task]):
    """A queue of tasks, each for one host; at most `per_host` tasks of a host run at once."""

    def __init__(self, per_host: int) -> None:
        self._per_host = per_host
        self._hosts: dict[str, _Host[Task]] = {}
        # A heap of (time, order, host): hosts by the earliest time of a task. A host may be in it
        # more than once, so `_take_from` checks again.
        self._ready: list[tuple[float, int, str]] = []
        self._order = itertools.count()
        self._unfinished = 0  # number of waiting and running tasks
        self._stopped = False
        self._changed = threading.Condition()

    def put(self, host: str, task: Task, seconds: float = 0.0) -> None:
        """Add a task, to be taken after at least so many seconds."""
        with self._changed:
            entry = self._hosts.setdefault(host, _Host())
            heapq.heappush(entry.waiting, (time.monotonic() + seconds, next(self._order), task))
            self._unfinished += 1
            self._offer(host, entry)

    def take(self) -> tuple[str, Task] | None:
        """Wait for (host, task), after which to call `done(host)`; None at the end."""
        with self._changed:
            while self._unfinished and not self._stopped:
                pause = None
                if self._ready:
                    pause = self._ready[0][0] - time.monotonic()
                    if pause <= 0:
                        host_and_task = self._take_from(heapq.heappop(self._ready)[2])
                        if host_and_task:
                            return host_and_task
                        continue
                self._changed.wait(pause)
            return None

    def done(self, host: str) -> None:
        """Count a taken task as done; to retry it, `put` it again first."""
        with self._changed:
            entry = self._hosts[host]
            entry.running -= 1
            self._unfinished -= 1
            self._offer(host, entry)
            if not entry.waiting and not entry.running:
                del self._hosts[host]
            self._changed.notify_all()

    def pause(self, host: str, seconds: float) -> None:
        """Hold back all tasks of a host for a while."""
        with self._changed:
            entry = self._hosts.setdefault(host, _Host())
            entry.free_at = max(entry.free_at, time.monotonic() + seconds)

    def stop(self) -> None:
        """Hold back all tasks for good."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _take_from(self, host: str) -> tuple[str, Task] | None:
        entry = self._hosts.get(host)
        if entry is None or not entry.waiting or entry.running >= self._per_host:
            return None
        if max(entry.waiting[0][0], entry.free_at) > time.monotonic():
            self._offer(host, entry)  # `pause` was called after the offer
            return None
        task = heapq.heappop(entry.waiting)[2]
        entry.running += 1
        self._offer(host, entry)
        return host, task

    def _offer(self, host: str, entry: _Host[Task]) -> None:
        if entry.waiting and entry.running < self._per_host:
            due = max(entry.waiting[0][0], entry.free_at)
            heapq.heappush(self._ready, (due, next(self._order), host))
            self._changed.notify()
