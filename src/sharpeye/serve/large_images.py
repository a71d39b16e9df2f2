"""A queue of their own for large images, which must not delay ordinary ones.

A photo of 50 megapixels takes a second, in which a hundred ordinary images can be answered, and a
file of some kilobytes may hold so many pixels. Their threads have a lower priority, their number is
bounded, and they start only when there is memory for them, so that they never wait inside of the
decoder's own budget, where ordinary images would have to wait behind them.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sharpeye.core.memory import release_freed_memory
from sharpeye.errors import ImageReadError
from sharpeye.images.decode_limits import MB, limits_in_force
from sharpeye.images.decode_memory import estimate_bytes
from sharpeye.images.memory_budget import BUDGET
from sharpeye.images.open_image import open_checked
from sharpeye.serve.limits import RETRY_AFTER, RequestRefused

Result = TypeVar("Result")

# An ordinary image takes at most about 50 ms: a JPEG has 4 bytes a pixel, hence 4 megapixels.
_ORDINARY_BYTES = 16 * MB
# Added to the priority of the threads: ordinary images get about nine times their processor time.
_NICENESS = 10
# Images that wait or are decoded. More would wait for longer than a request may take.
_MAX_COUNT = 16


def large_image_bytes(data: bytes) -> int:
    """Estimated bytes for decoding a file, from its header; 0 if it is an ordinary image.

    A file that is refused by its header costs nothing, and is none, too.
    """
    limits = limits_in_force()
    try:
        with open_checked(data, "the image", limits) as (image, format_):
            estimate = estimate_bytes(image, data, format_)
    except ImageReadError:
        return 0
    return estimate if _ORDINARY_BYTES < estimate <= limits.memory_bytes else 0


class LargeImageQueue:
    """Runs work on large images in order of arrival. It belongs to the event loop's thread.

    Args:
        workers: number of threads; as many others decode ordinary images.
    """

    def __init__(self, workers: int) -> None:
        self._free_bytes = BUDGET.total - workers * _ORDINARY_BYTES
        self._count = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._pool = ThreadPoolExecutor(
            workers, thread_name_prefix="sharpeye-large", initializer=_lower_priority
        )

    async def run(self, work: Callable[[], Result], cost: int) -> Result:
        """Do some work that takes `cost` bytes, when they are free.

        Raises:
            RequestRefused: too many images are waiting.
        """
        if self._count >= _MAX_COUNT:
            text = f"{_MAX_COUNT} large images are waiting; try again later, or send smaller ones"
            raise RequestRefused(503, text, RETRY_AFTER)
        self._count += 1
        try:
            await self._reserve(cost)
        except BaseException:
            self._count -= 1
            raise
        loop = asyncio.get_running_loop()

        def end(_: "Future[Result]") -> None:
            with contextlib.suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(self._end, cost)

        future = self._pool.submit(_run_and_trim, work)
        future.add_done_callback(end)  # a request that is given up leaves its thread at work
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drop the queued work."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _reserve(self, cost: int) -> None:
        if self._waiting or cost > self._free_bytes:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (cost, turn)
            self._waiting.append(entry)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.cancelled():
                    self._waiting.remove(entry)
                else:  # its turn came at the same time
                    self._free_bytes += cost
                self._start_waiting()
                raise
        else:
            self._free_bytes -= cost

    def _end(self, cost: int) -> None:
        self._count -= 1
        self._free_bytes += cost
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free_bytes:
            cost, turn = self._waiting.popleft()
            self._free_bytes -= cost
            turn.set_result(None)


def _run_and_trim(work: Callable[[], Result]) -> Result:
    try:
        return work()
    finally:
        release_freed_memory()


def _lower_priority() -> None:
    """Let other threads run first. Only Linux has priorities of threads."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
