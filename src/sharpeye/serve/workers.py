"""Predict the images of all requests by one queue and one worker thread per core.

Images of concurrent requests share one queue, but they are not batched. A worker decodes an image
and runs the graph on it with one thread; that is faster than batches of 32 on all cores (see
`core.parallel`), no request waits for a batch to fill, and the outputs for an image are the same
bits under any load. A single image uses all cores: a second session of the same graph runs it with
a thread per core.

Large images have a queue of their own, see `large_images`.
"""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from sharpeye.core.inference import available_cores
from sharpeye.errors import ImageReadError, UsageError
from sharpeye.predict.predictor import Model, PredictResult, UnreadableImage
from sharpeye.serve.large_images import LargeImageQueue, large_image_bytes
from sharpeye.serve.pixel_inputs import describe_raw_pixels
from sharpeye.serve.predict_request import ImageInput

Result = TypeVar("Result")


class Workers:
    """The worker threads. All methods but those for workers belong to the event loop's thread."""

    def __init__(self, model: Model, all_cores_model: Model | None = None, count: int = 0) -> None:
        self._model, self._all_cores_model = model, all_cores_model or model
        self._count = count or available_cores()
        self._active = 0
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="sharpeye")
        self._large_images = LargeImageQueue(self._count)
        # One parser thread bounds the memory into which hostile JSON can expand.
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="sharpeye-parser")

    def warm_up(self) -> None:
        """Predict once with each session: the first run of a graph is slow."""
        blank = np.zeros((self._model.input.height, self._model.input.width, 3), np.uint8)
        for model in {id(m): m for m in (self._model, self._all_cores_model)}.values():
            model.predict(blank)

    def close(self) -> None:
        """Drop the queued work."""
        self._large_images.close()
        for pool in (self._pool, self._parser):
            pool.shutdown(wait=False, cancel_futures=True)

    async def parse(self, work: Callable[[], Result]) -> Result:
        """Parse a large body in the parser thread, so that the event loop stays free."""
        return await asyncio.get_running_loop().run_in_executor(self._parser, work)

    async def predict(
        self, images: list[ImageInput | UnreadableImage], top: int
    ) -> list[PredictResult]:
        """Predict the images of one request, in their order.

        A request has at most as many images in the queue as there are workers, so that a request of
        one image never waits for all images of a large one. Cancelling drops queued work.

        Raises:
            RequestRefused: too many large images are waiting.
        """
        if len(images) == 1:
            return [await self._enqueue(images[0], top)]
        results: dict[int, PredictResult] = {}
        remaining = iter(enumerate(images))

        async def predict_next() -> None:
            for number, image in remaining:
                results[number] = await self._enqueue(image, top)

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(self._count, len(images))):
                    tasks.create_task(predict_next())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return [results[number] for number in range(len(images))]

    async def _enqueue(self, image: ImageInput | UnreadableImage, top: int) -> PredictResult:
        if isinstance(image, UnreadableImage):
            return image
        loop = asyncio.get_running_loop()
        self._active += 1
        try:
            result = await loop.run_in_executor(self._pool, self._predict_ordinary, image, top)
            if isinstance(result, int):
                work = functools.partial(self._predict, image, top)
                result = await self._large_images.run(work, result)
            return result
        finally:
            self._active -= 1

    def _predict_ordinary(self, image: ImageInput, top: int) -> PredictResult | int:
        """Predict an image in a worker; for a large image, the bytes that it takes to decode."""
        cost = large_image_bytes(image.source) if isinstance(image.source, bytes) else 0
        return cost or self._predict(image, top)

    def _predict(self, image: ImageInput, top: int) -> PredictResult:
        model = self._all_cores_model if self._active == 1 else self._model
        try:
            return replace(model.predict(image.source, top), path=image.name)
        except ImageReadError as error:
            return UnreadableImage(image.name, self._describe(image.source, error))
        except UsageError as error:
            return UnreadableImage(image.name, str(error))
        except MemoryError:
            return UnreadableImage(image.name, "it needs more memory than there is")

    def _describe(self, source: Any, error: ImageReadError) -> str:
        is_file = isinstance(source, bytes)
        raw = describe_raw_pixels(source, self._model.input) if is_file else None
        return f"{error.reason}; {raw}" if raw else error.reason
