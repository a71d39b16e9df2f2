"""Choose the training images of each step of an epoch."""

import numpy as np
import numpy.typing as npt

from sharpeye.core.arrays import Ints
from sharpeye.learn.heads.head import class_weights


class EpochBatches:
    """The batches of every epoch, as indices of training images.

    Each epoch has a new order, which follows from the seed and the epoch's number alone: a
    resumed training can draw any epoch without those before it.

    Args:
        targets: int[N], class indices of the training images, below `classes`.
        batch_size: images per step; an epoch with fewer images is one step.
        balance: `none` and `weights` take every image once per epoch. `undersample` takes from
            each class as many images as the rarest class has, others in each epoch.
            `oversample` takes as many as the largest class has: every image equally often, and
            a random draw for the remainder. Classes without images are ignored.
        seed: 0 or more.

    Attributes:
        batch_size: images per step, at most the images of an epoch.
        steps_per_epoch: only full batches count. The images left over, fewer than a batch, are
            not used in that epoch; they are others in each epoch.
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
        weighting = balance if balance == "weights" else "none"
        present = max(1, len(self._by_class))  # Empty classes would bring the mean below 1.
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
        """int[per_class] images of one class; their counts differ by one at most."""
        repeats, rest = divmod(self._per_class, len(indices))
        return np.concatenate([np.tile(indices, repeats), random.permutation(indices)[:rest]])
