"""Choose the training images of each step, and load them one block of steps ahead."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from sharpeye.core.arrays import Array, Floats, Ints
from sharpeye.core.own_code import load_function
from sharpeye.learn.heads.head import class_weights
from sharpeye.learn.nets.augmentation import Augmentation
from sharpeye.learn.nets.engine import StepBatches
from sharpeye.learn.nets.own_augmentation import apply_own_function
from sharpeye.learn.nets.settings import FitSettings, learning_rates
from sharpeye.learn.nets.training_arrays import TrainingArrays

_MAX_BLOCK_BYTES, _MAX_BLOCK_STEPS = 16 * 2**20, 128


class EpochBatches:
    """The batches of every epoch, as indices of training images.

    Each epoch has a new order, which follows from the seed and the epoch's number alone: a
    resumed training can draw any epoch without those before it.

    Args:
        targets: int[N], class indices of the training images, below `classes`.
        batch_size: images per step; an epoch with fewer images is one step, of that size.
        balance: `none` and `weights` take every image once per epoch. `undersample` takes as many
            images from each class as the rarest class has, anew in each epoch. `oversample` takes
            as many as the largest class has: every image equally often, and a random draw for the
            remainder. Classes without images are ignored.
        seed: 0 or more.

    Attributes:
        steps_per_epoch: the number of full batches. The remaining images are not used in that
            epoch; they differ from epoch to epoch.
        weights: float32[N], each image's weight in the loss; their mean is 1. With `weights`
            every class has the same total weight, otherwise all weights are 1.
    """

    def __init__(
        self, targets: Ints, classes: int, *, batch_size: int, balance: str, seed: int
    ) -> None:
        targets = np.asarray(targets, np.int64)
        self._seed = seed
        members = [np.flatnonzero(targets == i) for i in range(classes)]
        self._by_class = [indices for indices in members if len(indices)]
        sizes = [len(indices) for indices in self._by_class] or [0]
        self._per_class = min(sizes) if balance == "undersample" else max(sizes)
        self._balanced = balance in ("undersample", "oversample")
        images = self._per_class * len(self._by_class) if self._balanced else len(targets)
        self._count = len(targets)
        self.batch_size = max(1, min(batch_size, images))
        self.steps_per_epoch = images // self.batch_size
        weighting = balance if balance in ("weights", "effective") else "none"
        present = max(1, len(self._by_class))  # Empty classes would lower the mean below 1.
        self.weights = class_weights(targets, present, weighting).astype(np.float32)

    def epoch(self, number: int) -> npt.NDArray[np.int32]:
        """int32[steps_per_epoch, batch_size]: indices into `targets`; epochs count from 0."""
        random = np.random.default_rng([self._seed, number])
        pool: Ints = np.arange(self._count)
        if self._balanced and self._by_class:
            pool = np.concatenate([self._draw(indices, random) for indices in self._by_class])
        used = self.steps_per_epoch * self.batch_size
        order = random.permutation(pool)[:used].astype(np.int32)
        return order.reshape(self.steps_per_epoch, self.batch_size)

    def _draw(self, indices: Ints, random: np.random.Generator) -> Ints:
        """int[per_class] images of one class; their counts differ by at most one."""
        repeats, rest = divmod(self._per_class, len(indices))
        return np.concatenate([np.tile(indices, repeats), random.permutation(indices)[:rest]])


class BatchLoader:
    """Cuts epochs into `StepBatches`; a thread loads the next ones while an engine trains."""

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
        self._own_name = settings.augment.function
        # Loaded once: the file may be edited during the training.
        self._own = load_function(self._own_name, "--augment")[0] if self._own_name else None
        step_bytes = arrays.pixels[:1].nbytes * batches.batch_size
        self._block_steps = max(1, min(_MAX_BLOCK_STEPS, _MAX_BLOCK_BYTES // step_bytes))

    @property
    def images_per_epoch(self) -> int:
        return self._batches.steps_per_epoch * self._batches.batch_size

    def epoch(self, number: int, planned_epochs: int) -> Iterator[StepBatches]:
        """The blocks of epoch `number`, from 0, of a training of `planned_epochs`."""
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

    def warm_up(self, *, each_length: bool) -> Iterator[StepBatches]:
        """A step at a learning rate of 0, or as many as in each kind of block of an epoch."""
        steps, most = self._batches.steps_per_epoch, self._block_steps
        lengths = {min(steps, most), steps % most} - {0} if each_length else {1}
        for length in sorted(lengths):
            rates, random = np.zeros(length, np.float32), np.random.default_rng(0)
            yield self._load(self._batches.epoch(0)[:length], rates, random)

    def _load(
        self, batches: Ints, rates: npt.NDArray[np.float32], random: np.random.Generator
    ) -> StepBatches:
        arrays, shape = self._arrays, batches.shape
        targets: dict[str, Array] = {
            "label": arrays.targets["train"][batches].astype(np.int32),
            "weight": self._batches.weights[batches],
        }
        if arrays.teacher_probs is not None:
            targets["teacher"] = arrays.teacher_probs[batches]
        boxes: Floats | None = None
        if arrays.boxes:
            boxes = arrays.boxes["train"][batches.ravel()]
            targets["box"] = boxes.reshape(*shape, 4)
        draws = self._augmentation.draw(batches.size, random, boxes)
        images = arrays.pixels[arrays.indices["train"][batches]]
        if self._own:
            images = apply_own_function(self._own, self._own_name, images, random=random)
        return StepBatches(
            images=images,
            targets=targets,
            learning_rates=rates,
            draws={name: array.reshape(*shape, *array.shape[1:]) for name, array in draws.items()},
        )
