"""Teaches a model to say that an image is like nothing that it learned, and tests that.

A frozen network's features of training images are as those of any others: all images are kept
and compared with, and all of those that a head judged without having seen them calibrate. A network
that was itself trained has drawn its training images together: they are only kept, and the
validation images, that no weight was fitted to, calibrate. (They chose the epoch and the
temperature, which is nearly nothing.)

Measured once of the latter: LeNet-5, 6 epochs on nine of ten digits, the tenth against 253 known
test images: AUROC 0.990, by the largest probability 0.883.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.artefact.session import OpenModel
from sharpeye.core.config import Config
from sharpeye.core.inference import Graph
from sharpeye.core.parallel import parallel_map
from sharpeye.core.types import Sample, Split
from sharpeye.data.features import extract_features
from sharpeye.data.sample_image import load_sample
from sharpeye.jobs.train.modes import TrainedModel
from sharpeye.jobs.train.transfer import features_root
from sharpeye.learn.ood.detector import (
    MAX_BANK_BYTES,
    MAX_IMAGES,
    OodDetector,
    fit_ood_detector,
    stratified_indices,
)
from sharpeye.learn.ood.left_out_classes import left_out_auroc
from sharpeye.report.ood_metrics import OodMetrics

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class _Images:
    """Some images of a part or two.

    Attributes:
        samples: N of them.
        truth: int[N], their classes.
        probs: float[N,C], of a head that did not see them; empty rows are NaN where all did.
        features: float32[N,D].
    """

    samples: Sequence[Sample]
    truth: Ints
    probs: Floats
    features: Floats = field(default_factory=lambda: np.empty((0, 0), np.float32))

    @property
    def honest(self) -> npt.NDArray[np.bool_]:
        """bool[N]: those with probabilities."""
        return np.asarray(np.isfinite(self.probs).all(axis=1))

    def __getitem__(self, rows: Ints) -> "_Images":
        samples = [self.samples[i] for i in rows]
        features = self.features[rows] if len(self.features) else self.features
        return _Images(samples, self.truth[rows], self.probs[rows], features)


@dataclass(frozen=True)
class OodResult:
    """What tells the unknown, and what is known of it.

    Attributes:
        unknown: for the model file.
        strangers: what the test images say of it.
        samples: N of these; features: float32[N,D], theirs.
    """

    unknown: OodDetector
    strangers: OodMetrics
    samples: Sequence[Sample]
    features: Floats

    def by(self, model: OpenModel) -> "OodResult":
        """With the scores that a model file gives: those of an int8 model are its own."""

        def work(sample: Sample) -> float:
            pixels = load_sample(sample, model.manifest.input)[None]
            return float(model.run(pixels, ("unknown_score",))["unknown_score"][0])

        scores = np.array([score for _, score in parallel_map(work, self.samples)])
        return replace(self, strangers=replace(self.strangers, scores=scores))


def fit_and_test_ood(outcome: TrainedModel, config: Config) -> OodResult:
    """Fit and calibrate on the images that were learned from, and test on the others.

    Raises:
        ImageReadError: an image that was read before cannot be read any more.
    """
    learned, seed = outcome.learned, config.seed
    classes = len(learned.samples.class_names)
    train = _part(outcome, "train", _left_out(outcome, classes))
    validation = _part(outcome, "validation", learned.probs["validation"])
    test = _part(outcome, "test", learned.probs["test"])
    test = _with_features(test[stratified_indices(test.truth, MAX_IMAGES, seed)], outcome, config)
    kept = train if outcome.trained else _joined(train, validation)
    kept = _with_features(kept[stratified_indices(kept.truth, MAX_IMAGES, seed)], outcome, config)
    if outcome.trained:
        held = validation[stratified_indices(validation.truth, MAX_IMAGES, seed)]
        held = _with_features(held, outcome, config)
    else:
        held = kept[np.flatnonzero(kept.honest)]
    most = MAX_BANK_BYTES // (2 * max(1, kept.features.shape[1]))
    bank = kept[stratified_indices(kept.truth, most, seed)]
    groups = _groups([*bank.samples, *held.samples])
    head = learned.head.final_head
    unknown = fit_ood_detector(
        bank.features,
        bank.truth,
        groups[: len(bank.samples)],
        held.features,
        held.truth,
        groups[len(bank.samples) :],
        held.probs,
        config.unknown.coverage,
        root=head.root,
    )
    found: dict[int, float] = {}
    if not outcome.trained:
        own, tested = (kept.features, kept.truth), (test.features, test.truth)
        found = left_out_auroc(*own, *tested, head, unknown, config.data.balance, seed)
    labels = learned.samples.class_names
    strangers = OodMetrics(
        scores=unknown.score(test.features, test.probs),
        coverage=unknown.coverage,
        calibrated_on=unknown.calibrated_on,
        auroc={labels[c]: value for c, value in found.items()},
    )
    return OodResult(unknown, strangers, test.samples, test.features)


def _left_out(outcome: TrainedModel, classes: int) -> Floats:
    """float[N,C] of the training images; NaN where no head judged them unseen."""
    train, found = outcome.learned.in_split("train"), outcome.learned.head.out_of_fold_probs
    if found is None or len(found) != len(train):  # of fewer images: classes were evened out
        return np.full((len(train), classes), np.nan)
    return found


def _part(outcome: TrainedModel, part: Split, probs: Floats) -> _Images:
    samples = outcome.learned.in_split(part)
    index = {label: i for i, label in enumerate(outcome.learned.samples.class_names)}
    return _Images(samples, np.array([index[s.label] for s in samples], np.int64), probs)


def _joined(one: _Images, other: _Images) -> _Images:
    return _Images(
        [*one.samples, *other.samples],
        np.concatenate([one.truth, other.truth]),
        np.concatenate([one.probs, other.probs]),
    )


def _with_features(images: _Images, outcome: TrainedModel, config: Config) -> _Images:
    """Of a frozen network they lie in the store; a trained one is run."""
    backbone = outcome.backbone
    if not outcome.trained:
        found = extract_features(images.samples, backbone, root=features_root(config)).features
        rows = [found[sample.sha256] for sample in images.samples]
    else:
        graph = Graph(backbone.graph_file)

        def work(sample: Sample) -> Floats:
            found: Floats = graph.run(load_sample(sample, backbone.input)[None])["features"][0]
            return found

        rows = [row for _, row in parallel_map(work, images.samples)]
    return _Images(images.samples, images.truth, images.probs, np.array(rows, np.float32))


def _groups(samples: Sequence[Sample]) -> Ints:
    """int[N]: equal for the same image, and for those that were found to be copies."""
    names = [sample.group or sample.sha256 for sample in samples]
    groups: Ints = np.unique(names, return_inverse=True)[1]
    return groups
