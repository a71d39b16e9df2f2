"""Say what the epochs of a network show to be wrong, and what to try."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sharpeye.core.config import Config
from sharpeye.core.formatting import plain_percent
from sharpeye.core.types import SampleSet
from sharpeye.learn.nets.loop import monitored_loss

_MIN_EPOCHS = 4
# With few images chance alone may be far above the share of the most frequent class.
_MAX_CHANCE = 0.05
# A validation loss that much above the lowest one has risen, not wandered.
_RISE = 1.15
# A gap between the accuracies that the choice of validation images does not explain.
_MIN_GAP = 0.1
# The share by which the loss still fell in the last quarter of the epochs.
_STILL_FALLING = 0.03


def learning_notes(
    history: Sequence[Mapping[str, Any]], samples: SampleSet, config: Config
) -> tuple[str, ...]:
    """At most one sentence about how a network of `[train]` learned, the worst first.

    Args:
        history: rows of one stage, see `FittedNetwork.history`.
        samples: with splits.
    """
    rows = [row for row in history if "validation_log_loss" in row]
    if not rows:
        return ()
    return (*_problems(rows, samples, config),)[:1]


def _problems(
    rows: Sequence[Mapping[str, Any]], samples: SampleSet, config: Config
) -> Iterator[str]:
    rate, epochs = config.train.learning_rate, len(rows)
    validation = [monitored_loss(row) for row in rows]  # The lowest one decides what is kept.
    best = min(range(epochs), key=validation.__getitem__)
    accuracy = float(rows[best]["validation_accuracy"])
    chance, deviation = _chance(samples)
    if accuracy <= chance + min(2 * deviation, _MAX_CHANCE):
        yield (
            f"The network has learned nothing: its validation accuracy of "
            f"{plain_percent(accuracy)} is that of always answering the most frequent class "
            f"({plain_percent(chance)}). Try another learning rate, such as "
            f"{_command(rate / 10)} ({rate:g} now; --find-lr tests which), "
            f"{_longer(config, epochs, best)}, or a pretrained network: leave --weights none out."
        )
    first, last = (float(rows[i]["log_loss"]) for i in (0, -1))
    if last > max(first, math.log(max(2, len(samples.class_names)))) * _RISE:
        yield (
            f"The training diverged: its loss rose from {first:.2f} to {last:.2f}; epoch "
            f"{best + 1} of {epochs} is kept. Try a lower rate, such as {_command(rate / 2)}."
        )
    if epochs < _MIN_EPOCHS:
        return
    gap = float(rows[-1]["accuracy"]) - float(rows[-1]["validation_accuracy"])
    if validation[-1] > validation[best] * _RISE and gap > _MIN_GAP:
        yield (
            f"The network over-fits: since epoch {best + 1} of {epochs}, which is kept, its "
            f"validation loss rose from {validation[best]:.2f} to {validation[-1]:.2f}, while it "
            f"got {plain_percent(rows[-1]['accuracy'])} of the training images right. Try more "
            "augmentation, dropout (--set net.dropout=0.3), fewer epochs, more images, or a "
            "pretrained network."
        )
    earlier = validation[-1 - max(1, epochs // 4)]
    if best == epochs - 1 and validation[-1] < earlier * (1 - _STILL_FALLING):
        # A schedule that ends at a rate of 0 falls most in its last quarter.
        falls_to_zero = config.train.schedule in ("onecycle", "cosine")
        if not falls_to_zero or gap < -_MIN_GAP / 2:
            yield (
                f"The network is under-trained: its validation loss still fell in the last of "
                f"{epochs} epochs, from {earlier:.2f} to {validation[-1]:.2f}. Try "
                f"{_longer(config, epochs, best)}."
            )


def _chance(samples: SampleSet) -> tuple[float, float]:
    """The share of the most frequent class of the validation images, and its standard error."""
    labels = Counter(sample.label for sample in samples if sample.split == "validation")
    count = labels.total()
    share = max(labels.values(), default=0) / max(1, count)
    return share, math.sqrt(share * (1 - share) / max(1, count))


def _longer(config: Config, epochs: int, best: int) -> str:
    """What to change for a longer training than that of so many epochs, of which `best`, from 0,
    is the best.
    """
    limit, patience = config.train.time_limit, config.train.patience
    if patience and epochs - 1 - best >= patience:
        return f"more patience: --set train.patience={2 * patience}"
    if limit and epochs < config.train.epochs:
        return f"a longer time: --time-limit {2 * limit:g}s"
    return f"more epochs: --epochs {2 * config.train.epochs}"


def _command(rate: float) -> str:
    return f"--learning-rate {rate:.2g}"
