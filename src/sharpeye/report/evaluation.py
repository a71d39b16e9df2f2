"""Answers of a model against the truth: what the metrics, the tables and the report are made of.

Knows nothing of models: it is given probabilities, and of a localizer the boxes.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.metrics import confusion_matrix, reliability_bins, summarize
from sharpeye.core.types import Box, Sample
from sharpeye.images.boxes import iou
from sharpeye.report.ood_metrics import OodMetrics

Floats = npt.NDArray[np.floating[Any]]

# Below this overlap a box does not count as found (Everingham et al. 2010, of PASCAL VOC).
LOOSE = 0.5


@dataclass(frozen=True, slots=True)
class ScoredPrediction:
    """What a model said of one image.

    Attributes:
        sample: the image.
        predicted: the most probable class.
        score: its probability, 0..1.
        truth_score: the probability of the true class.
        margin: `score` less the next best probability.
        box: where it said that the object is, as shares of the upright image; of a localizer.
        overlap: of that box with the true one, 0..1 (IoU); None if there is no true one.
    """

    sample: Sample
    predicted: str
    score: float
    truth_score: float
    margin: float
    box: Box | None = None
    overlap: float | None = None

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
class Evaluation:
    """A model's answers for one part of a data set.

    Attributes:
        labels: C class names; the index is the class index.
        samples: N samples, each of one of these classes.
        probs: float[N,C], rows sum to 1.
        boxes: float[N,4], a localizer's, as shares 0..1 of the upright images; None of a
            classifier.
        strangers: about answering `unknown`; None where the model does not.
    """

    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]
    probs: Floats
    boxes: Floats | None = None
    ood: OodMetrics | None = None

    @cached_property
    def targets(self) -> npt.NDArray[np.int64]:
        """int64[N]: the true class indices."""
        index = {label: i for i, label in enumerate(self.class_names)}
        return np.array([index[sample.label] for sample in self.samples], dtype=np.int64)

    @cached_property
    def overlaps(self) -> npt.NDArray[np.float64] | None:
        """float64[N], 0..1: IoU of true and predicted boxes; None unless all images have both."""
        true = [sample.box for sample in self.samples if sample.box is not None]
        if self.boxes is None or len(true) < len(self.samples):
            return None
        return iou(np.array(true, np.float64).reshape(-1, 4), self.boxes)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """This part's entry in `metrics.json`."""
        found = summarize(self.targets, self.probs, self.class_names, self.overlaps)
        return found | ({"unknown": self.ood.metrics} if self.ood else {})

    @cached_property
    def matrix(self) -> npt.NDArray[np.int64]:
        """int64[C,C]: row = true class, column = predicted class."""
        return confusion_matrix(self.targets, self.probs.argmax(axis=1), len(self.class_names))

    @cached_property
    def reliability(self) -> list[dict[str, float]]:
        """See `metrics.reliability_bins`."""
        return reliability_bins(self.targets, self.probs)

    @cached_property
    def predictions(self) -> tuple[ScoredPrediction, ...]:
        """One answer a sample, in the order of the samples."""
        ordered = np.sort(self.probs, axis=1)
        return tuple(
            ScoredPrediction(
                sample=sample,
                predicted=self.class_names[int(row.argmax())],
                score=float(row.max()),
                truth_score=float(row[truth]),
                margin=float(top[-1] - top[-2]),
                box=None if self.boxes is None else _box(self.boxes[i]),
                overlap=None if self.overlaps is None else float(self.overlaps[i]),
            )
            for i, (sample, row, truth, top) in enumerate(
                zip(self.samples, self.probs, self.targets, ordered, strict=True)
            )
        )

    @cached_property
    def mistakes(self) -> tuple[ScoredPrediction, ...]:
        """The answers with a wrong class, those that the model was most sure of first."""
        wrong = [answer for answer in self.predictions if not answer.correct]
        return tuple(sorted(wrong, key=lambda a: (-a.score, a.path)))

    @cached_property
    def worst_boxes(self) -> tuple[ScoredPrediction, ...]:
        """The answers of a localizer whose overlap is known, the smallest overlap first."""
        known = [answer for answer in self.predictions if answer.overlap is not None]
        return tuple(sorted(known, key=lambda a: (a.overlap, a.path)))

    @cached_property
    def loose_boxes(self) -> tuple[ScoredPrediction, ...]:
        """Those of them with the right class, but an overlap under `LOOSE`."""
        return tuple(a for a in self.worst_boxes if a.correct and (a.overlap or 0.0) < LOOSE)


def _box(row: Floats) -> Box:
    xmin, ymin, xmax, ymax = (float(edge) for edge in row)
    return xmin, ymin, xmax, ymax
