"""What the epochs of a network show to be wrong."""

import re
from pathlib import Path
from typing import Any

import pytest

from sharpeye.core.config import Config
from sharpeye.core.types import Sample, SampleSet
from sharpeye.jobs.train.learning_check import learning_notes


def samples(*labels: str) -> SampleSet:
    members = [
        Sample(f"{n}.png", Path(f"{n}.png"), label, split="validation")
        for n, label in enumerate(labels)
    ]
    return SampleSet(Path(), tuple(members), tuple(dict.fromkeys(labels)))


def rows(
    validation: list[float], accuracy: float, train: tuple[float, float], right: float = 0.9
) -> list[dict[str, Any]]:
    """Epochs with these validation losses; the training loss goes from one value to another."""
    losses = [train[0], *[train[1]] * (len(validation) - 1)]
    return [
        {
            "stage": "train",
            "epoch": n + 1,
            "log_loss": losses[n],
            "accuracy": right,
            "validation_log_loss": loss,
            "validation_accuracy": accuracy,
        }
        for n, loss in enumerate(validation)
    ]


BALANCED = ("a", "b") * 50
FALLING = [1.0, 0.8, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3]
CASES: dict[str, tuple[list[dict[str, Any]], tuple[str, ...], str]] = {
    "chance": (rows([0.7] * 5, 0.52, (0.7, 0.69)), BALANCED, "has learned nothing.*--find-lr"),
    "the frequent class": (rows([0.5] * 5, 0.9, (0.5, 0.5)), ("a",) * 9 + ("b",), "learned noth"),
    "diverged": (rows([0.5, 0.6, 3.0, 5.0], 0.9, (0.5, 6.0)), BALANCED, "The training diverged"),
    "over-fitted": (
        rows([0.5, 0.4, 0.5, 0.7, 0.9], 0.8, (0.5, 0.01), 1.0),
        *(BALANCED, "over-fits: since epoch 2 of 5"),
    ),
    "under-trained": (
        rows(FALLING, 0.8, (1.0, 0.3), 0.8),
        *(BALANCED, r"under-trained: .*--epochs 60"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_problem_has_its_sentence(name: str) -> None:
    history, labels, words = CASES[name]
    config = Config().replace({"train.learning_rate": 0.01, "train.schedule": "constant"})
    (note,) = learning_notes(history, samples(*labels), config)
    assert re.search(words, note), note


def test_a_training_that_a_time_limit_or_patience_ended_needs_more_of_it() -> None:
    knobs = {"train.learning_rate": 0.01, "train.schedule": "constant", "train.time_limit": 90.0}
    history = rows(FALLING, 0.8, (1.0, 0.3), 0.8)
    for epochs, words in ((30, "--time-limit 180s"), (len(FALLING), "--epochs 16")):
        config = Config().replace(knobs | {"train.epochs": epochs})
        (note,) = learning_notes(history, samples(*BALANCED), config)
        assert "under-trained" in note and words in note
    history, config = (
        rows([0.69, *[0.7] * 4], 0.52, (0.7, 0.69)),
        config.replace({"train.patience": 4}),
    )
    (note,) = learning_notes(history, samples(*BALANCED), config)
    assert "learned nothing" in note and "--set train.patience=8" in note


def test_of_a_localizer_the_epoch_is_named_that_is_kept() -> None:
    """The one with the lowest sum of both losses, not that with the lowest log loss."""
    history = rows([0.5, 0.4, 0.5, 0.7, 0.9], 0.8, (0.5, 0.01), 1.0)
    for row, loss in zip(history, (2.0, 1.9, 1.0, 1.5, 1.7), strict=True):
        row["validation_loss"] = loss
    config = Config().replace({"task": "localize", "train.learning_rate": 0.01})
    (note,) = learning_notes(history, samples(*BALANCED), config)
    assert "over-fits: since epoch 3 of 5" in note


def test_a_good_training_has_no_note() -> None:
    config = Config().replace({"train.learning_rate": 0.01})
    good = rows(FALLING, 0.95, (1.0, 0.2), 0.96)
    assert learning_notes(good, samples(*BALANCED), config) == ()
    assert learning_notes([], samples(*BALANCED), config) == ()
    # The stages of a solver have no epochs.
    assert learning_notes([{"stage": "l2 search"}], samples(*BALANCED), config) == ()
