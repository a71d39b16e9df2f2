"""Fit, calibrate and test the out-of-distribution detector of a trained model.

A frozen network treats training images as any others: all images are in the bank, and all of those
that some head predicted out of fold calibrate. A network that was itself trained draws its training
images together: they are in the bank only, and the validation images calibrate, which no weight was
fitted to. (They chose the epoch and the temperature, which is nearly nothing.)

Measured once of the latter: LeNet-5, 6 epochs on nine of ten digits, the tenth against 253 known
test images: AUROC 0.990, by the largest probability 0.883.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sharpeye.artefact.session import OpenModel
from sharpeye.core.arrays import Bools, Floats, Ints
from sharpeye.core.config import Config
from sharpeye.core.inference import Graph
from sharpeye.core.parallel import parallel_map
from sharpeye.core.types import Sample, Split
from sharpeye.data.features import extract_features
from sharpeye.data.sample_image import load_sample
from sharpeye.jobs.train.trained_model import TrainedModel
from sharpeye.learn.nets.training_arrays import class_indices
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
    """A detector, and how it does on the test images.

    Attributes:
        detector: for the model file.
        metrics: of the test images.
        samples: N of the test images; features: float32[N,D], theirs.
    """

    detector: OodDetector
    metrics: OodMetrics
    samples: Sequence[Sample]
    features: Floats

    def rescored(self, model: OpenModel) -> "OodResult":
        """The same with the scores of a model file: an int8 model's differ from the detector's."""

        def score(sample: Sample) -> float:
            pixels = load_sample(sample, model.manifest.input)[None]
            return float(model.run(pixels, ("unknown_score",))["unknown_score"][0])

        scores = np.array([value for _, value in parallel_map(score, self.samples)])
        return replace(self, metrics=replace(self.metrics, scores=scores))


@dataclass(frozen=True)
class _Images:
    """Some images, with what the detector is fitted to.

    Attributes:
        samples: N of them.
        targets: int[N], their classes.
        probs: float[N,C], of a head that was not fitted to them; NaN where every head was.
        features: float32[N,D].
    """

    samples: Sequence[Sample]
    targets: Ints
    probs: Floats
    features: Floats = field(default_factory=lambda: np.empty((0, 0), np.float32))

    @property
    def has_probs(self) -> Bools:
        """bool[N]"""
        return np.asarray(np.isfinite(self.probs).all(axis=1))

    def __getitem__(self, indices: Ints) -> "_Images":
        samples = [self.samples[i] for i in indices]
        features = self.features[indices] if len(self.features) else self.features
        return _Images(samples, self.targets[indices], self.probs[indices], features)

    def __add__(self, other: "_Images") -> "_Images":
        return _Images(
            [*self.samples, *other.samples],
            np.concatenate([self.targets, other.targets]),
            np.concatenate([self.probs, other.probs]),
        )

    def stratified(self, count: int, seed: int) -> "_Images":
        """At most `count` of them, as many of each class as there are for all."""
        return self[stratified_indices(self.targets, count, seed)]


def fit_and_test_ood(trained: TrainedModel, config: Config) -> OodResult:
    """Fit and calibrate on images that the model was fitted to, and test on the others.

    Raises:
        ImageReadError: an image that was read before cannot be read any more.
    """
    seed = config.seed
    train = _in_split(trained, "train", _out_of_fold_probs(trained))
    validation = _in_split(trained, "validation", trained.probs["validation"])
    test = _in_split(trained, "test", trained.probs["test"]).stratified(MAX_IMAGES, seed)
    test = _with_features(test, trained, config)
    known = train if trained.backbone_trained else train + validation
    known = _with_features(known.stratified(MAX_IMAGES, seed), trained, config)
    if trained.backbone_trained:
        held_out = _with_features(validation.stratified(MAX_IMAGES, seed), trained, config)
    else:
        held_out = known[np.flatnonzero(known.has_probs)]
    detector = _fit(known, held_out, trained, config=config)
    auroc: dict[int, float] = {}
    if not trained.backbone_trained:
        auroc = left_out_auroc(
            (known.features, known.targets),
            (test.features, test.targets),
            trained.head.final_head,
            detector=detector,
            balance=config.data.balance,
            seed=seed,
        )
    class_names = trained.samples.class_names
    metrics = OodMetrics(
        scores=detector.unknown_score(test.features, test.probs),
        coverage=detector.coverage,
        calibrated_on=detector.calibrated_on,
        auroc={class_names[c]: value for c, value in auroc.items()},
    )
    return OodResult(detector, metrics, test.samples, test.features)


def _fit(
    known: _Images, held_out: _Images, trained: TrainedModel, *, config: Config
) -> OodDetector:
    max_vectors = MAX_BANK_BYTES // (2 * max(1, known.features.shape[1]))
    bank = known.stratified(max_vectors, config.seed)
    groups, count = _groups([*bank.samples, *held_out.samples]), len(bank.samples)
    return fit_ood_detector(
        KnownImages(bank.features, bank.targets, groups[:count]),
        KnownImages(held_out.features, held_out.targets, groups[count:]),
        held_out.probs,
        coverage=config.unknown.coverage,
        square_root=trained.head.final_head.square_root,
    )


def _out_of_fold_probs(trained: TrainedModel) -> Floats:
    """float[N,C] of the training images; NaN where every head was fitted to them."""
    count, probs = len(trained.in_split("train")), trained.head.out_of_fold_probs
    if probs is None or len(probs) != count:  # Undersampling fits a head to fewer images.
        return np.full((count, len(trained.samples.class_names)), np.nan)
    return probs


def _in_split(trained: TrainedModel, split: Split, probs: Floats) -> _Images:
    samples = trained.in_split(split)
    return _Images(samples, class_indices(samples, trained.samples.class_names), probs)


def _with_features(images: _Images, trained: TrainedModel, config: Config) -> _Images:
    """Features of a frozen network come from the store; a trained network computes them."""
    backbone = trained.backbone
    if not trained.backbone_trained:
        extracted = extract_features(
            images.samples, backbone, root=config.data.features_path
        ).features
        features = [extracted[sample.sha256] for sample in images.samples]
    else:
        graph = Graph(backbone.graph_file)

        def compute(sample: Sample) -> Floats:
            output: Floats = graph.run(load_sample(sample, backbone.input)[None])["features"][0]
            return output

        features = [vector for _, vector in parallel_map(compute, images.samples)]
    return replace(images, features=np.array(features, np.float32))


def _groups(samples: Sequence[Sample]) -> Ints:
    """int[N]: equal for the same image, and for near-duplicates."""
    names = [sample.group or sample.sha256 for sample in samples]
    groups: Ints = np.unique(names, return_inverse=True)[1]
    return groups
