"""Answers the images of all requests: one queue, a worker a core.

Images of concurrent requests are collected in one queue, but not stacked into one tensor. A
worker decodes an image and runs the graph on it with one thread; that is faster than batches of
32 on all cores (see `core.parallel`), makes nobody wait for a batch to fill, and gives each
image the same bits whatever else is asked. An image that is alone has all cores to itself: a
second session of the same graph runs it with a thread a core.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np

from sharpeye.core.inference import available_cores
from sharpeye.errors import ImageReadError, UsageError
from sharpeye.predict.predictor import Model, UnreadableImage
from sharpeye.serve.requests import Answer, ImageInput

Result = TypeVar("Result")


class Workers:
    """The workers. All methods but `_work` belong to the event loop's thread.

    Args:
        model: answers with one thread a run.
        alone: the same model with a thread a core.
        workers: images at once; 0 is one a core.
    """

    def __init__(self, model: Model, alone: Model | None = None, workers: int = 0) -> None:
        self._together, self._alone = model, alone or model
        self._workers = workers or available_cores()
        self._inside = 0
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="sharpeye")
        # One reader: what hostile JSON grows into then lies in memory once.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="sharpeye-reader")

    def warm_up(self) -> None:
        """Answer once with each session: the first run of a graph is slow."""
        size = (self._together.input.height, self._together.input.width, 3)
        for model in {id(m): m for m in (self._together, self._alone)}.values():
            model.predict(np.zeros(size, np.uint8))

    def close(self) -> None:
        """Drop what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._reader.shutdown(wait=False, cancel_futures=True)

    async def read(self, work: Callable[[], Result]) -> Result:
        """Do what takes long but is no image, out of the event loop's way."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, work)

    async def answer(self, items: list[ImageInput | UnreadableImage], top: int) -> list[Answer]:
        """Answer for the images of one request, in their order.

        At most as many as there are workers are in the queue at once, so that a request of one
        image never waits behind all of a request of many. A cancelled call drops what has not
        begun.
        """
        if len(items) == 1:
            return [await self._one(items[0], top)]
        answers: dict[int, Answer] = {}
        todo = iter(enumerate(items))

        async def lane() -> None:
            for number, item in todo:
                answers[number] = await self._one(item, top)

        async with asyncio.TaskGroup() as lanes:
            for _ in range(min(self._workers, len(items))):
                lanes.create_task(lane())
        return [answers[number] for number in range(len(items))]

    async def _one(self, item: ImageInput | UnreadableImage, top: int) -> Answer:
        if isinstance(item, UnreadableImage):
            return item
        self._inside += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._work, item, top)
        finally:
            self._inside -= 1

    def _work(self, image: ImageInput, top: int) -> Answer:
        model = self._alone if self._inside == 1 else self._together
        try:
            return replace(model.predict(image.source, top), path=image.name)
        except ImageReadError as error:
            return UnreadableImage(image.name, error.reason)
        except UsageError as error:
            return UnreadableImage(image.name, str(error))
        except MemoryError:
            return UnreadableImage(image.name, "it needs more memory than there is")
