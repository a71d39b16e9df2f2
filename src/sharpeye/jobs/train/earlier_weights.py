"""Find the weights with which the training of a network begins, and the epochs that it goes on
from.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sharpeye.core.config import Config, load_toml
from sharpeye.core.config_paths import WEIGHTS_WITHOUT_FILE, locate
from sharpeye.core.formatting import number
from sharpeye.core.regular_files import read_regular_file
from sharpeye.core.types import SampleSet
from sharpeye.data.training_overlap import TRAINING_EXPOSURES, find_training_overlap
from sharpeye.errors import ConfigError, UsageError
from sharpeye.models.initial_weights import InitialWeights
from sharpeye.models.registry import get_spec
from sharpeye.runs import layout
from sharpeye.runs.lineage import training_rows
from sharpeye.runs.run_directory import MAX_LABELS_BYTES, Run

_TEXT_COLUMNS = ("stage",)


def with_initial_weights(config: Config) -> Config:
    """The configuration with a run, or a file for a network without ImageNet weights, that
    `model.weights` names as `train.initial_weights`; of a run also the network, unless another one
    is configured.
    """
    weights = config.model.weights
    if weights in WEIGHTS_WITHOUT_FILE:
        return config
    path = locate(config, weights)
    if not path.is_dir() and get_spec(config.model.name).imagenet:
        return config  # A file with weights for a frozen network.
    changes: dict[str, Any] = {"model.weights": "none", "train.initial_weights": weights}
    default, file = Config(), path / layout.CONFIG
    if file.is_file() and config.model.name == default.model.name and config.net == default.net:
        earlier = _config_of(file)
        changes |= {f"net.{key}": value for key, value in vars(earlier.net).items()}
        changes["model.name"] = earlier.model.name
        for key in ("image_size", "fit", "filter"):
            if getattr(config.model, key) == getattr(default.model, key):
                changes[f"model.{key}"] = getattr(earlier.model, key)
    return config.replace(changes)


def find_initial_weights(config: Config) -> InitialWeights | None:
    """The weights of `train.initial_weights`; None if it is empty.

    Raises:
        UsageError: there is no such file, or the run has no weights of a whole network.
    """
    if not config.train.initial_weights:
        return None
    path = locate(config, config.train.initial_weights)
    if not path.is_dir():
        if not path.is_file():
            raise UsageError(f"--weights: there is no run and no file at {path}")
        return InitialWeights(path)
    return weights_of_run(path)


def overlap_notes(config: Config, samples: SampleSet) -> tuple[str, ...]:
    """A sentence about test images that the initial weights were trained on, if there are any."""
    if not config.train.initial_weights:
        return ()
    path = locate(config, config.train.initial_weights)
    folder = path if path.is_dir() else path.parent
    rows, tested = training_rows(folder), [s for s in samples if s.split == "test"]
    if not rows:
        return ()
    overlap = find_training_overlap(rows, replace(samples, samples=tuple(tested)), None)
    known = sum(exposure in TRAINING_EXPOSURES for exposure in overlap.exposures)
    if not known:
        return ()
    return (
        f"{known} of the {len(tested)} test images, or nearly the same ones, are among those that "
        f"the initial weights in {folder} were trained on, so the test scores are too high; train "
        "with the seed and the split.* of that run.",
    )


def weights_of_run(folder: Path) -> InitialWeights:
    """The weights of the network that a run trained; UsageError if it trained a head alone."""
    file, labels = folder / layout.KERAS_MODEL, folder / layout.LABELS
    if not file.is_file():
        raise UsageError(
            f"{folder} has no {layout.KERAS_MODEL}: only a run that trained a whole network from "
            "scratch has weights to begin with"
        )
    config_file = folder / layout.CONFIG
    if config_file.is_file() and not _config_of(config_file).from_scratch:
        raise UsageError(
            f"{folder} is a fine-tuned run, whose network scales pixels and features otherwise "
            "than one from scratch; --weights takes a run that was trained from scratch"
        )
    names: list[str] = []
    if labels.is_file():
        names = read_regular_file(labels, MAX_LABELS_BYTES).decode("utf-8").split("\n")[:-1]
    return InitialWeights(file, tuple(names))


def history_of_run(run: Run) -> list[dict[str, Any]]:
    """The epochs of a finished run, with numbers as numbers."""
    return [
        {
            key: value if key in _TEXT_COLUMNS else _number(key, value)
            for key, value in row.items()
            if value
        }
        for row in run.table(layout.HISTORY)
    ]


def _number(key: str, value: str) -> float | int:
    return int(value) if key == "epoch" else number(value)


def _config_of(file: Path) -> Config:
    try:
        return load_toml(file)
    except ConfigError as error:
        raise UsageError(f"--weights: {error}") from None
