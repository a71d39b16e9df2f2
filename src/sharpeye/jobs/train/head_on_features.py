"""Fit a head on the features of a frozen backbone."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from sharpeye.core.arrays import Floats, Ints
from sharpeye.core.config_paths import features_path
from sharpeye.core.inference import Backbone
from sharpeye.core.types import SPLITS, Sample, SampleSet
from sharpeye.data.features import ExtractedFeatures, extract_features
from sharpeye.images.views import Distortion
from sharpeye.jobs.train.context import TrainContext, TrainedModel
from sharpeye.learn.heads.head import fit_head
from sharpeye.learn.heads.sgd import BatchSampler, StepCallback, fit_sgd
from sharpeye.learn.nets.training_arrays import class_indices, group_indices

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
        extracted: the features of all samples.
        callbacks: see `train`.

    Raises:
        DivergedError: the features are not finite.
    """
    config, class_names = context.config, samples.class_names
    by_split = {split: [s for s in samples if s.split == split] for split in SPLITS}
    if config.data.balance == "undersample":
        by_split["train"] = _undersample(by_split["train"], config.seed)
    targets = {split: class_indices(images, class_names) for split, images in by_split.items()}
    features = {split: _matrix(images, extracted.features) for split, images in by_split.items()}
    for callback in callbacks:
        callback.begin(backbone, samples)
    view_features = partial(_view_features, context, backbone)
    if config.head.solver == "sgd":
        sampler = BatchSampler(
            targets["train"],
            len(class_names),
            config.sgd,
            seed=config.seed,
            balance=config.data.balance,
            views=config.distort.views if config.distort.active else 0,
        )
        if config.distort.active:
            by_view = _drawn_views(sampler, by_split["train"], view_features)
        else:
            by_view = {0: (np.arange(len(targets["train"])), features["train"])}
        head = fit_sgd(
            sampler,
            by_view,
            features["validation"],
            validation_targets=targets["validation"],
            callbacks=callbacks,
        )
    else:
        head = fit_head(
            features["train"],
            targets["train"],
            features["validation"],
            validation_targets=targets["validation"],
            classes=len(class_names),
            groups=group_indices(by_split["train"]),
            views=[view_features(by_split["train"], view=v) for v in range(1, config.head.views)],
            balance=config.data.balance,
            refit=config.head.refit,
            seed=config.seed,
            progress=context.progress_of("fits of the head"),
        )
    context.clock.lap("head")
    return TrainedModel(
        samples=samples,
        backbone=backbone,
        head=head,
        probs={
            "validation": head.validation_head.probabilities(features["validation"]),
            "test": head.final_head.probabilities(features["test"]),
        },
        features=extracted.features,
        feature_counts=(len(extracted.features) - extracted.from_store, extracted.from_store),
    )


def _drawn_views(
    sampler: BatchSampler, train: Sequence[Sample], view_features: Callable[..., Floats]
) -> dict[int, tuple[Ints, Floats]]:
    """By view, the images that the steps use, and their features."""
    drawn = sampler.images_by_view()
    log.info("%d distorted views of %d images", sum(map(len, drawn.values())), len(train))
    return {
        view: (indices, view_features([train[i] for i in indices], view=view))
        for view, indices in drawn.items()
    }


def _view_features(
    context: TrainContext, backbone: Backbone, samples: Sequence[Sample], *, view: int
) -> Floats:
    """float32[N,D]: features of one augmented view of training images."""
    context.clock.lap("head")
    distort = context.config.distort
    distortion = Distortion(distort.flip, distort.crop, distort.scale, distort.brightness)
    extracted = extract_features(
        samples,
        backbone,
        view,
        progress=context.progress_of(f"view {view}"),
        root=features_path(context.config),
        view_policy=distortion if distort.active else None,
    )
    extracted.require_all()
    features = _matrix(samples, extracted.features)
    context.clock.lap("views")
    return features


def _undersample(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Draw as many images of each class as the rarest class has, by the seed, in their order."""
    targets = np.unique([sample.label for sample in samples], return_inverse=True)[1]
    count = int(np.bincount(targets).min())
    random = np.random.default_rng(seed)
    drawn = [random.permutation(np.flatnonzero(targets == c))[:count] for c in np.unique(targets)]
    return [samples[i] for i in np.sort(np.concatenate(drawn))]


def _matrix(samples: Sequence[Sample], features: Mapping[str, Floats]) -> Floats:
    """float32[N,D]: the features of samples, in their order."""
    if not samples:
        return np.empty((0, len(next(iter(features.values())))), np.float32)
    return np.stack([features[sample.sha256] for sample in samples])
