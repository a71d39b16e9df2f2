"""Which training images each step of an epoch takes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.learn.heads.head import class_weights

Ints = npt.NDArray[np.integer[Any]]


class EpochBatches:
    """A new order of the training images for each epoch, the same for the same seed.

    Any epoch can be drawn without those before it, so that a training can go on where it was
    cut off.

    Args:
        truth: int[N], class indices of the training images, below `classes`.
        batch_size: images a step; where an epoch has fewer, a step takes all of them.
        balance: `none` and `weights` take every image once an epoch. `undersample` takes as
            many of each class as the rarest has, others in each epoch; `oversample` as many as
            the largest has: every image equally often, and a draw for what is left over.
            Classes without images do not count.
        seed: 0 or more.

    Attributes:
        batch_size: images a step, as used.
        steps_per_epoch: whole batches only: the images that are left over, fewer than a batch,
            are not taken in that epoch; which ones these are changes with the order.
        weights: float32[N], of each image in the loss; their mean is 1. With `weights` each
            class counts the same, else they are all 1.
    """

    def __init__(self, truth: Ints, classes: int, batch_size: int, balance: str, seed: int) -> None:
        truth = np.asarray(truth, np.int64)
        self._seed = seed
        self._by_class = [own for i in range(classes) if len(own := np.flatnonzero(truth == i))]
        sizes = [len(own) for own in self._by_class] or [0]
        self._per_class = min(sizes) if balance == "undersample" else max(sizes)
        self._balanced = balance in ("undersample", "oversample")
        images = self._per_class * len(self._by_class) if self._balanced else len(truth)
        self._count = len(truth)
        self.batch_size = max(1, min(batch_size, images))
        self.steps_per_epoch = images // self.batch_size
        counted = balance if balance == "weights" else "none"
        present = max(1, len(self._by_class))  # with the empty ones the mean would be below 1
        self.weights = class_weights(truth, present, counted).astype(np.float32)

    def epoch(self, number: int) -> npt.NDArray[np.int32]:
        """int32[steps_per_epoch, batch_size], indices into `truth`, for an epoch from 0."""
        random = np.random.default_rng([self._seed, number])
        pool: Ints = np.arange(self._count)
        if self._balanced and self._by_class:
            pool = np.concatenate([self._share(own, random) for own in self._by_class])
        used = self.steps_per_epoch * self.batch_size
        order = random.permutation(pool)[:used].astype(np.int32)
        return order.reshape(self.steps_per_epoch, self.batch_size)

    def _share(self, own: Ints, random: np.random.Generator) -> Ints:
        """int[per_class]: images of one class, none of them twice more often than another."""
        times, rest = divmod(self._per_class, len(own))
        return np.concatenate([np.tile(own, times), random.permutation(own)[:rest]])
