"""The memory that all decodes of this process share: a semaphore weighted by estimated bytes.

Each core runs a thread that decodes (`core.parallel`, the server's workers), and an image may be
large. Without a common budget, 16 threads that meet 16 large images hold 16 times the memory of
one. A decode reserves its estimated peak before it starts; when it has ended, the pixels that it
returns stay reserved until the image is dropped.
"""

import itertools
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sharpeye.core.inference import available_cores
from sharpeye.core.memory import map_large_blocks
from sharpeye.images.decode_limits import MB, limits_in_force

# Enough for a 12-megapixel photograph on every core at once, with its rotation on some.
BYTES_PER_CORE = 64 * MB
# Decodes below it are not counted, so that small images cost nothing: 16 of them are 64 MB.
_UNCOUNTED_BYTES = 4 * MB
# Pixels of an image that is held for longer belong to the caller, who may keep it for ever; no
# other thread waits for them. Fitting an image into a model's input takes less than a second.
_SECONDS_COUNTED = 5.0
# So often may later decodes pass one that waits for more memory than there is at the moment.
_MAX_OVERTAKEN = 64


class BudgetTimeout(Exception):
    """Other decodes held the memory for too long. It never leaves the decoder."""


class Reservation:
    """Bytes that a thread holds; `until` is the time from which they no longer count."""

    __slots__ = ("amount", "overtaken", "thread", "until", "waiting")

    def __init__(self, amount: int, thread: int) -> None:
        self.amount, self.thread = amount, thread
        self.until, self.waiting, self.overtaken = float("inf"), True, 0


class MemoryBudget:
    """A weighted semaphore in order of arrival, which never blocks for ever.

    A request that does not fit waits until others end. It never waits for what its own thread
    holds, nor if all other holders wait themselves: one decode at a time always runs, however
    large, and a decode inside of another one cannot wait for it.
    """

    def __init__(self, total: int | None = None) -> None:
        self._total = total
        # Reentrant: an image may be collected, and so give its bytes back, at any point.
        self._changed = threading.Condition(threading.RLock())
        self._reservations: dict[int, Reservation] = {}  # by number, in order of arrival
        self._numbers = itertools.count()

    @property
    def total(self) -> int:
        """The budget in bytes: one image of the largest size, or an ordinary one on each core."""
        if self._total is not None:
            return self._total
        limits = limits_in_force()
        if limits.budget_bytes is not None:
            return limits.budget_bytes
        return max(limits.memory_bytes, BYTES_PER_CORE * available_cores())

    @property
    def reserved(self) -> int:
        """Bytes that are in use now."""
        with self._changed:
            return sum(r.amount for r in list(self._reservations.values()) if not r.waiting)

    @contextmanager
    def reserve(self, amount: int, wait_seconds: float | None = None) -> Iterator[int]:
        """Hold `amount` bytes while the block runs; yields a number for `keep_for`.

        Raises:
            BudgetTimeout: other decodes held the memory for longer than `wait_seconds`.
        """
        if amount < _UNCOUNTED_BYTES:
            yield -1
            return
        map_large_blocks()
        number = self._acquire(amount, wait_seconds)
        try:
            yield number
        finally:
            with self._changed:
                held = self._reservations.get(number)
                if held is not None and held.until == float("inf"):
                    self._release(number)

    def keep_for(self, number: int, image: Any, amount: int) -> None:
        """Lower a reservation to the bytes of its result, held until that is dropped."""
        with self._changed:
            reservation = self._reservations.get(number)
            if reservation is None:
                return
            reservation.amount = min(reservation.amount, amount)
            reservation.until = time.monotonic() + _SECONDS_COUNTED
            self._changed.notify_all()
        weakref.finalize(image, self._release, number).atexit = False

    def _acquire(self, amount: int, wait_seconds: float | None) -> int:
        deadline = None if wait_seconds is None else time.monotonic() + wait_seconds
        total, request = self.total, Reservation(amount, threading.get_ident())
        with self._changed:
            number = next(self._numbers)
            self._reservations[number] = request
            try:
                while not self._fits(number, request, total):
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        raise BudgetTimeout
                    # Not only when notified: reservations also expire.
                    self._changed.wait(0.2 if left is None else min(left, 0.2))
            except BaseException:
                self._release(number)
                raise
            request.waiting = False
            for earlier, other in list(self._reservations.items()):
                other.overtaken += earlier < number and other.waiting
        return number

    def _fits(self, number: int, request: Reservation, total: int) -> bool:
        now = time.monotonic()
        for key, held in list(self._reservations.items()):
            if held.until < now:
                del self._reservations[key]
        others = [r for r in self._reservations.values() if r.thread != request.thread]
        first = not any(
            earlier < number and other.waiting and other.thread != request.thread
            and other.overtaken >= _MAX_OVERTAKEN
            for earlier, other in list(self._reservations.items())
        )  # fmt: skip
        blocked = {other.thread for other in others if other.waiting}
        used = sum(other.amount for other in others if not other.waiting)
        if first and used + request.amount <= total:
            return True
        running = any(other.thread not in blocked for other in others if not other.waiting)
        oldest = all(earlier >= number for earlier, r in self._reservations.items() if r.waiting)
        return not running and oldest

    def _release(self, number: int) -> None:
        with self._changed:
            if self._reservations.pop(number, None) is not None:
                self._changed.notify_all()


BUDGET = MemoryBudget()
