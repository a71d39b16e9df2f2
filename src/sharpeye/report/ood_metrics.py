"""Measure how well the output `unknown` works, for `metrics.json` and the report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sharpeye.core.arrays import Floats
from sharpeye.core.metrics import wilson_interval


@dataclass(frozen=True)
class OodMetrics:
    """Out-of-distribution detection on held-out images.

    Attributes:
        scores: float[N], 0..1, unknown scores of held-out images of known classes.
        coverage: an image with a score above it is called unknown.
        calibrated_on: images that the scores were calibrated with; 0 if that is not known.
        auroc: by class, 0..1: how well its images are separated from the others when training
            leaves it out; empty if that was not tried.
    """

    scores: Floats
    coverage: float
    calibrated_on: int = 0
    auroc: Mapping[str, float] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        """Images of known classes that are called unknown."""
        return int((self.scores > self.coverage).sum())

    @property
    def auroc_mean(self) -> float | None:
        """Over the classes that were left out; None without any."""
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
