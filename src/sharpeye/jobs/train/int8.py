"""Ships an int8 model in place of the float one, and measures what that costs."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.artefact.quantize import compare, quantize_model
from sharpeye.artefact.session import open_model
from sharpeye.core.parallel import parallel_map
from sharpeye.core.types import Split
from sharpeye.data.sample_image import load_sample
from sharpeye.jobs.train.prepare import FitResult
from sharpeye.report.evaluation import Evaluation

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.floating[Any]]


def ship_int8(
    float_file: Path, model_file: Path, learned: FitResult
) -> tuple[dict[Split, Floats], dict[str, Any]]:
    """Quantize a model, with ranges from the training images.

    Args:
        float_file: the model; it is left as it is.
        model_file: where the int8 model is written.
        learned: the images, and what the float model says of the held-out ones.

    Returns:
        float64[N,C] by part, what the int8 model says of the held-out images; and the numbers
        for `metrics.json` (see `compare`).
    """
    quantize_model(float_file, learned.in_split("train"), model_file)
    model = open_model(model_file)
    probs: dict[Split, Floats] = {}
    for part in ("validation", "test"):
        answers = parallel_map(
            lambda sample: model.run(load_sample(sample, model.manifest.input)[None]),
            learned.in_split(part),
        )
        probs[part] = np.concatenate([found["probs"] for _, found in answers]).astype(np.float64)
    truth = Evaluation(learned.samples.class_names, learned.in_split("test"), probs["test"]).targets
    cost = compare(learned.probs["test"], probs["test"], truth, float_file, model_file)
    log.info(
        "int8: test accuracy %.1f%%, with floats %.1f%%: a drop of %.1f points; %.1f MB, not %.1f",
        cost["int8_accuracy"] * 100,
        cost["float_accuracy"] * 100,
        cost["drop"] * 100,
        cost["int8_bytes"] / 1e6,
        cost["float_bytes"] / 1e6,
    )
    return probs, cost
