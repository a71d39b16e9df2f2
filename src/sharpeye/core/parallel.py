"""Runs work over many images on all cores, in order, with a bounded number in flight.

Each worker decodes an image and runs the graph on it, one after the other, with one thread
inside the graph. Measured on 2 cores this beats a decoding pool in front of a two-threaded graph:
both cores are always busy, and no pixels travel between them (EfficientNet-Lite0: one image a
run is faster than a batch of 32, which falls out of the L2 cache).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sharpeye.core.inference import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

_IN_FLIGHT_PER_WORKER = 8


def parallel_map(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Iterator[tuple[Item, Result]]:
    """Apply `work` to each item on several threads.

    Yields:
        (item, result) in the order of the items. The first error ends the stream; work that has
        not begun is then dropped. So it is if the stream is left early; what has begun is then
        finished by threads that nobody waits for.
    """
    workers = workers or available_cores()
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    left = False
    pool = ThreadPoolExecutor(workers, thread_name_prefix="sharpeye")
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= workers * _IN_FLIGHT_PER_WORKER:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
    except GeneratorExit:
        left = True
        raise
    finally:
        # Who leaves a stream early may do so by dropping it, and the collector may then close it
        # at any point, even inside `threading`: to wait for threads there would wait for ever.
        pool.shutdown(wait=not left, cancel_futures=True)
