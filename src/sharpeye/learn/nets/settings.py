"""Everything that one call of `fit_network` is told about how to train."""

from dataclasses import dataclass, replace

from sharpeye.core.config import AugmentConfig, Config


@dataclass(frozen=True)
class FitSettings:
    """How a network is trained: what Keras takes in `compile` and `fit`.

    A field that has the name of a configuration key means the same and has its unit and range;
    see `TrainConfig`, `LocalizeConfig` and `DataConfig.balance`.

    Attributes:
        learning_rate: the peak of the schedule, above 0.
        learning_rate_key: the configuration key that sets it, for advice in messages.
        stage: `train`, `fine-tune` or `box`: what the rows of the history are called.
        class_weight, box_weight: factors of the classification loss and of the box loss.
    """

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    momentum: float
    epsilon: float
    weight_decay: float
    clip_norm: float
    schedule: str
    warmup: float
    decay: float
    decay_steps: int
    label_smoothing: float
    patience: int
    time_limit: float
    precision: str
    augment: AugmentConfig
    balance: str
    seed: int
    class_weight: float = 1.0
    box_weight: float = 0.0
    box_loss: str = "giou"
    stage: str = "train"
    learning_rate_key: str = "train.learning_rate"

    @classmethod
    def from_config(cls, config: Config, learning_rate: float) -> "FitSettings":
        """The settings of training from scratch, from `[train]` and the sections around it.

        Args:
            learning_rate: replaces `train.learning_rate`, whose 0 means the network's own.
        """
        settings = cls(
            **vars(config.train) | {"learning_rate": learning_rate},
            augment=config.augment,
            balance=config.data.balance,
            seed=config.seed,
        )
        if config.task != "localize":
            return settings
        boxes = config.localize
        return replace(
            settings,
            class_weight=boxes.class_weight,
            box_weight=boxes.box_weight,
            box_loss=boxes.box_loss,
        )
