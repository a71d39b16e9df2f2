"""Compare a model's predictions with the targets: the source of metrics, tables and report.

It needs only probabilities and, for a localizer, boxes, not the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from sharpeye.core.arrays import Floats, Ints
from sharpeye.core.metrics import confusion_matrix, reliability_bins, summarize, wilson_interval
from sharpeye.core.types import Box, Sample
from sharpeye.data.training_overlap import TRAINING_EXPOSURES, Exposure
from sharpeye.images.boxes import iou

# A box below this IoU does not count as correct (PASCAL VOC, Everingham et al. 2010).
MIN_CORRECT_IOU = 0.5


@dataclass(frozen=True, slots=True)
class ScoredPrediction:
    """A prediction for one labelled image."""

    sample: Sample
    predicted: str  # the most probable class
    score: float  # its probability, 0..1
    target_score: float  # the probability of the true class
    margin: float  # `score` minus the second-best probability
    box: Box | None = None  # predicted, as shares of the upright image; None of a classifier
    iou: float | None = None  # IoU of that box and the true one, 0..1; None without a true one
    exposure: Exposure | None = None  # what the image was in the training; None if not known

    @property
    def path(self) -> str:
        return self.sample.path

    @property
    def label(self) -> str:
        """The true class."""
        return self.sample.label

    @property
    def correct(self) -> bool:
        return self.label == self.predicted


@dataclass(frozen=True)
class OodMetrics:
    """Metrics of out-of-distribution detection by the output `unknown` on held-out images.

    `auroc`, 0..1 by class, measures the separation of its images from the others if training leaves
    the class out; it is empty if this was not measured.
    """

    scores: Floats  # float[N], 0..1, unknown scores of held-out images of known classes
    coverage: float  # an image with a score above it is called unknown
    calibrated_on: int = 0  # number of calibration images; 0 if unknown
    auroc: Mapping[str, float] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        """The number of images of known classes that are called unknown."""
        return int((self.scores > self.coverage).sum())

    @property
    def auroc_mean(self) -> float | None:
        """The mean over the left-out classes; None without any."""
        return float(np.mean(list(self.auroc.values()))) if self.auroc else None

    @property
    def metrics(self) -> dict[str, Any]:
        """The entry `unknown` of a split in `metrics.json`."""
        count = len(self.scores)
        return {
            "coverage": self.coverage,
            "calibrated_on": self.calibrated_on,
            "count": count,
            "known_rejected": self.rejected / count if count else None,
            "known_rejected_ci95": list(wilson_interval(self.rejected, count)),
            "auroc_mean": self.auroc_mean,
            "auroc_per_class": dict(self.auroc),
        }


@dataclass(frozen=True)
class Evaluation:
    """A model's predictions for one split of a data set."""

    class_names: tuple[str, ...]  # C names; the index is the class index
    samples: tuple[Sample, ...]  # N samples of these classes
    probs: Floats  # float[N,C], rows sum to 1
    boxes: Floats | None = None  # float[N,4], shares 0..1 of the upright images
    ood: OodMetrics | None = None
    exposures: tuple[Exposure, ...] | None = None  # of the samples; None if they are not known
    overlap: "Evaluation | None" = None  # of the images that the model was trained on

    def divided(self, exposures: tuple[Exposure, ...]) -> "Evaluation":
        """The evaluation of the unseen images, with that of the others as `overlap`.

        Args:
            exposures: one for each sample.
        """
        overlaps = np.array([exposure in TRAINING_EXPOSURES for exposure in exposures], bool)
        held_out, overlap = (
            self._subset(np.flatnonzero(overlaps == value), exposures) for value in (False, True)
        )
        return replace(held_out, overlap=overlap)

    def _subset(self, indices: Ints, exposures: tuple[Exposure, ...]) -> "Evaluation":
        chosen = indices.tolist()
        ood = self.ood and replace(self.ood, scores=self.ood.scores[indices])
        return replace(
            self,
            samples=tuple(self.samples[i] for i in chosen),
            probs=self.probs[indices],
            boxes=None if self.boxes is None else self.boxes[indices],
            ood=ood,
            exposures=tuple(exposures[i] for i in chosen),
        )

    @property
    def reported(self) -> "Evaluation":
        """The unseen images, or the others if there are none."""
        return self if self.overlap is None or self.samples else self.overlap

    @property
    def by_exposure(self) -> dict[Exposure, dict[str, Any]]:
        """`count`, `accuracy` and `accuracy_ci95` of each kind of images that is present."""
        counts: dict[Exposure, list[bool]] = {}
        for evaluation in (self, self.overlap):
            if evaluation is not None and evaluation.exposures is not None:
                correct = evaluation.probs.argmax(axis=1) == evaluation.targets
                for exposure, hit in zip(evaluation.exposures, correct.tolist(), strict=True):
                    counts.setdefault(exposure, []).append(hit)
        return {
            exposure: {
                "count": len(hits),
                "accuracy": sum(hits) / len(hits),
                "accuracy_ci95": list(wilson_interval(sum(hits), len(hits))),
            }
            for exposure, hits in counts.items()
        }

    @cached_property
    def class_index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.class_names)}

    @cached_property
    def targets(self) -> Ints:
        """int64[N]: the true class indices."""
        return np.array([self.class_index[sample.label] for sample in self.samples], np.int64)

    @cached_property
    def ious(self) -> Floats | None:
        """float64[N], 0..1: IoU of true and predicted boxes; None unless all images have both."""
        true = [sample.box for sample in self.samples if sample.box is not None]
        if self.boxes is None or len(true) < len(self.samples):
            return None
        return iou(np.array(true, np.float64).reshape(-1, 4), self.boxes)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The entry of the split in `metrics.json`."""
        scores = summarize(self.targets, self.probs, self.class_names, ious=self.ious)
        return scores | ({"unknown": self.ood.metrics} if self.ood else {})

    @cached_property
    def matrix(self) -> Ints:
        """int64[C,C]: row = true class, column = predicted class."""
        return confusion_matrix(self.targets, self.probs.argmax(axis=1), len(self.class_names))

    @cached_property
    def reliability(self) -> list[dict[str, float]]:
        return reliability_bins(self.targets, self.probs)

    @cached_property
    def predictions(self) -> tuple[ScoredPrediction, ...]:
        """One prediction per sample, in their order."""
        ordered = np.sort(self.probs, axis=1)
        rows = zip(self.samples, self.probs, self.targets, ordered, strict=True)
        return tuple(
            ScoredPrediction(
                sample=sample,
                predicted=self.class_names[int(row.argmax())],
                score=float(row.max()),
                target_score=float(row[target]),
                margin=float(top[-1] - top[-2]),
                box=None if self.boxes is None else tuple(self.boxes[i].tolist()),
                iou=None if self.ious is None else float(self.ious[i]),
                exposure=None if self.exposures is None else self.exposures[i],
            )
            for i, (sample, row, target, top) in enumerate(rows)
        )

    @cached_property
    def mistakes(self) -> tuple[ScoredPrediction, ...]:
        """The predictions of a wrong class, by descending score."""
        wrong = [p for p in self.predictions if not p.correct]
        return tuple(sorted(wrong, key=lambda p: (-p.score, p.path)))

    @cached_property
    def worst_boxes(self) -> tuple[ScoredPrediction, ...]:
        """The predictions of a localizer with a known IoU, the smallest IoU first."""
        known = [p for p in self.predictions if p.iou is not None]
        return tuple(sorted(known, key=lambda p: (p.iou, p.path)))

    @cached_property
    def loose_boxes(self) -> tuple[ScoredPrediction, ...]:
        """Those with the correct class, but an IoU under `MIN_CORRECT_IOU`."""
        return tuple(p for p in self.worst_boxes if p.correct and (p.iou or 0) < MIN_CORRECT_IOU)
