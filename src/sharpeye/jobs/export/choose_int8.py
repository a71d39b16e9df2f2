"""Float32 or int8: both are measured on the validation images and on this machine."""

import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.artefact.quantize import compare, quantize_model
from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.core.types import Sample
from sharpeye.data.sample_image import load_sample
from sharpeye.errors import DataError, ImageReadError

log = logging.getLogger(__name__)

# Rounds of timing, in turn, so that both see the same machine; the median of each counts.
_ROUNDS, _TIMED_IMAGES = 5, 20


@dataclass(frozen=True)
class Choice:
    """Which of two models was taken, and why.

    Attributes:
        int8: whether it is the int8 one.
        reason: a sentence.
        numbers: see `measure`.
    """

    int8: bool
    reason: str
    numbers: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {"took": "int8" if self.int8 else "float32", "reason": self.reason, **self.numbers}


def quantize_and_choose(
    float_file: Path,
    int8_file: Path,
    train: Sequence[Sample],
    validation: Sequence[Sample],
    *,
    max_drop: float,
    force: bool,
) -> Choice:
    """Write the int8 model of a float one, and say which to take.

    Args:
        int8_file: is written.
        train: to learn the ranges of activations from.
        validation: to measure on.
        max_drop: how much accuracy, 0..1, int8 may cost.
        force: take it though it is not faster.

    Raises:
        DataError: no image of one of the parts can be read.
        ModelError: the model cannot be quantized.
    """
    quantize_model(float_file, train, int8_file)
    numbers = measure(float_file, int8_file, validation)
    return decide(numbers, max_drop=max_drop, force=force)


def decide(numbers: dict[str, Any], *, max_drop: float, force: bool) -> Choice:
    """The rule: no more accuracy lost than allowed, and faster, or wanted all the same."""
    drop, gain = numbers["drop"], numbers["speedup"]
    if drop > max_drop:
        reason = f"int8 costs {drop:.4f} of accuracy, more than the {max_drop:g} of --max-drop"
        return Choice(False, reason, numbers)
    if gain > 1:
        reason = f"int8 costs {drop:.4f} of accuracy and is {gain:.2f} times as fast here"
        return Choice(True, reason, numbers)
    slower = f"int8 is {gain:.2f} times as fast here, no faster than float32"
    if force:
        return Choice(True, f"{slower}; --force takes it all the same", numbers)
    return Choice(False, f"{slower}; --force would take it all the same", numbers)


def measure(float_file: Path, int8_file: Path, samples: Sequence[Sample]) -> dict[str, Any]:
    """Accuracy and speed of two models, side by side.

    Returns:
        what `compare` gives, `images`, images a second of each at batch 1 on one thread
        (`float_images_per_second`, `int8_images_per_second`), and their ratio `speedup`.

    Raises:
        DataError: no image can be read.
    """
    models = [open_model(float_file), open_model(int8_file)]
    spec, labels = models[0].manifest.input, models[0].manifest.labels
    pixels, truth = [], []
    for sample in samples:
        try:
            pixels.append(load_sample(sample, spec)[None])
            truth.append(labels.index(sample.label))
        except ImageReadError:
            continue
    if not pixels:
        raise DataError(
            "none of the validation pictures can be read any more, so int8 cannot be measured; "
            "give their folder with --data"
        )
    probs = [np.concatenate([_probs(model, one) for one in pixels]) for model in models]
    found = compare(probs[0], probs[1], np.array(truth), float_file, int8_file)
    speeds = _speeds(models, pixels[:_TIMED_IMAGES])
    return {
        "pictures": len(pixels),
        **found,
        "float_images_per_second": round(speeds[0], 1),
        "int8_images_per_second": round(speeds[1], 1),
        "speedup": speeds[1] / speeds[0],
    }


def _probs(model: OpenModel, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return model.run(pixels, ("probs",))["probs"]


def _speeds(models: Sequence[OpenModel], pixels: Sequence[npt.NDArray[np.uint8]]) -> list[float]:
    """Images a second of each model."""
    seconds: list[list[float]] = [[] for _ in models]
    for _ in range(_ROUNDS):
        for model, times in zip(models, seconds, strict=True):
            start = time.perf_counter()
            for one in pixels:
                _probs(model, one)
            times.append(time.perf_counter() - start)
    return [len(pixels) / statistics.median(times) for times in seconds]
