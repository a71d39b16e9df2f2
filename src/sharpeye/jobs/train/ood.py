"""Fit, calibrate and test the out-of-distribution detector of a trained model.

A frozen network treats training images like any others: all images are in the bank, and images with
an out-of-fold prediction calibrate. A trained network clusters its training images: they are only
in the bank, and the validation images calibrate, since no weight was fitted to them. LeNet-5, 6
epochs on nine of ten digits, the tenth against 253 known test images, once: AUROC 0.990, by the
largest probability 0.883.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sharpeye.artefact.session import OpenModel
from sharpeye.core.arrays import Floats, Ints
from sharpeye.core.config import Config
from sharpeye.core.inference import Graph
from sharpeye.core.parallel import parallel_map
from sharpeye.core.types import Sample, Split
from sharpeye.data.sample_image import load_sample
from sharpeye.jobs.train.context import TrainedModel
from sharpeye.learn.nets.training_arrays import class_indices, group_indices
from sharpeye.learn.ood.detector import (
    MAX_BANK_BYTES,
    MAX_IMAGES,
    KnownImages,
    OodDetector,
    fit_ood_detector,
    stratified_indices,
)
from sharpeye.learn.ood.left_out_classes import left_out_auroc
from sharpeye.report.evaluation import OodMetrics


@dataclass(frozen=True)
class OodResult:
    """A detector for the model file, and its results on N of the test images.

    Attributes:
        indices: int[N], of `samples` among the test images.
        features: float32[N,D], of `samples`.
    """

    detector: OodDetector
    metrics: OodMetrics
    indices: Ints
    samples: Sequence[Sample]
    features: Floats

    def rescored(self, model: OpenModel) -> "OodResult":
        """The result with a model file's scores: an int8 model's differ from the detector's."""

        def score(sample: Sample) -> float:
            pixels = load_sample(sample, model.manifest.input)[None]
            return float(model.run(pixels, ("unknown_score",))["unknown_score"][0])

        scores = np.array([value for _, value in parallel_map(score, self.samples)])
        return replace(self, metrics=replace(self.metrics, scores=scores))


@dataclass(frozen=True)
class _Images:
    """N images with the arrays that the detector is fitted to.

    Attributes:
        indices: int[N], their positions among the images of their splits.
        targets: int[N], class indices.
        probs: float[N,C], from a head that was not fitted to them; NaN if every head was.
        features: float32[N,D].
    """

    indices: Ints
    samples: Sequence[Sample]
    targets: Ints
    probs: Floats
    features: Floats

    def __getitem__(self, indices: Ints) -> "_Images":
        return _Images(
            self.indices[indices],
            [self.samples[i] for i in indices],
            self.targets[indices],
            self.probs[indices],
            self.features[indices],
        )


def fit_and_test_ood(trained: TrainedModel, config: Config) -> OodResult:
    """Fit and calibrate on training and validation images, and test on test images.

    Raises:
        ImageReadError: an image is no longer readable.
    """
    test = _draw(("test",), trained, config)
    if trained.backbone_trained:
        known, held_out = (_draw((s,), trained, config) for s in ("train", "validation"))
    else:
        known = _draw(("train", "validation"), trained, config)
        held_out = known[np.flatnonzero(np.isfinite(known.probs).all(axis=1))]
    detector = _fit(known, held_out, trained, config=config)
    auroc: dict[int, float] = {}
    # The estimate fits a logistic head without each class: it says nothing about a head of plain
    # gradient descent, and would take several times as long as its steps.
    if not trained.backbone_trained and config.head.solver == "logistic":
        auroc = left_out_auroc(
            (known.features, known.targets),
            (test.features, test.targets),
            trained.head.final_head,
            detector=detector,
            balance=config.data.balance,
            seed=config.seed,
        )
    class_names = trained.samples.class_names
    metrics = OodMetrics(
        scores=detector.unknown_score(test.features, test.probs),
        coverage=detector.coverage,
        calibrated_on=detector.calibrated_on,
        auroc={class_names[c]: value for c, value in auroc.items()},
    )
    return OodResult(detector, metrics, test.indices, test.samples, test.features)


def _fit(
    known: _Images, held_out: _Images, trained: TrainedModel, *, config: Config
) -> OodDetector:
    max_vectors = MAX_BANK_BYTES // (2 * max(1, known.features.shape[1]))
    bank = known[stratified_indices(known.targets, max_vectors, config.seed)]
    groups, count = group_indices([*bank.samples, *held_out.samples]), len(bank.samples)
    return fit_ood_detector(
        KnownImages(bank.features, bank.targets, groups[:count]),
        KnownImages(held_out.features, held_out.targets, groups[count:]),
        held_out.probs,
        coverage=config.unknown.coverage,
        square_root=trained.head.final_head.square_root,
    )


def _draw(splits: Sequence[Split], trained: TrainedModel, config: Config) -> _Images:
    """At most `MAX_IMAGES` images of some splits, with as equal class counts as possible."""
    samples = [sample for split in splits for sample in trained.in_split(split)]
    targets = class_indices(samples, trained.samples.class_names)
    probs = np.concatenate([_probs(trained, split) for split in splits])
    chosen = stratified_indices(targets, MAX_IMAGES, config.seed)
    samples = [samples[i] for i in chosen]
    features = _features(samples, trained)
    return _Images(chosen, samples, targets[chosen], probs[chosen], features)


def _probs(trained: TrainedModel, split: Split) -> Floats:
    """float[N,C] for the images of a split; NaN if every head was fitted to them."""
    if split != "train":
        return trained.probs[split]
    count, probs = len(trained.in_split("train")), trained.head.out_of_fold_probs
    if probs is None or len(probs) != count:  # Undersampling leaves images out of the fit.
        return np.full((count, len(trained.samples.class_names)), np.nan)
    return probs


def _features(samples: Sequence[Sample], trained: TrainedModel) -> Floats:
    """float32[N,D]: those that the head was fitted to; a trained network computes new ones."""
    if not trained.backbone_trained:
        return np.array([trained.features[sample.sha256] for sample in samples], np.float32)
    backbone = trained.backbone
    graph = Graph(backbone.graph_file)

    def compute(sample: Sample) -> Floats:
        output: Floats = graph.run(load_sample(sample, backbone.input)[None])["features"][0]
        return output

    return np.array([vector for _, vector in parallel_map(compute, samples)], np.float32)
