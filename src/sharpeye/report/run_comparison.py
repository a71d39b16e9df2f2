"""Finished runs side by side, on the same test images."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sharpeye.core.metrics import Z_95, mcnemar, wilson_interval
from sharpeye.runs.run_directory import Run


@dataclass(frozen=True, slots=True)
class RunPrediction:
    """A run's prediction for one of its test images."""

    path: str
    predicted: str
    score: float


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison.

    Attributes:
        predictions: for the common test images, in one order for all runs.
        megabytes: size of the model file.
        seconds_an_image: median time of one image of the model's own size, on this machine.
        training_seconds: what its training took, on the machine that trained it.
    """

    name: str
    run: Run
    predictions: tuple[RunPrediction, ...]
    megabytes: float
    seconds_an_image: float
    training_seconds: float


@dataclass(frozen=True)
class PairedTest:
    """A run against the reference.

    Attributes:
        lost, gained: images that only the reference, and only the run, got right.
        difference: of the accuracies, run minus reference.
        interval: 95 %, of a difference of paired shares (Wald).
        p_value: of McNemar's exact test.
        adjusted: the p-value after Holm's correction for all runs of the comparison.
    """

    lost: int
    gained: int
    difference: float
    interval: tuple[float, float]
    p_value: float
    adjusted: float


@dataclass(frozen=True)
class RunComparison:
    """Two runs or more on their common test images; the first is the reference.

    Attributes:
        labels: the true class of each image.
    """

    runs: tuple[ComparedRun, ...]
    labels: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.labels)

    def right(self, run: ComparedRun) -> list[bool]:
        """Whether the prediction of each image is right."""
        pairs = zip(run.predictions, self.labels, strict=True)
        return [prediction.predicted == label for prediction, label in pairs]

    def accuracy(self, run: ComparedRun) -> tuple[float, tuple[float, float]]:
        """Of the common images, with its 95 % interval (Wilson)."""
        right = sum(self.right(run))
        return right / self.count, wilson_interval(right, self.count)

    @cached_property
    def tests(self) -> tuple[PairedTest, ...]:
        """Each run after the first against the first."""
        reference = self.right(self.runs[0])
        counts = []
        for run in self.runs[1:]:
            pairs = [*zip(reference, self.right(run), strict=True)]
            counts.append((pairs.count((True, False)), pairs.count((False, True))))
        p_values = [mcnemar(lost, gained) for lost, gained in counts]
        return tuple(
            PairedTest(lost, gained, *self._difference(lost, gained), p, adjusted)
            for (lost, gained), p, adjusted in zip(counts, p_values, _holm(p_values), strict=True)
        )

    def _difference(self, lost: int, gained: int) -> tuple[float, tuple[float, float]]:
        difference = (gained - lost) / self.count
        variance = (lost + gained) / self.count - difference**2
        half = Z_95 * math.sqrt(max(variance, 0.0) / self.count)
        return difference, (max(-1.0, difference - half), min(1.0, difference + half))

    @cached_property
    def changed(self) -> list[tuple[int, int]]:
        """(index of the image, number of runs that are right) where predictions differ: those that
        the reference got right first.
        """
        right = [self.right(run) for run in self.runs]
        changed = []
        for index in range(self.count):
            predicted = {run.predictions[index].predicted for run in self.runs}
            if len(predicted) > 1:
                changed.append((index, sum(correct[index] for correct in right)))
        return sorted(changed, key=lambda item: (not right[0][item[0]], item[1], item[0]))

    @cached_property
    def classes(self) -> list[tuple[str, int, list[float]]]:
        """(class, number of its images, share that each run got right); the largest gap first."""
        totals = Counter(self.labels)
        right = [Counter(itertools.compress(self.labels, self.right(run))) for run in self.runs]
        rows = [
            (label, total, [of_run[label] / total for of_run in right])
            for label, total in totals.items()
        ]
        return sorted(rows, key=lambda row: (min(row[2]) - max(row[2]), row[0]))

    # --- tables ---

    @property
    def columns(self) -> tuple[str, ...]:
        own = ("run", "path", "model", "images", "accuracy", "accuracy_low", "accuracy_high")
        paired = ("difference", "difference_low", "difference_high", "lost", "gained", "p_value")
        costs = ("p_adjusted", "test_log_loss", "megabytes", "ms_an_image", "training_seconds")
        return (*own, *paired, *costs)

    @property
    def rows(self) -> Iterator[tuple[Any, ...]]:
        """A row for each run; the reference has no paired test. `test_log_loss` is over all test
        images of the run, since its tables do not have the probability of the true class.
        """
        for run, test in zip(self.runs, (None, *self.tests), strict=True):
            accuracy, interval = self.accuracy(run)
            paired: tuple[Any, ...] = (None,) * 7
            if test:
                paired = (test.difference, *test.interval, test.lost, test.gained)
                paired += (test.p_value, test.adjusted)
            own = (run.name, str(run.run.path), run.run.config.model.name, self.count)
            costs = (run.megabytes, 1000 * run.seconds_an_image, run.training_seconds)
            log_loss = run.run.metrics["test"].get("log_loss")
            yield (*own, accuracy, *interval, *paired, log_loss, *costs)

    @property
    def changed_columns(self) -> tuple[str, ...]:
        names = [(f"{run.name}", f"{run.name} score") for run in self.runs]
        return ("path", "label", *(name for pair in names for name in pair))

    @property
    def changed_rows(self) -> Iterator[tuple[Any, ...]]:
        for index, _ in self.changed:
            cells: list[Any] = []
            for run in self.runs:
                prediction = run.predictions[index]
                cells += [prediction.predicted, prediction.score]
            yield (self.runs[0].predictions[index].path, self.labels[index], *cells)


def _holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (1979), in the order of the p-values."""
    adjusted, largest, count = [0.0] * len(p_values), 0.0, len(p_values)
    for rank, index in enumerate(sorted(range(count), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
