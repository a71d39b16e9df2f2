"""Calibrate probabilities by a temperature (Guo et al. 2017, arXiv:1706.04599)."""

import numpy as np

from sharpeye.core.arrays import Floats, Ints
from sharpeye.core.numerics import softmax


def fit_temperature(log_probs: Floats, targets: Ints) -> float:
    """The temperature T, 0.2 to 5, for which softmax(log_probs / T) has the lowest log loss.

    The log loss has one minimum in log T, which golden-section search finds.

    Args:
        log_probs: float64[N,C], logits or logarithms of probabilities.
    """

    def loss(log_t: float) -> float:
        probs = softmax(log_probs / np.exp(log_t))
        return float(-np.log(np.maximum(probs[np.arange(len(targets)), targets], 1e-30)).mean())

    low, high, golden = np.log(0.2), np.log(5.0), (np.sqrt(5) - 1) / 2
    for _ in range(24):  # shrinks the interval to 0.00003 of its length
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))
