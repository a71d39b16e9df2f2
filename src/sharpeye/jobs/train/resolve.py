"""Resolve a configuration: fill in the model's defaults, and reject contradictions."""

import logging
from collections.abc import Collection
from pathlib import Path

from sharpeye.core.config import Config, changed_knobs, load_toml
from sharpeye.core.config_paths import remember_current_folder
from sharpeye.core.knobs import iter_knobs, literal
from sharpeye.core.own_code import is_own_code, load_function
from sharpeye.errors import UsageError
from sharpeye.jobs.train.earlier_weights import history_of_run, with_initial_weights
from sharpeye.learn.nets.backend import load_backend
from sharpeye.learn.nets.from_scratch import peak_learning_rate
from sharpeye.learn.nets.loop import monitored_loss
from sharpeye.models.registry import get_spec
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run
from sharpeye.runs.run_folder import require_unfinished

log = logging.getLogger(__name__)


def resolve(config: Config) -> Config:
    """Fill in the model's defaults, and the folder at which relative paths begin.

    Raises:
        UsageError: no such model, or contradictory settings.
    """
    _load_backend_for_code(config)
    config = with_code_digests(with_initial_weights(config))
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
    name = config.model.name if is_own_code(config.model.name) else spec.name
    config = config.replace({"model.name": name, "model.weights": weights, "model.fit": fit})
    if config.task == "localize" and config.model.int8:
        raise UsageError(
            "model.int8 must be false where boxes are learned: their edges lose too much with 8 "
            "bits. Received: true"
        )
    if config.task == "localize" and config.net.flip_tta:
        raise UsageError(
            "net.flip_tta must be false where boxes are learned: the box of a mirror image is "
            "elsewhere. Received: true"
        )
    if config.from_scratch and config.finetune.epochs:
        raise UsageError("--fine-tune needs pretrained weights; --epochs says how long to train")
    if not config.from_scratch:
        return config
    spec.require_net_knobs(changed_knobs(config))
    if config.model.int8 and spec.imagenet is None:
        log.info("int8 gains little on a network as small as %s", spec.name)
    return config.replace({"train.learning_rate": peak_learning_rate(spec, config)})


def with_code_digests(
    config: Config, *, swept: Collection[str] = (), to_change: str = "add --set {key}=''"
) -> Config:
    """The configuration with the digests of the own code that it names.

    Args:
        swept: keys whose values are no names of code, since they are those of each trial.
        to_change: what to do to use changed code, for messages.

    Raises:
        UsageError: the code has changed since the configuration was written, cannot be loaded, or
            was not named by the user.
        MissingExtra: Keras or its backend is not installed.
    """
    _load_backend_for_code(config)
    if is_own_code(config.model.name) and "model.name" not in swept:
        _, digest = load_function(config.model.name, "--model")
        config = _with_digest(config, "model.code_sha256", digest, to_change=to_change)
    if config.augment.function and "augment.function" not in swept:
        _, digest = load_function(config.augment.function, "--augment")
        config = _with_digest(config, "augment.function_sha256", digest, to_change=to_change)
    return config


def _load_backend_for_code(config: Config) -> None:
    """Load the backend before own code imports Keras with other settings, and with messages."""
    if is_own_code(config.model.name) or config.augment.function:
        load_backend()


def _with_digest(config: Config, key: str, digest: str, *, to_change: str) -> Config:
    recorded = next(str(value) for name, _, value in iter_knobs(config) if name == key)
    if recorded not in ("", digest):
        raise UsageError(
            f"the own code has changed since the configuration was written: {key} is "
            f"{recorded[:12]}..., and the file's is {digest[:12]}...; to use the new code, "
            f"{to_change.format(key=key)}"
        )
    return config.replace({key: digest})


def require_same(folder: Path, config: Config) -> None:
    """Raise UsageError if an unfinished run would be resumed with another configuration.

    Raises:
        UsageError: there is no unfinished run, or its settings differ.
    """
    require_unfinished(folder)
    _require_same_knobs(folder, config)


def require_longer(run: Run, config: Config) -> None:
    """Raise UsageError unless the configuration is that of a finished run, but for longer training:
    more epochs, more patience or more time.
    """
    begun, settings = run.config, config.train
    if not begun.from_scratch:
        raise UsageError(
            f"{run.path} is finished, and more epochs would not change it: its network was not "
            "trained from scratch"
        )
    losses = [monitored_loss(row) for row in history_of_run(run) if row["stage"] == "train"]
    done = len(losses)
    if settings.epochs <= done:
        raise UsageError(
            f"{run.path} is finished, after {done} epochs; to go on, give more: "
            f"--epochs {2 * done}. Received: {settings.epochs}"
        )
    since_best = done - 1 - losses.index(min(losses)) if losses else 0
    if settings.patience and since_best >= settings.patience:
        raise UsageError(
            f"{run.path} is finished, after {since_best} epochs without a better one; to go on, "
            f"give more patience: --set train.patience={2 * since_best}, or 0 for all "
            f"{settings.epochs} epochs. Received: {settings.patience}"
        )
    longer = ("epochs", "patience", "time_limit")
    same = {f"train.{name}": getattr(begun.train, name) for name in longer}
    _require_same_knobs(run.path, config.replace(same))


def _require_same_knobs(folder: Path, config: Config) -> None:
    begun = load_toml(folder / layout.CONFIG)
    for (key, _, old), (_, _, new) in zip(iter_knobs(begun), iter_knobs(config), strict=True):
        # Version 0.1 did not record where relative paths begin.
        if old != new and not (key == "data.relative_to" and not old):
            raise UsageError(
                f"the run in {folder} was begun with {key} = {literal(old)}, now it is "
                f"{literal(new)}; go on with the same settings, or choose another --output"
            )
