"""Resolve a configuration: fill in what it leaves to the model, and refuse what excludes itself."""

import logging
from pathlib import Path

from sharpeye.core.config import Config, TrainConfig, load_toml
from sharpeye.core.knobs import iter_knobs, literal
from sharpeye.errors import UsageError
from sharpeye.learn.nets.from_scratch import peak_learning_rate
from sharpeye.models.registry import get_spec
from sharpeye.runs import layout
from sharpeye.runs.run_directory import require_unfinished

log = logging.getLogger(__name__)


def resolve(config: Config) -> Config:
    """Fill in what a configuration leaves to the model.

    Raises:
        UsageError: no such model, or settings that exclude each other.
    """
    spec = get_spec(config.model.name)
    weights = config.model.weights
    if weights == "auto":
        weights = "imagenet" if spec.imagenet else "none"
    if weights != "none" and spec.imagenet is None:
        raise UsageError(
            f"{spec.name} has no pretrained weights: it is trained from scratch, with --weights "
            f"none or without --weights. Received: {weights}"
        )
    fit = config.model.fit
    if fit == "auto":
        fit = "stretch" if config.task == "localize" else "pad"
    config = config.replace({"model.name": spec.name, "model.weights": weights, "model.fit": fit})
    if config.task == "localize" and config.model.int8:
        raise UsageError(
            "model.int8 must be false where boxes are learned: their edges lose too much with 8 "
            "bits. Received: true"
        )
    if not config.from_scratch:
        _warn_of_unused(config)
        return config
    if config.finetune.epochs:
        raise UsageError("--fine-tune needs pretrained weights; --epochs says how long to train")
    if config.model.int8 and spec.imagenet is None:
        log.info("int8 gains little on a network as small as %s", spec.name)
    return config.replace({"train.learning_rate": peak_learning_rate(spec, config)})


def _warn_of_unused(config: Config) -> None:
    given, default = vars(config.train), vars(TrainConfig())
    unused = [f"train.{name}" for name in default if given[name] != default[name]]
    if config.finetune.epochs:
        # Fine-tuning has settings of its own for these, or fixes them.
        replaced = {*vars(config.finetune), "optimizer", "schedule", "label_smoothing"}
        unused = [key for key in unused if key.removeprefix("train.") in replaced]
    if unused:
        log.warning(
            "%s is not used: %s keeps its pretrained weights; "
            "--fine-tune N trains it further, --weights none from scratch",
            ", ".join(unused),
            config.model.name,
        )


def require_same(folder: Path, config: Config) -> None:
    """Refuse to resume a run under another configuration.

    Raises:
        UsageError: there is no unfinished run, or it was begun with other settings.
    """
    require_unfinished(folder)
    begun = load_toml(folder / layout.CONFIG)
    for (key, _, old), (_, _, new) in zip(iter_knobs(begun), iter_knobs(config), strict=True):
        if old != new:
            raise UsageError(
                f"the run in {folder} was begun with {key} = {literal(old)}, now it is "
                f"{literal(new)}; go on with the same settings, or choose another --output"
            )
