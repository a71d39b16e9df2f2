"""A softmax layer on frozen features by plain stochastic gradient descent, step by step.

What retrain.py of TensorFlow-for-Poets does: a constant rate, batches that draw a class first and
then one of its images, weights that begin near 0. `head.py` finds a better layer in less time;
this one is for whoever wants the same procedure, and its curves.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sharpeye.core.config import SgdConfig
from sharpeye.core.inference import Backbone
from sharpeye.core.types import SampleSet
from sharpeye.errors import DivergedError
from sharpeye.learn.heads.head import FittedHead, Head
from sharpeye.learn.heads.logistic import NOT_FINITE, softmax

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]

_INITIAL_DEVIATION = 0.001
_CHUNK = 256  # steps whose draws are made at once


@dataclass(frozen=True, slots=True)
class BatchScores:
    """How the layer answers for some images.

    Attributes:
        logits: float32[N,C].
        accuracy: share of right answers, 0..1.
        log_loss: mean cross-entropy, nats.
    """

    logits: Floats
    accuracy: float
    log_loss: float

    @property
    def count(self) -> int:
        return len(self.logits)


@dataclass(frozen=True, slots=True)
class Step:
    """What a watcher is told after each step.

    Attributes:
        number: from 0.
        weights: float32[D,C]; bias: float32[C]. They are changed by the next step: copy to keep.
        batch: the training batch, before the step.
        after, validation: the same batch after the step, and validation images; None but for
            each `eval_every`-th step and the last one.
    """

    number: int
    weights: Floats
    bias: Floats
    batch: BatchScores
    after: BatchScores | None
    validation: BatchScores | None

    def head(self) -> Head:
        """The layer as it is now."""
        return Head(self.weights.copy(), self.bias.copy(), temperature=1.0, l2=0.0, root=False)


class StepCallback(Protocol):
    """Follows a run while it is going on."""

    def begin(self, backbone: Backbone, samples: SampleSet) -> None:
        """Features are there, training begins."""

    def step(self, step: Step) -> None:
        """A step was made."""


class BatchSampler:
    """Which training images each step takes: the same for the same seed.

    Args:
        truth: int[N], class indices of the training images.
        balance: `none` draws an image, all others a class first and then one of its images.
        views: most views of an image that are drawn, besides the image itself; 0 for none.
    """

    def __init__(
        self, truth: Ints, classes: int, config: SgdConfig, seed: int, balance: str, views: int = 0
    ) -> None:
        self.truth, self.classes, self.config, self.seed = truth, classes, config, seed
        self._balanced = balance != "none"
        self._classes = ByClass(truth, classes)
        self._views: Ints | None = None
        if views:  # no image gets more of them than it is drawn
            drawn = np.zeros(len(truth), np.int64)
            for images, _ in self._chunks():
                drawn += np.bincount(images.ravel(), minlength=len(truth))
            self._views = np.clip(drawn, 1, views)

    def __iter__(self) -> Iterator[tuple[Ints, Ints]]:
        """Yields for each step images int[B], below N, and their views int[B], 0 for plain."""
        for images, views in self._chunks():
            yield from zip(images, views, strict=True)

    def _chunks(self) -> Iterator[tuple[Ints, Ints]]:
        for chunk, start in enumerate(range(0, self.config.steps, _CHUNK)):
            random = np.random.default_rng((self.seed, chunk))
            shape = (min(_CHUNK, self.config.steps - start), self.config.batch_size)
            if self._balanced:
                images = self._classes.draw(random, shape)
            else:
                images = random.integers(0, len(self.truth), shape)
            views = np.zeros(shape, np.int64)
            if self._views is not None:
                views = 1 + (random.random(shape) * self._views[images]).astype(np.int64)
            yield images, views

    def wanted(self) -> dict[int, Ints]:
        """By view, the images of which that view is drawn, in ascending order."""
        unique = np.empty(0, np.int64)
        for images, views in self._chunks():
            unique = np.union1d(unique, (views << 32) + images)
        views, images = unique >> 32, unique & (2**32 - 1)
        return {int(view): images[views == view] for view in np.unique(views)}


class ByClass:
    """Draws images so that each class comes as often as any other. `truth`: int[N]."""

    def __init__(self, truth: Ints, classes: int) -> None:
        self._order = np.argsort(truth, kind="stable")
        self._counts = np.bincount(truth, minlength=classes)
        self._starts = np.cumsum(self._counts) - self._counts
        self._present = np.flatnonzero(self._counts)

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Ints:
        """int of that shape, below N, with replacement."""
        labels = self._present[random.integers(0, len(self._present), shape)]
        within = (random.random(shape) * self._counts[labels]).astype(np.int64)
        images: Ints = self._order[self._starts[labels] + within]
        return images


def fit_sgd(
    draws: BatchSampler,
    rows: Mapping[int, tuple[Ints, Floats]],
    validation: Floats,
    validation_truth: Ints,
    callbacks: Sequence[StepCallback] = (),
) -> FittedHead:
    """Take all the steps.

    Args:
        draws: over the training images.
        rows: by view, the images int[M] and their features float32[M,D].
        validation: float32[V,D]; validation_truth: int[V].

    Raises:
        DivergedError: the features or the answers are not finite.
    """
    started = time.perf_counter()
    config = draws.config
    features, row_of = _table(rows, len(draws.truth))
    if not np.isfinite(features).all() or not np.isfinite(validation).all():
        raise DivergedError(NOT_FINITE)
    random = np.random.default_rng((draws.seed, 2**31))  # the chunks of draws have lower numbers
    weights = _truncated_normal(random, (features.shape[1], draws.classes))
    bias = np.zeros(draws.classes, np.float32)
    eye = np.eye(draws.classes, dtype=np.float32)
    looks = ByClass(validation_truth, draws.classes)
    chosen: Ints = np.arange(len(validation_truth))
    history = []
    for number, (images, views) in enumerate(draws):
        x, y = features[row_of[views, images]], draws.truth[images]
        batch = _look(x @ weights + bias, y)
        gradient = (softmax(batch.logits) - eye[y]) * np.float32(config.learning_rate / len(y))
        weights -= x.T @ gradient
        bias -= gradient.sum(axis=0)
        after = seen = None
        if number % config.eval_every == 0 or number + 1 == config.steps:
            after = _look(x @ weights + bias, y)
            if config.validation_batch:
                chosen = looks.draw(random, (config.validation_batch,))
            seen = _look(validation[chosen] @ weights + bias, validation_truth[chosen])
            _require_finite(after, config)
            history.append(_row(number, after, seen, started))
        step = Step(number, weights, bias, batch, after, seen)
        for callback in callbacks:
            callback.step(step)
    head = step.head()
    return FittedHead(
        final_head=head, validation_head=head, out_of_fold_probs=None, history=tuple(history)
    )


def _table(rows: Mapping[int, tuple[Ints, Floats]], images: int) -> tuple[Floats, Ints]:
    """All features in one array, and where each is in it: int[views, images]."""
    row_of = np.full((max(rows) + 1, images), -1, np.int64)
    start = 0
    for view, (own, features) in rows.items():
        row_of[view, own] = np.arange(start, start + len(features))
        start += len(features)
    arrays = [features for _, features in rows.values()]
    return (arrays[0] if len(arrays) == 1 else np.concatenate(arrays)), row_of


def _truncated_normal(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Normal values, those beyond two standard deviations drawn again."""
    values = random.normal(0, 1, shape)
    while (far := np.abs(values) > 2).any():
        values[far] = random.normal(0, 1, int(far.sum()))
    return (values * _INITIAL_DEVIATION).astype(np.float32)


def _look(logits: Floats, truth: Ints) -> BatchScores:
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1))
    own = shifted[np.arange(len(truth)), truth]
    right = float((logits.argmax(axis=1) == truth).mean())
    return BatchScores(logits, right, float((total - own).mean()))


def _require_finite(look: BatchScores, config: SgdConfig) -> None:
    if not np.isfinite(look.log_loss):
        raise DivergedError(
            "training diverged: the cross-entropy is not finite; lower the learning rate. "
            f"Received: {config.learning_rate:g}"
        )


def _row(number: int, after: BatchScores, seen: BatchScores, started: float) -> dict[str, Any]:
    return {
        "stage": "sgd",
        "step": number,
        "log_loss": after.log_loss,
        "accuracy": after.accuracy,
        "validation_log_loss": seen.log_loss,
        "validation_accuracy": seen.accuracy,
        "seconds": time.perf_counter() - started,
    }
