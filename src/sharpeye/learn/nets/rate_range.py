"""The learning-rate range test: train with a rising rate, and watch the loss.

Source: Smith 2015, Cyclical Learning Rates for Training Neural Networks, arXiv:1506.01186.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sharpeye.core.arrays import Floats
from sharpeye.core.progress import Progress
from sharpeye.errors import DivergedError
from sharpeye.learn.nets.batches import BatchLoader
from sharpeye.learn.nets.engine import StepBatches
from sharpeye.learn.nets.loop import prepare_training
from sharpeye.learn.nets.settings import FitSettings
from sharpeye.learn.nets.training_arrays import TrainingArrays

if TYPE_CHECKING:
    import keras

STEPS = 150
# The lowest and the highest rate, in times the default of the network and the optimizer.
_LOWEST, _HIGHEST = 1e-3, 1e3
# The test ends when the smoothed loss is that many times its lowest value.
_DIVERGED = 4.0
_SMOOTHING = 0.9
# A peak at the lowest loss is about to diverge; a tenth of it is the usual choice.
_SAFETY = 10.0


@dataclass(frozen=True)
class RateRange:
    """The result of a range test.

    Attributes:
        rates: float64[N], ascending.
        losses: float64[N], the mean loss of a step's images, smoothed exponentially.
        suggested: a tenth of the rate with the lowest loss.
    """

    rates: Floats
    losses: Floats
    suggested: float


def try_learning_rates(
    build: "Callable[[], keras.Model]",
    arrays: TrainingArrays,
    settings: FitSettings,
    *,
    on_steps: Progress | None = None,
) -> RateRange:
    """Take up to `STEPS` steps with rates from a thousandth to a thousand times
    `settings.learning_rate`, until the loss diverges.

    Raises:
        DivergedError: not even the first steps have a loss.
    """
    settings = replace(settings, accumulate=1)
    engine, loader = prepare_training(build, arrays, settings)
    rates = settings.learning_rate * np.geomspace(_LOWEST, _HIGHEST, STEPS)
    losses: list[float] = []
    mean, lowest = 0.0, math.inf
    for number, step in enumerate(itertools.islice(_steps(loader), STEPS)):
        rate = np.array([rates[number]], np.float32)
        totals = engine.train(replace(step, learning_rates=rate))
        loss = totals.loss / totals.images
        if not math.isfinite(loss):
            break
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        losses.append(mean / (1 - _SMOOTHING ** (number + 1)))
        lowest = min(lowest, losses[-1])
        if on_steps:
            on_steps(number + 1, STEPS)
        if losses[-1] > _DIVERGED * lowest:
            break
    if not losses:
        raise DivergedError("the loss of the first step is not a number")
    best = int(np.argmin(losses))
    return RateRange(rates[: len(losses)], np.array(losses), float(rates[best]) / _SAFETY)


def _steps(loader: BatchLoader) -> Iterator[StepBatches]:
    """Single steps, epoch after epoch."""
    for epoch in itertools.count():
        for block in loader.epoch(epoch, epoch + 1):
            for i in range(len(block.learning_rates)):
                yield block.part(i, i + 1)
