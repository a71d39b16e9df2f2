"""Compare an extended model with its earlier model.

Both are scored on the same images: the test images of the earlier run, which are in neither
training set. The earlier model's predictions are read from its run, without a new computation.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from sharpeye.core.metrics import mcnemar, wilson_interval
from sharpeye.report.evaluation import Evaluation, ScoredPrediction

# A difference with at least this p-value may be chance.
_SIGNIFICANCE_LEVEL = 0.05

Change = Literal["right to wrong", "wrong to right", "wrong to wrong"]
CHANGES: tuple[Change, ...] = ("right to wrong", "wrong to right", "wrong to wrong")
COLUMNS = ("path", "label", "change", "before", "score_before", "after", "score_after")


@dataclass(frozen=True, slots=True)
class EarlierPrediction:
    """The earlier model's prediction for one of its test images; see `ScoredPrediction`."""

    predicted: str
    score: float
    iou: float | None = None


@dataclass(frozen=True)
class Extension:
    """Numbers of images that the new run keeps from the earlier one, and that it adds."""

    run: str  # the earlier run, by the user's name for it
    folder: str  # the added folder
    before: int  # in the earlier run
    missing: int  # of these, deleted or changed
    relabelled: int  # of these, in another class now
    added: int
    known: int  # in `folder`, but already in the earlier run
    classes: tuple[str, ...]  # those that are new
    tested: int  # in the earlier run


@dataclass(frozen=True, slots=True)
class PredictionPair:
    """The predictions of both models for one image."""

    prediction: ScoredPrediction
    earlier: EarlierPrediction

    @property
    def was_right(self) -> bool:
        """Whether the earlier prediction agrees with the present label."""
        return self.earlier.predicted == self.prediction.label

    @property
    def change(self) -> Change | None:
        """How the prediction changed; None if it is the same."""
        if self.earlier.predicted == self.prediction.predicted:
            return None
        if self.was_right:
            return "right to wrong"
        return "wrong to right" if self.prediction.correct else "wrong to wrong"


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The number of correct predictions among some images."""

    right: int
    count: int

    @classmethod
    def of(cls, right: Sequence[bool]) -> "Accuracy":
        return cls(sum(right), len(right))

    @property
    def accuracy(self) -> float | None:
        """0..1; None without images."""
        return self.right / self.count if self.count else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, Wilson's."""
        return wilson_interval(self.right, self.count)

    def to_dict(self) -> dict[str, Any]:
        return {"accuracy": self.accuracy, "accuracy_ci95": list(self.interval)}


@dataclass(frozen=True)
class PairScores:
    """Both models on the same images; `lost` and `gained` are correct in only one of the two."""

    pairs: tuple[PredictionPair, ...]

    @cached_property
    def before(self) -> Accuracy:
        return Accuracy.of([pair.was_right for pair in self.pairs])

    @cached_property
    def after(self) -> Accuracy:
        return Accuracy.of([pair.prediction.correct for pair in self.pairs])

    @cached_property
    def lost(self) -> int:
        return sum(pair.change == "right to wrong" for pair in self.pairs)

    @cached_property
    def gained(self) -> int:
        return sum(pair.change == "wrong to right" for pair in self.pairs)

    def to_dict(self) -> dict[str, Any]:
        return {
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "right_to_wrong": self.lost,
            "wrong_to_right": self.gained,
        }


@dataclass(frozen=True)
class ClassComparison(PairScores):
    """One class before and after, on the earlier test images of the class."""

    label: str
    added: Accuracy  # the new model on test images that are not in the earlier run
    new: bool  # whether the earlier model lacks the class

    def to_dict(self) -> dict[str, Any]:
        """The entry of the class in `metrics.json`."""
        added = {"added_count": self.added.count, "added": self.added.to_dict()}
        return {"new": self.new, "count": len(self.pairs)} | super().to_dict() | added


@dataclass(frozen=True)
class Comparison:
    """Two models on the test images of the earlier one.

    `features` counts computed and cached feature vectors; None if the network itself was trained.
    """

    extension: Extension
    earlier: Mapping[str, EarlierPrediction]  # by path; only for images that are still test images
    test: Evaluation  # of the new model for all its test images
    features: tuple[int, int] | None = None

    @cached_property
    def pairs(self) -> tuple[PredictionPair, ...]:
        """A pair for every image with predictions of both models."""
        return tuple(
            PredictionPair(prediction, self.earlier[prediction.path])
            for prediction in self.test.predictions
            if prediction.path in self.earlier
        )

    @cached_property
    def changed_pairs(self) -> tuple[PredictionPair, ...]:
        """The pairs with a changed prediction: right to wrong first, then by descending score."""
        changed = [(CHANGES.index(pair.change), pair) for pair in self.pairs if pair.change]
        changed.sort(key=lambda item: (item[0], -item[1].prediction.score, item[1].prediction.path))
        return tuple(pair for _, pair in changed)

    @cached_property
    def scores(self) -> PairScores:
        return PairScores(self.pairs)

    @cached_property
    def p_value(self) -> float:
        """The p-value of the changes, 0..1; see `mcnemar`."""
        return mcnemar(self.scores.lost, self.scores.gained)

    @property
    def worse(self) -> bool:
        """Whether the new model is significantly worse on the same images."""
        return self.scores.lost > self.scores.gained and self.p_value < _SIGNIFICANCE_LEVEL

    @property
    def better(self) -> bool:
        return self.scores.lost < self.scores.gained and self.p_value < _SIGNIFICANCE_LEVEL

    @cached_property
    def mean_ious(self) -> tuple[float, float] | None:
        """Mean IoU before and after; None unless all images have both."""
        ious = [(pair.earlier.iou, pair.prediction.iou) for pair in self.pairs]
        if not ious or any(None in pair for pair in ious):
            return None
        before, after = np.mean(np.array(ious, np.float64), axis=0)
        return float(before), float(after)

    @cached_property
    def classes(self) -> tuple[ClassComparison, ...]:
        """One row per class: the largest losses first, new classes last."""
        pairs, added = defaultdict(list), defaultdict(list)
        for pair in self.pairs:
            pairs[pair.prediction.label].append(pair)
        for prediction in self.test.predictions:
            if prediction.path not in self.earlier:
                added[prediction.label].append(prediction.correct)
        rows = [
            ClassComparison(
                tuple(pairs[label]),
                label,
                added=Accuracy.of(added[label]),
                new=label in self.extension.classes,
            )
            for label in self.test.class_names
        ]
        return tuple(sorted(rows, key=lambda row: (row.new, row.gained - row.lost)))

    @cached_property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows of `changes.csv`, under `COLUMNS`."""
        rows = []
        for pair in self.changed_pairs:
            before, after = pair.earlier, pair.prediction
            row = (after.path, after.label, pair.change, before.predicted, before.score)
            rows.append((*row, after.predicted, after.score))
        return rows

    @property
    def metrics(self) -> dict[str, Any]:
        """The entry `changes` of `metrics.json`."""
        extension, features = self.extension, self.features
        images = ("before", "missing", "relabelled", "added", "known")
        earlier_test = {
            "count": len(self.pairs),
            "gone": extension.tested - len(self.pairs),
            **self.scores.to_dict(),
            "p_value": self.p_value,
            "worse": self.worse,
            "better": self.better,
        }
        if self.mean_ious:
            names = ("mean_iou_before", "mean_iou_after")
            earlier_test |= dict(zip(names, self.mean_ious, strict=True))
        return {
            "added_to": extension.run,
            "added_from": extension.folder,
            "pictures": {name: getattr(extension, name) for name in images},
            "new_classes": list(extension.classes),
            "features": features and dict(zip(("computed", "from_cache"), features, strict=True)),
            "earlier_test": earlier_test,
            "per_class": {row.label: row.to_dict() for row in self.classes},
        }
