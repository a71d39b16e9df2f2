"""Compute the learning rate of each step of a training."""

import numpy as np
import numpy.typing as npt

from sharpeye.learn.nets.settings import FitSettings


def learning_rates(
    settings: FitSettings, steps: range, total_steps: int
) -> npt.NDArray[np.float32]:
    """float32[len(steps)]: the learning rate of each step.

    `onecycle` rises linearly from 0, reaches the peak on the last of the `warmup * total_steps`
    warm-up steps, and falls linearly towards 0 on step `total_steps`. `cosine` rises in the same
    way and falls along half a cosine. Every step from 0 to `total_steps - 1` has a rate above 0;
    later steps have 0. `exponential` is TensorFlow 1's `exponential_decay(staircase=True)`;
    it and `constant` start at the peak, without a warm-up.

    Args:
        settings: `schedule` and its parameters; `learning_rate` is the peak.
        steps: consecutive steps, counted from 0 over all epochs.
        total_steps: steps of the whole training, 1 or more.
    """
    step = np.asarray(steps, np.float64)
    if settings.schedule == "constant":
        factor = np.ones(len(steps))
    elif settings.schedule == "exponential":
        factor = settings.decay ** np.floor(step / settings.decay_steps)
    else:
        # These count from 1: step 0 moves the weights too.
        warmup_steps = max(1, round(settings.warmup * total_steps))
        done = np.clip((step + 1 - warmup_steps) / (total_steps + 1 - warmup_steps), 0.0, 1.0)
        fall = 1 - done if settings.schedule == "onecycle" else (1 + np.cos(np.pi * done)) / 2
        factor = np.minimum((step + 1) / warmup_steps, fall)
    return (settings.learning_rate * factor).astype(np.float32)
