"""Fit a head on the features of a frozen backbone."""

import logging
import time
from collections.abc import Mapping, Sequence

import numpy as np

from sharpeye.core.arrays import Floats, Ints
from sharpeye.core.inference import Backbone
from sharpeye.core.progress import of_stage
from sharpeye.core.types import SPLITS, Sample, SampleSet, Split
from sharpeye.data.features import ExtractedFeatures, extract_features
from sharpeye.images.views import Distortion
from sharpeye.jobs.train.context import TrainContext
from sharpeye.jobs.train.trained_model import TrainedModel
from sharpeye.learn.heads.head import FittedHead, fit_head
from sharpeye.learn.heads.sgd import BatchSampler, StepCallback, fit_sgd

log = logging.getLogger(__name__)


def fit_head_on_features(
    context: TrainContext,
    samples: SampleSet,
    backbone: Backbone,
    *,
    extracted: ExtractedFeatures,
    callbacks: Sequence[StepCallback] = (),
) -> TrainedModel:
    """Fit a head, calibrate it, and predict the held-out images.

    Args:
        samples: each with its split.
        extracted: the features of all samples.
        callbacks: follow the steps of a head that is fitted by gradient descent.

    Raises:
        DivergedError: the features are not finite.
    """
    config, clock = context.config, context.clock
    by_split = {split: [s for s in samples if s.split == split] for split in SPLITS}
    if config.data.balance == "undersample":
        by_split["train"] = _undersample(by_split["train"], config.seed)
    index = {name: i for i, name in enumerate(samples.class_names)}
    targets = {split: np.array([index[s.label] for s in own]) for split, own in by_split.items()}
    features = {split: _matrix(own, extracted.features) for split, own in by_split.items()}
    for callback in callbacks:
        callback.begin(backbone, samples)
    views = _Views(context, by_split["train"], backbone)
    classes = len(samples.class_names)
    if config.head.solver == "sgd":
        head = _fit_by_sgd(
            context, features, targets, classes=classes, views=views, callbacks=callbacks
        )
    else:
        head = fit_head(
            features["train"],
            targets["train"],
            features["validation"],
            validation_targets=targets["validation"],
            classes=classes,
            views=[views.features(view) for view in range(1, config.head.views)],
            balance=config.data.balance,
            refit=config.head.refit,
            seed=config.seed,
        )
    clock.lap("head")
    if views.seconds:
        clock.seconds |= {"views": views.seconds, "head": clock.seconds["head"] - views.seconds}
    return TrainedModel(
        samples=samples,
        backbone=backbone,
        head=head,
        probs={
            "validation": head.validation_head.probabilities(features["validation"]),
            "test": head.final_head.probabilities(features["test"]),
        },
        feature_counts=(
            len(extracted.features) - extracted.from_store,
            extracted.from_store,
        ),
    )


def _fit_by_sgd(
    context: TrainContext,
    features: Mapping[Split, Floats],
    targets: Mapping[Split, Ints],
    *,
    classes: int,
    views: "_Views",
    callbacks: Sequence[StepCallback],
) -> FittedHead:
    """Fit by gradient descent; only those views are computed that a step will take."""
    config, count = context.config, len(targets["train"])
    max_views = config.distort.views if config.distort.active else 0
    sampler = BatchSampler(
        targets["train"],
        classes,
        config.sgd,
        seed=config.seed,
        balance=config.data.balance,
        views=max_views,
    )
    if max_views:
        needed = sampler.images_by_view()
        log.info("%d distorted views of %d pictures", sum(map(len, needed.values())), count)
        by_view = {view: (images, views.features(view, images)) for view, images in needed.items()}
    else:
        by_view = {0: (np.arange(count), features["train"])}
    return fit_sgd(
        sampler,
        by_view,
        features["validation"],
        validation_targets=targets["validation"],
        callbacks=callbacks,
    )


class _Views:
    """Features of augmented views of the training images, by the number of the view.

    Attributes:
        seconds: spent on them so far.
    """

    def __init__(self, context: TrainContext, train: Sequence[Sample], backbone: Backbone) -> None:
        self._context, self._train, self._backbone = context, train, backbone
        distort = context.config.distort
        distortion = Distortion(distort.flip, distort.crop, distort.scale, distort.brightness)
        self._distortion = distortion if distort.active else None
        self.seconds = 0.0

    def features(self, view: int, images: Ints | None = None) -> Floats:
        """float32[M,D]: features of one view of some training images, by default of all."""
        started = time.perf_counter()
        chosen = self._train if images is None else [self._train[i] for i in images]
        extracted = extract_features(
            chosen,
            self._backbone,
            view,
            progress=of_stage(self._context.progress, f"view {view}"),
            root=self._context.config.data.features_path,
            view_policy=self._distortion,
        )
        extracted.require_all()
        self.seconds += time.perf_counter() - started
        return _matrix(chosen, extracted.features)


def _undersample(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """As many images of each class as the rarest class has, drawn by the seed, in their order."""
    targets = np.unique([sample.label for sample in samples], return_inverse=True)[1]
    count = int(np.bincount(targets).min())
    random = np.random.default_rng(seed)
    drawn = [
        random.permutation(np.flatnonzero(targets == c))[:count] for c in range(targets.max() + 1)
    ]
    return [samples[i] for i in np.sort(np.concatenate(drawn))]


def _matrix(samples: Sequence[Sample], features: Mapping[str, Floats]) -> Floats:
    """float32[N,D]: the features of samples, in their order."""
    if not samples:
        return np.empty((0, len(next(iter(features.values())))), np.float32)
    return np.stack([features[sample.sha256] for sample in samples])
