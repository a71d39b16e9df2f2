"""Gather the images, targets and random draws of each step, one block of steps ahead."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from sharpeye.core.arrays import Array, Floats, Ints
from sharpeye.learn.nets.augment import Augmentation
from sharpeye.learn.nets.batches import EpochBatches
from sharpeye.learn.nets.engine import StepBatches
from sharpeye.learn.nets.learning_rates import learning_rates
from sharpeye.learn.nets.settings import FitSettings
from sharpeye.learn.nets.training_arrays import TrainingArrays

_MAX_BLOCK_BYTES, _MAX_BLOCK_STEPS = 16 * 2**20, 128


class BatchLoader:
    """Cuts epochs into `StepBatches` for an engine.

    A thread gathers the next block of steps while the engine trains on the current one.
    """

    def __init__(
        self,
        arrays: TrainingArrays,
        batches: EpochBatches,
        augmentation: Augmentation,
        *,
        settings: FitSettings,
    ) -> None:
        self._arrays, self._batches = arrays, batches
        self._augmentation, self._settings = augmentation, settings
        step_bytes = arrays.pixels[:1].nbytes * batches.batch_size
        self._block_steps = max(1, min(_MAX_BLOCK_STEPS, _MAX_BLOCK_BYTES // step_bytes))

    def epoch(self, number: int, planned_epochs: int) -> Iterator[StepBatches]:
        """The blocks of an epoch, counted from 0, of a training of `planned_epochs`."""
        batches = self._batches.epoch(number)
        random = np.random.default_rng([self._settings.seed, number, 1])
        total_steps = planned_epochs * len(batches)

        def load(start: int) -> StepBatches:
            block = batches[start : start + self._block_steps]
            first = number * len(batches) + start
            rates = learning_rates(self._settings, range(first, first + len(block)), total_steps)
            return self._load(block, rates, random)

        with ThreadPoolExecutor(1, thread_name_prefix="batch-loader") as pool:
            upcoming = pool.submit(load, 0)
            for start in range(0, len(batches), self._block_steps):
                block = upcoming.result()
                if start + self._block_steps < len(batches):
                    upcoming = pool.submit(load, start + self._block_steps)
                yield block

    def first_step(self) -> StepBatches:
        """The first step of the training, at a learning rate of 0."""
        batches = self._batches.epoch(0)[:1]
        return self._load(batches, np.zeros(1, np.float32), np.random.default_rng(0))

    def _load(
        self, batches: Ints, rates: npt.NDArray[np.float32], random: np.random.Generator
    ) -> StepBatches:
        arrays, shape = self._arrays, batches.shape
        targets: dict[str, Array] = {
            "label": arrays.targets["train"][batches].astype(np.int32),
            "weight": self._batches.weights[batches],
        }
        boxes: Floats | None = None
        if arrays.boxes:
            boxes = arrays.boxes["train"][batches.ravel()]
            targets["box"] = boxes.reshape(*shape, 4)
        draws = self._augmentation.draw(batches.size, random, boxes)
        return StepBatches(
            images=arrays.pixels[arrays.indices["train"][batches]],
            targets=targets,
            learning_rates=rates,
            draws={name: array.reshape(*shape, *array.shape[1:]) for name, array in draws.items()},
        )
