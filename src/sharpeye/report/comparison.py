"""What became of an earlier model's test images when images were added.

Both models are judged by the same images: the earlier one's test part, which neither has learned
from. What the earlier one said of them stands in its run; nothing is computed again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from sharpeye.core.metrics import mcnemar, wilson_interval
from sharpeye.report.evaluation import Evaluation, ScoredPrediction

# At or above it, a difference between the models may well be chance.
LEVEL = 0.05

Kind = Literal["right to wrong", "wrong to right", "wrong to wrong"]
KINDS: tuple[Kind, ...] = ("right to wrong", "wrong to right", "wrong to wrong")
COLUMNS = ("path", "label", "change", "before", "score_before", "after", "score_after")


@dataclass(frozen=True, slots=True)
class EarlierPrediction:
    """What the earlier model said of one of its test images.

    Attributes:
        predicted: the class.
        score: its probability, 0..1.
        overlap: of a localizer's box with the true one, 0..1; None of a classifier.
    """

    predicted: str
    score: float
    overlap: float | None = None


@dataclass(frozen=True)
class Extension:
    """How the earlier run's images became this one's.

    Attributes:
        run: the earlier run, as it was named.
        folder: what was added.
        before: images that the earlier run had.
        missing: how many of them are not there any more, or have changed.
        relabelled: how many of them are in another class now.
        added: images that are new.
        known: images of `folder` that were not added, as the earlier run has them.
        classes: those that are new.
        tested: images of its test part.
    """

    run: str
    folder: str
    before: int
    missing: int
    relabelled: int
    added: int
    known: int
    classes: tuple[str, ...]
    tested: int


@dataclass(frozen=True, slots=True)
class Pair:
    """One image and what both models say of it."""

    answer: ScoredPrediction
    earlier: EarlierPrediction

    @property
    def was_right(self) -> bool:
        """Whether the earlier model named it right; it may be in another class now."""
        return self.earlier.predicted == self.answer.label

    @property
    def kind(self) -> Kind | None:
        """How the answer changed; None if it is the same."""
        if self.earlier.predicted == self.answer.predicted:
            return None
        if self.was_right:
            return "right to wrong"
        return "wrong to right" if self.answer.correct else "wrong to wrong"


@dataclass(frozen=True, slots=True)
class Share:
    """Right answers among some images."""

    right: int
    count: int

    @property
    def accuracy(self) -> float | None:
        """0..1; None without images."""
        return self.right / self.count if self.count else None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy, Wilson's."""
        return wilson_interval(self.right, self.count)

    def to_dict(self) -> dict[str, Any]:
        return {"accuracy": self.accuracy, "accuracy_ci95": list(self.interval)}


@dataclass(frozen=True, slots=True)
class ClassChange:
    """One class before and after.

    Attributes:
        before, after: both models on the earlier test images of this class.
        lost, gained: images that only the earlier, only the new model names right.
        added: the new model on test images of this class that the earlier run did not have.
        new: whether the earlier model does not know the class.
    """

    label: str
    before: Share
    after: Share
    lost: int
    gained: int
    added: Share
    new: bool


@dataclass(frozen=True)
class Comparison:
    """Two models on the test images of the earlier one.

    Attributes:
        growth: what was added to what.
        earlier: the earlier model's answers by path; only images that are still tested.
        test: the new model's answers for its whole test part.
        features: how many were computed, and how many were in the cache; None where a network
            learned from the images themselves.
    """

    growth: Extension
    earlier: Mapping[str, EarlierPrediction]
    test: Evaluation
    features: tuple[int, int] | None = None

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Every image that both models were asked about."""
        return tuple(
            Pair(answer, self.earlier[answer.path])
            for answer in self.test.predictions
            if answer.path in self.earlier
        )

    @cached_property
    def flips(self) -> tuple[Pair, ...]:
        """Where the answer is another one: right to wrong first, of these the surest first."""
        changed = [(KINDS.index(pair.kind), pair) for pair in self.pairs if pair.kind]
        changed.sort(key=lambda item: (item[0], -item[1].answer.score, item[1].answer.path))
        return tuple(pair for _, pair in changed)

    @cached_property
    def before(self) -> Share:
        """The earlier model."""
        return Share(sum(pair.was_right for pair in self.pairs), len(self.pairs))

    @cached_property
    def after(self) -> Share:
        """The new one, on the same images."""
        return _share(pair.answer for pair in self.pairs)

    def count(self, kind: Kind) -> int:
        """Images whose answer changed so."""
        return sum(pair.kind == kind for pair in self.flips)

    @cached_property
    def p_value(self) -> float:
        """How probable so uneven a change is by chance, 0..1; see `mcnemar`."""
        return mcnemar(self.count("right to wrong"), self.count("wrong to right"))

    @property
    def worse(self) -> bool:
        """Whether the new model is worse on these images, beyond chance."""
        return self.after.right < self.before.right and self.p_value < LEVEL

    @property
    def better(self) -> bool:
        """Whether it is better, beyond chance."""
        return self.after.right > self.before.right and self.p_value < LEVEL

    @cached_property
    def overlaps(self) -> tuple[float, float] | None:
        """Mean IoU before and after; None unless all images have both."""
        both = [(pair.earlier.overlap, pair.answer.overlap) for pair in self.pairs]
        known = [(one, two) for one, two in both if one is not None and two is not None]
        if not known or len(known) < len(both):
            return None
        before, after = np.mean(known, axis=0)
        return float(before), float(after)

    @cached_property
    def classes(self) -> tuple[ClassChange, ...]:
        """One row a class: those that lost most first, those that are new last."""
        old: dict[str, list[Pair]] = {label: [] for label in self.test.class_names}
        added: dict[str, list[ScoredPrediction]] = {label: [] for label in self.test.class_names}
        for pair in self.pairs:
            old[pair.answer.label].append(pair)
        for answer in self.test.predictions:
            if answer.path not in self.earlier:
                added[answer.label].append(answer)
        rows = [
            ClassChange(
                label,
                Share(sum(pair.was_right for pair in pairs), len(pairs)),
                _share(pair.answer for pair in pairs),
                sum(pair.kind == "right to wrong" for pair in pairs),
                sum(pair.kind == "wrong to right" for pair in pairs),
                _share(added[label]),
                label in self.growth.classes,
            )
            for label, pairs in old.items()
        ]
        return tuple(sorted(rows, key=lambda row: (row.new, row.gained - row.lost)))

    @cached_property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows of `changes.csv`, under `COLUMNS`."""
        return [
            (
                pair.answer.path,
                pair.answer.label,
                pair.kind,
                pair.earlier.predicted,
                pair.earlier.score,
                pair.answer.predicted,
                pair.answer.score,
            )
            for pair in self.flips
        ]

    @property
    def metrics(self) -> dict[str, Any]:
        """The entry `changes` of `metrics.json`."""
        growth = self.growth
        found: dict[str, Any] = {
            "added_to": growth.run,
            "added_from": growth.folder,
            "pictures": {
                "before": growth.before,
                "missing": growth.missing,
                "relabelled": growth.relabelled,
                "added": growth.added,
                "known": growth.known,
            },
            "new_classes": list(growth.classes),
            "features": self.features
            and dict(zip(("computed", "from_cache"), self.features, strict=True)),
            "earlier_test": {
                "count": len(self.pairs),
                "gone": growth.tested - len(self.pairs),
                "before": self.before.to_dict(),
                "after": self.after.to_dict(),
                "right_to_wrong": self.count("right to wrong"),
                "wrong_to_right": self.count("wrong to right"),
                "p_value": self.p_value,
                "worse": self.worse,
                "better": self.better,
            },
            "per_class": {row.label: _class_entry(row) for row in self.classes},
        }
        if self.overlaps:
            before, after = self.overlaps
            found["earlier_test"] |= {"mean_iou_before": before, "mean_iou_after": after}
        return found


def _share(answers: Iterable[ScoredPrediction]) -> Share:
    right = [answer.correct for answer in answers]
    return Share(sum(right), len(right))


def _class_entry(row: ClassChange) -> dict[str, Any]:
    return {
        "new": row.new,
        "count": row.before.count,
        "before": row.before.to_dict(),
        "after": row.after.to_dict(),
        "right_to_wrong": row.lost,
        "wrong_to_right": row.gained,
        "added_count": row.added.count,
        "added": row.added.to_dict(),
    }
