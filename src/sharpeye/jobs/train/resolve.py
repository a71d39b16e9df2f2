"""Resolve a configuration: fill in the model's defaults, and reject contradictions."""

import logging
from pathlib import Path

from sharpeye.core.config import Config, load_toml
from sharpeye.core.config_paths import remember_current_folder
from sharpeye.core.knobs import iter_knobs, literal
from sharpeye.errors import UsageError
from sharpeye.learn.nets.from_scratch import peak_learning_rate
from sharpeye.models.registry import get_spec
from sharpeye.runs import layout
from sharpeye.runs.run_folder import require_unfinished

log = logging.getLogger(__name__)


def resolve(config: Config) -> Config:
    """Fill in the model's defaults, and the folder at which relative paths begin.

    Raises:
        UsageError: no such model, or contradictory settings.
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
    config = remember_current_folder(config)
    config = config.replace({"model.name": spec.name, "model.weights": weights, "model.fit": fit})
    if config.task == "localize" and config.model.int8:
        raise UsageError(
            "model.int8 must be false where boxes are learned: their edges lose too much with 8 "
            "bits. Received: true"
        )
    if config.from_scratch and config.finetune.epochs:
        raise UsageError("--fine-tune needs pretrained weights; --epochs says how long to train")
    if not config.from_scratch:
        return config
    if config.model.int8 and spec.imagenet is None:
        log.info("int8 gains little on a network as small as %s", spec.name)
    return config.replace({"train.learning_rate": peak_learning_rate(spec, config)})


def require_same(folder: Path, config: Config) -> None:
    """Raise UsageError if a run would be resumed with another configuration.

    Raises:
        UsageError: there is no unfinished run, or its settings differ.
    """
    require_unfinished(folder)
    begun = load_toml(folder / layout.CONFIG)
    for (key, _, old), (_, _, new) in zip(iter_knobs(begun), iter_knobs(config), strict=True):
        # Version 0.1 did not record where relative paths begin.
        if old != new and not (key == "data.relative_to" and not old):
            raise UsageError(
                f"the run in {folder} was begun with {key} = {literal(old)}, now it is "
                f"{literal(new)}; go on with the same settings, or choose another --output"
            )
