"""Choose float32 or int8 by accuracy on the validation images and by speed on this machine."""

import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.quantize import compare_accuracy
from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.core.arrays import Pixels
from sharpeye.core.types import Sample
from sharpeye.data.sample_image import load_sample
from sharpeye.errors import DataError, ImageReadError

# Timing alternates between the models, so that machine load affects both; the median counts.
_ROUNDS, _TIMED_IMAGES = 5, 20


@dataclass(frozen=True)
class Int8Choice:
    """Whether int8 was chosen, the reason in a sentence, and the numbers of `measure`."""

    int8: bool
    reason: str
    numbers: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {"took": "int8" if self.int8 else "float32", "reason": self.reason, **self.numbers}


def choose(numbers: dict[str, Any], *, max_drop: float, force: bool) -> Int8Choice:
    """Choose int8 if it costs at most `max_drop` of accuracy, 0..1, and is faster or forced."""
    drop, speedup = numbers["drop"], numbers["speedup"]
    if drop > max_drop:
        reason = f"int8 costs {drop:.4f} of accuracy, more than the {max_drop:g} of --max-drop"
        return Int8Choice(False, reason, numbers)
    if speedup > 1:
        reason = f"int8 costs {drop:.4f} of accuracy and is {speedup:.2f} times as fast here"
        return Int8Choice(True, reason, numbers)
    slower = f"int8 is {speedup:.2f} times as fast here, no faster than float32"
    if force:
        return Int8Choice(True, f"{slower}; --force takes it all the same", numbers)
    return Int8Choice(False, f"{slower}; --force would take it all the same", numbers)


def measure(float_file: Path, int8_file: Path, samples: Sequence[Sample]) -> dict[str, Any]:
    """Accuracy and speed of two models, side by side.

    Returns:
        the results of `compare_accuracy`; the number of images as `pictures`; images per second of
        each model at batch 1 on one thread, and their ratio `speedup`.

    Raises:
        DataError: no image can be read.
    """
    models = [open_model(float_file), open_model(int8_file)]
    spec, labels = models[0].manifest.input, models[0].manifest.labels
    images: list[Pixels] = []
    targets: list[int] = []
    for sample in samples:
        with suppress(ImageReadError):
            images.append(load_sample(sample, spec)[None])
            targets.append(labels.index(sample.label))
    if not images:
        raise DataError(
            "none of the validation images can be read any more, so int8 cannot be measured; "
            "give their folder with --data"
        )
    float_probs, int8_probs = (
        np.concatenate([model.run(image, ("probs",))["probs"] for image in images])
        for model in models
    )
    comparison = compare_accuracy(
        float_probs, int8_probs, np.array(targets), float_file=float_file, int8_file=int8_file
    )
    speeds = _images_per_second(models, images[:_TIMED_IMAGES])
    return {
        "pictures": len(images),
        **comparison,
        "float_images_per_second": round(speeds[0], 1),
        "int8_images_per_second": round(speeds[1], 1),
        "speedup": speeds[1] / speeds[0],
    }


def _images_per_second(models: Sequence[OpenModel], images: Sequence[Pixels]) -> list[float]:
    seconds: list[list[float]] = [[] for _ in models]
    for _ in range(_ROUNDS):
        for model, times in zip(models, seconds, strict=True):
            start = time.perf_counter()
            for image in images:
                model.run(image, ("probs",))
            times.append(time.perf_counter() - start)
    return [len(images) / statistics.median(times) for times in seconds]
