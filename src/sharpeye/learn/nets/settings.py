"""The settings of a training, and the learning rate of each of its steps."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sharpeye.core.config import AugmentConfig, Config, TrainConfig

_TEACHER = ("weight", "temperature")


@dataclass(frozen=True, kw_only=True)
class FitSettings(TrainConfig):
    """How a network is trained: the counterpart of the arguments of Keras' `compile` and `fit`.

    A field that has the name of a configuration key means the same and has its unit and range;
    see also `LocalizeConfig` and `DataConfig.balance`. The learning rate is above 0.

    Attributes:
        stage: `train`, `fine-tune` or `box`: the name in the rows of the history.
        learning_rate_key: the configuration key of the learning rate, for messages.
        teacher_weight, teacher_temperature: see `DistillConfig`; without effect if the training
            arrays have no answers of a teacher.
        predictions_after: how many images are predicted after the training, which the time limit
            has to allow for.
    """

    augment: AugmentConfig
    balance: str
    seed: int
    class_weight: float = 1.0
    box_weight: float = 0.0
    box_loss: str = "giou"
    stage: str = "train"
    learning_rate_key: str = "train.learning_rate"
    teacher_weight: float = 0.0
    teacher_temperature: float = 1.0
    predictions_after: int = 0

    @classmethod
    def from_config(cls, config: Config, learning_rate: float) -> "FitSettings":
        """The settings of training from scratch, from `[train]` and the sections around it.

        Args:
            learning_rate: replaces `train.learning_rate`, whose 0 means the network's own.
        """
        values = vars(config.train) | {"learning_rate": learning_rate}
        if config.task == "localize":
            names = ("class_weight", "box_weight", "box_loss")
            values |= {name: getattr(config.localize, name) for name in names}
        values |= {f"teacher_{name}": getattr(config.distill, name) for name in _TEACHER}
        return cls(**values, augment=config.augment, balance=config.data.balance, seed=config.seed)

    def within_run(self, other_seconds: float, predictions_after: int) -> "FitSettings":
        """The settings of a training in a run whose time limit covers other work, too.

        Args:
            other_seconds: what the run takes before and after the training.
            predictions_after: see the attribute.
        """
        if not self.time_limit:
            return self
        seconds = max(1.0, self.time_limit - other_seconds)
        return replace(self, time_limit=seconds, predictions_after=predictions_after)


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
        steps: consecutive steps, counted from 0 over all epochs.
        total_steps: steps of the complete training, 1 or more.
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
