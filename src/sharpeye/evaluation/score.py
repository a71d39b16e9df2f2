"""Answers of a model against the truth: what the metrics, the tables and the report are made of.

Knows nothing of models: it is given probabilities.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.metrics import confusion_matrix, reliability_bins, summarize
from sharpeye.types import Sample

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said of one picture.

    Attributes:
        sample: the picture.
        predicted: the most probable class.
        score: its probability, 0..1.
        truth_score: the probability of the true class.
        margin: `score` less the next best probability.
    """

    sample: Sample
    predicted: str
    score: float
    truth_score: float
    margin: float

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
class Scored:
    """A model's answers for one part of a data set.

    Attributes:
        labels: C class names; the index is the class index.
        samples: N samples, each of one of these classes.
        probs: float[N,C], rows sum to 1.
    """

    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    probs: Floats

    @cached_property
    def truth(self) -> npt.NDArray[np.int64]:
        """int64[N]: the true class indices."""
        index = {label: i for i, label in enumerate(self.labels)}
        return np.array([index[sample.label] for sample in self.samples], dtype=np.int64)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """This part's entry in `metrics.json`."""
        return summarize(self.truth, self.probs, self.labels)

    @cached_property
    def matrix(self) -> npt.NDArray[np.int64]:
        """int64[C,C]: row = true class, column = predicted class."""
        return confusion_matrix(self.truth, self.probs.argmax(axis=1), len(self.labels))

    @cached_property
    def reliability(self) -> list[dict[str, float]]:
        """See `metrics.reliability_bins`."""
        return reliability_bins(self.truth, self.probs)

    @cached_property
    def answers(self) -> tuple[Answer, ...]:
        """One answer a sample, in the order of the samples."""
        ordered = np.sort(self.probs, axis=1)
        return tuple(
            Answer(
                sample=sample,
                predicted=self.labels[int(row.argmax())],
                score=float(row.max()),
                truth_score=float(row[truth]),
                margin=float(top[-1] - top[-2]),
            )
            for sample, row, truth, top in zip(
                self.samples, self.probs, self.truth, ordered, strict=True
            )
        )

    @cached_property
    def mistakes(self) -> tuple[Answer, ...]:
        """The wrong answers, those that the model was most sure of first."""
        wrong = [answer for answer in self.answers if not answer.correct]
        return tuple(sorted(wrong, key=lambda a: (-a.score, a.path)))
