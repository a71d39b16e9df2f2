"""Ship an int8 model in place of the float model, and measure what that costs."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.quantize import compare_accuracy, quantize_model
from sharpeye.artefact.session import open_model
from sharpeye.core.arrays import Floats
from sharpeye.core.parallel import parallel_map
from sharpeye.core.types import Split
from sharpeye.data.sample_image import load_sample
from sharpeye.jobs.train.trained_model import TrainedModel
from sharpeye.learn.nets.training_arrays import class_indices

log = logging.getLogger(__name__)


def quantize_and_compare(
    float_file: Path, int8_file: Path, trained: TrainedModel
) -> tuple[Mapping[Split, Floats], dict[str, Any]]:
    """Quantize a model, with ranges from the training images.

    Args:
        float_file: the float model; it is left as it is.
        int8_file: where the int8 model is written.
        trained: the images, and the float model's predictions for the held-out ones.

    Returns:
        float64[N,C] by held-out split, the int8 model's predictions; and the numbers for
        `metrics.json` (see `compare_accuracy`).
    """
    quantize_model(float_file, trained.in_split("train"), int8_file)
    model = open_model(int8_file)
    probs: dict[Split, Floats] = {}
    for split in ("validation", "test"):
        outputs = parallel_map(
            lambda sample: model.run(load_sample(sample, model.manifest.input)[None]),
            trained.in_split(split),
        )
        arrays = [output["probs"] for _, output in outputs]
        probs[split] = np.concatenate(arrays).astype(np.float64)
    targets = class_indices(trained.in_split("test"), trained.samples.class_names)
    cost = compare_accuracy(
        trained.probs["test"], probs["test"], targets, float_file=float_file, int8_file=int8_file
    )
    log.info(
        "int8: test accuracy %.1f%%, with floats %.1f%%: a drop of %.1f points; %.1f MB, not %.1f",
        cost["int8_accuracy"] * 100,
        cost["float_accuracy"] * 100,
        cost["drop"] * 100,
        cost["int8_bytes"] / 1e6,
        cost["float_bytes"] / 1e6,
    )
    return probs, cost
