"""The learning rate of each step of a training from scratch."""

import numpy as np
import numpy.typing as npt

from sharpeye.core.config import TrainConfig


def learning_rates(
    config: TrainConfig, peak: float, first: int, count: int, total: int
) -> npt.NDArray[np.float32]:
    """float32[count]: the rates of the steps `first`, `first + 1`, and so on.

    onecycle rises from 0 in a straight line, reaches `peak` on the last of the
    `warmup * total` steps of the rise, and falls in a straight line that would be 0 on step
    `total`; cosine rises alike and falls along half a cosine. So every step from 0 to `total - 1`
    has a rate above 0, and a step after that has 0. exponential is TensorFlow 1's
    `exponential_decay(staircase=True)`; it and constant begin at `peak`, without a rise.

    Args:
        peak: the highest rate.
        first: index of the first step, from 0.
        total: steps of the whole training, 1 or more.
    """
    steps = np.arange(first, first + count, dtype=np.float64)
    if config.schedule == "constant":
        shape = np.ones(count)
    elif config.schedule == "exponential":
        shape = config.decay ** np.floor(steps / config.decay_steps)
    else:
        # Steps are counted from 1 here: step 0 moves the weights too.
        rise = max(1, round(config.warmup * total))
        done = np.clip((steps + 1 - rise) / (total + 1 - rise), 0.0, 1.0)
        fall = 1 - done if config.schedule == "onecycle" else (1 + np.cos(np.pi * done)) / 2
        shape = np.minimum((steps + 1) / rise, fall)
    return (peak * shape).astype(np.float32)
