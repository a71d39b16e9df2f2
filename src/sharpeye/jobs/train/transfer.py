"""The transfer path: images to a fitted head, by way of a frozen backbone's features."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.config import Config
from sharpeye.core.inference import Backbone, available_cores
from sharpeye.core.types import SPLITS, Sample, SampleSet, Split
from sharpeye.data.digest import add_digests
from sharpeye.data.features import extract_features
from sharpeye.images.views import Distortion
from sharpeye.jobs.train.data_notes import data_notes
from sharpeye.jobs.train.prepare import (
    Clock,
    FitResult,
    OnSamples,
    Progress,
    log_notes,
    settle,
    stage_progress,
)
from sharpeye.learn.heads.head import FittedHead, fit_head
from sharpeye.learn.heads.sgd import BatchSampler, StepCallback, fit_sgd

log = logging.getLogger(__name__)

Features = npt.NDArray[np.float32]
Ints = npt.NDArray[np.integer[Any]]


def learn(
    samples: SampleSet,
    backbone: Backbone,
    config: Config,
    on_samples: OnSamples,
    progress: Progress | None = None,
    watchers: Sequence[StepCallback] = (),
) -> FitResult:
    """Extract features, split, fit, and answer for the held-out parts.

    Args:
        samples: from `scan_folder`.
        on_samples: is told what was read and how it was split, before anything is fitted.
        progress: told how far a stage is.
        watchers: follow the steps of a head that is trained by steps.

    Raises:
        DataError: too few readable images, or an unreadable one under `data.strict`.
        DivergedError: the features are not finite.
    """
    clock = Clock()
    samples = add_digests(samples, available_cores())
    clock.lap("digests")
    told = stage_progress(progress, "features")
    found = extract_features(samples.samples, backbone, progress=told, root=features_root(config))
    clock.lap("features")
    samples = settle(samples, found.rejected, config, on_samples)
    computed = len(found.features) - found.from_store
    log.info(
        "%d pictures in %d classes; features: %d computed, %d from the cache",
        len(samples),
        len(samples.class_names),
        computed,
        found.from_store,
    )
    notes = data_notes(samples, config)
    log_notes(notes)
    parts = {part: [s for s in samples if s.split == part] for part in SPLITS}
    if config.data.balance == "undersample":
        parts["train"] = _as_many_of_each(parts["train"], config.seed)
    index = {label: i for i, label in enumerate(samples.class_names)}
    truth = {part: np.array([index[s.label] for s in own]) for part, own in parts.items()}
    features = {part: _matrix(own, found.features) for part, own in parts.items()}
    for watcher in watchers:
        watcher.begin(backbone, samples)
    views = _Views(parts["train"], backbone, config, progress)
    if config.head.solver == "sgd":
        head = _sgd_head(views, features, truth, len(samples.class_names), config, watchers)
    else:
        head = _logistic_head(views, features, truth, len(samples.class_names), config)
    clock.lap("head")
    if views.seconds:
        clock.seconds |= {"views": views.seconds, "head": clock.seconds["head"] - views.seconds}
    probs: dict[Split, Any] = {
        "validation": head.validation_head.probabilities(features["validation"]),
        "test": head.final_head.probabilities(features["test"]),
    }
    return FitResult(
        samples, head, probs, notes, clock.seconds, features=(computed, found.from_store)
    )


def _logistic_head(
    views: "_Views",
    features: Mapping[Split, Features],
    truth: Mapping[Split, Ints],
    classes: int,
    config: Config,
) -> FittedHead:
    return fit_head(
        features["train"],
        truth["train"],
        features["validation"],
        truth["validation"],
        classes,
        views=[views.features(view) for view in range(1, config.head.views)],
        balance=config.data.balance,
        refit=config.head.refit,
        seed=config.seed,
    )


def _sgd_head(
    views: "_Views",
    features: Mapping[Split, Features],
    truth: Mapping[Split, Ints],
    classes: int,
    config: Config,
    watchers: Sequence[StepCallback],
) -> FittedHead:
    """Only those views are made that a step will take."""
    most = config.distort.views if config.distort.active else 0
    draws = BatchSampler(
        truth["train"], classes, config.sgd, config.seed, config.data.balance, most
    )
    if most:
        wanted = draws.wanted()
        count = sum(map(len, wanted.values()))
        log.info("%d distorted views of %d pictures", count, len(truth["train"]))
        rows = {view: (own, views.features(view, own)) for view, own in wanted.items()}
    else:
        rows = {0: (np.arange(len(truth["train"])), features["train"])}
    return fit_sgd(draws, rows, features["validation"], truth["validation"], watchers)


class _Views:
    """Features of views of the training images, by the number of the view.

    Attributes:
        seconds: spent on them so far.
    """

    def __init__(
        self,
        train: Sequence[Sample],
        backbone: Backbone,
        config: Config,
        progress: Progress | None,
    ) -> None:
        self._train, self._backbone, self._progress = train, backbone, progress
        self._root, self.seconds = features_root(config), 0.0
        wanted = config.distort
        distortion = Distortion(wanted.flip, wanted.crop, wanted.scale, wanted.brightness)
        self._distortion = distortion if wanted.active else None

    def features(self, view: int, images: Ints | None = None) -> Features:
        """float32[M,D] of one view of some training images, by default of all."""
        started = time.perf_counter()
        chosen = self._train if images is None else [self._train[i] for i in images]
        told = stage_progress(self._progress, f"view {view}")
        found = extract_features(chosen, self._backbone, view, told, self._root, self._distortion)
        found.require_all()
        self.seconds += time.perf_counter() - started
        return _matrix(chosen, found.features)


def features_root(config: Config) -> Path | None:
    """Where features are kept; None for the cache."""
    return Path(config.data.features_folder) if config.data.features_folder else None


def _as_many_of_each(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """As many of each class as the rarest has, drawn by the seed, in their order."""
    truth = np.unique([sample.label for sample in samples], return_inverse=True)[1]
    least = int(np.bincount(truth).min())
    random = np.random.default_rng(seed)
    kept = [random.permutation(np.flatnonzero(truth == c))[:least] for c in range(truth.max() + 1)]
    return [samples[i] for i in np.sort(np.concatenate(kept))]


def _matrix(samples: Sequence[Sample], features: dict[str, Features]) -> Features:
    if not samples:
        width = len(next(iter(features.values())))
        return np.empty((0, width), np.float32)
    return np.stack([features[sample.sha256] for sample in samples])
