"""Fit a softmax layer on frozen features by plain stochastic gradient descent.

This is the procedure of TensorFlow-for-Poets' retrain.py: a constant learning rate, batches that
draw a class first and then one of its images, and initial weights near 0. `head.py` finds a better
layer in less time; this module is for users who want the same procedure and curves.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sharpeye.core.arrays import Floats, Ints
from sharpeye.core.blas_threads import limit_blas_threads
from sharpeye.core.config import SgdConfig
from sharpeye.core.inference import Backbone
from sharpeye.core.types import SampleSet
from sharpeye.errors import DivergedError
from sharpeye.learn.heads.head import FittedHead, Head
from sharpeye.learn.heads.logistic import NOT_FINITE

_INITIAL_DEVIATION = 0.001
_CHUNK_STEPS = 256  # steps whose images are drawn at once


@dataclass(frozen=True, slots=True)
class BatchScores:
    """Logits and probabilities of the layer on some images, both float32[N,C], the accuracy 0..1,
    and the log loss in nats.
    """

    logits: Floats
    probs: Floats
    accuracy: float
    log_loss: float

    @property
    def count(self) -> int:
        return len(self.logits)


@dataclass(frozen=True, slots=True)
class SgdStep:
    """One step, as callbacks receive it.

    Attributes:
        number: from 0.
        weights, bias: float32[D,C] and float32[C], which the next step changes in place.
        batch: the training batch, before the step.
        after, validation: the same batch after the step, and validation images; None except in
            every `eval_every`-th step and the last one.
    """

    number: int
    weights: Floats
    bias: Floats
    batch: BatchScores
    after: BatchScores | None
    validation: BatchScores | None

    def head(self) -> Head:
        """A copy of the layer after the step."""
        return Head(
            self.weights.copy(), self.bias.copy(), temperature=1.0, l2=0.0, square_root=False
        )


class StepCallback(Protocol):
    """Follows the steps of `fit_sgd`."""

    def begin(self, backbone: Backbone, samples: SampleSet) -> None:
        """Called after the features are extracted, before the first step."""

    def step(self, step: SgdStep) -> None:
        """Called after each step."""


class BatchSampler:
    """Draws the training images of each step; equal seeds give equal draws.

    Args:
        balance: `none` draws an image; all others draw a class first and then one of its images.
        views: the largest number of views of an image; 0 for the image itself alone.
    """

    def __init__(
        self,
        targets: Ints,
        classes: int,
        config: SgdConfig,
        *,
        seed: int,
        balance: str,
        views: int = 0,
    ) -> None:
        self.targets, self.classes, self.config, self.seed = targets, classes, config, seed
        self._balanced = balance != "none"
        self._draw_balanced = _class_balanced(targets)
        self._views: Ints | None = None
        if views:  # An image has at most as many views as draws.
            drawn = np.zeros(len(targets), np.int64)
            for images, _ in self._chunks():
                drawn += np.bincount(images.ravel(), minlength=len(targets))
            self._views = np.clip(drawn, 1, views)

    def __iter__(self) -> Iterator[tuple[Ints, Ints]]:
        """Yield for each step images int[B], below N, and their views int[B], 0 for the image."""
        for images, views in self._chunks():
            yield from zip(images, views, strict=True)

    def _chunks(self) -> Iterator[tuple[Ints, Ints]]:
        for chunk, start in enumerate(range(0, self.config.steps, _CHUNK_STEPS)):
            random = np.random.default_rng((self.seed, chunk))
            shape = (min(_CHUNK_STEPS, self.config.steps - start), self.config.batch_size)
            if self._balanced:
                images = self._draw_balanced(random, shape)
            else:
                images = random.integers(0, len(self.targets), shape)
            views = np.zeros(shape, np.int64)
            if self._views is not None:
                views = 1 + (random.random(shape) * self._views[images]).astype(np.int64)
            yield images, views

    def images_by_view(self) -> dict[int, Ints]:
        """int[M] by view: the images that need the view, ascending."""
        unique = np.empty(0, np.int64)
        for images, views in self._chunks():
            unique = np.union1d(unique, (views << 32) + images)
        views, images = unique >> 32, unique & (2**32 - 1)
        return {int(view): images[views == view] for view in np.unique(views)}


@limit_blas_threads()
def fit_sgd(
    sampler: BatchSampler,
    features_by_view: Mapping[int, tuple[Ints, Floats]],
    validation: Floats,
    *,
    validation_targets: Ints,
    callbacks: Sequence[StepCallback] = (),
) -> FittedHead:
    """Take all the steps.

    Args:
        features_by_view: by view, the training images int[M] and their features float32[M,D].
        validation: float32[V,D].

    Raises:
        DivergedError: the features or the logits are not finite.
    """
    started, config = time.perf_counter(), sampler.config
    features, index_of = _stack(features_by_view, len(sampler.targets))
    if not np.isfinite(features).all() or not np.isfinite(validation).all():
        raise DivergedError(NOT_FINITE)
    # The sampler's generators have the lower numbers, one per chunk.
    random = np.random.default_rng((sampler.seed, 2**31))
    weights = _truncated_normal(random, (features.shape[1], sampler.classes))
    bias = np.zeros(sampler.classes, np.float32)
    one_hot = np.eye(sampler.classes, dtype=np.float32)
    draw_validation = _class_balanced(validation_targets)
    chosen: Ints = np.arange(len(validation_targets))
    history = []
    for number, (images, views) in enumerate(sampler):
        x, y = features[index_of[views, images]], sampler.targets[images]
        batch = _score(x @ weights + bias, y)
        gradient = (batch.probs - one_hot[y]) * np.float32(config.learning_rate / len(y))
        weights -= x.T @ gradient
        bias -= gradient.sum(axis=0)
        after = held_out = None
        if number % config.eval_every == 0 or number + 1 == config.steps:
            after = _score(x @ weights + bias, y)
            if config.validation_batch:
                chosen = draw_validation(random, (config.validation_batch,))
            held_out = _score(validation[chosen] @ weights + bias, validation_targets[chosen])
            _require_finite(after, config)
            history.append(_history_row(number, after, held_out, started=started))
        step = SgdStep(number, weights, bias, batch, after, held_out)
        for callback in callbacks:
            callback.step(step)
    head = step.head()
    return FittedHead(head, head, out_of_fold_probs=None, history=tuple(history))


def _class_balanced(targets: Ints) -> Callable[[np.random.Generator, tuple[int, ...]], Ints]:
    """A function that draws images with replacement, from each class equally often."""
    order = np.argsort(targets, kind="stable")
    _, starts, counts = np.unique(targets[order], return_index=True, return_counts=True)

    def draw(random: np.random.Generator, shape: tuple[int, ...]) -> Ints:
        classes = random.integers(0, len(counts), shape)
        within = (random.random(shape) * counts[classes]).astype(np.int64)
        images: Ints = order[starts[classes] + within]
        return images

    return draw


def _stack(
    features_by_view: Mapping[int, tuple[Ints, Floats]], image_count: int
) -> tuple[Floats, Ints]:
    """All features in one array, and the row of each: int[views, images]."""
    index_of = np.full((max(features_by_view) + 1, image_count), -1, np.int64)
    start = 0
    for view, (images, features) in features_by_view.items():
        index_of[view, images] = np.arange(start, start + len(features))
        start += len(features)
    arrays = [features for _, features in features_by_view.values()]
    return (arrays[0] if len(arrays) == 1 else np.concatenate(arrays)), index_of


def _truncated_normal(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Normal values; values beyond two standard deviations are drawn again."""
    values = random.normal(0, 1, shape)
    while (far := np.abs(values) > 2).any():
        values[far] = random.normal(0, 1, int(far.sum()))
    return (values * _INITIAL_DEVIATION).astype(np.float32)


def _score(logits: Floats, targets: Ints) -> BatchScores:
    # Two of these run in each of thousands of steps: methods such as `mean` take twice as long.
    count = len(targets)
    shifted = logits - np.maximum.reduce(logits, axis=1, keepdims=True)
    shares = np.exp(shifted)
    totals = np.add.reduce(shares, axis=1, keepdims=True)
    losses = np.log(totals[:, 0]) - shifted[np.arange(count), targets]
    accuracy = int(np.count_nonzero(logits.argmax(axis=1) == targets)) / count
    return BatchScores(logits, shares / totals, accuracy, float(np.add.reduce(losses)) / count)


def _require_finite(scores: BatchScores, config: SgdConfig) -> None:
    if not np.isfinite(scores.log_loss):
        raise DivergedError(
            "training diverged: the cross-entropy is not finite; lower the learning rate. "
            f"Received: {config.learning_rate:g}"
        )


def _history_row(
    number: int, after: BatchScores, validation: BatchScores, *, started: float
) -> dict[str, Any]:
    return {
        "stage": "sgd",
        "step": number,
        "log_loss": after.log_loss,
        "accuracy": after.accuracy,
        "validation_log_loss": validation.log_loss,
        "validation_accuracy": validation.accuracy,
        "seconds": time.perf_counter() - started,
    }
