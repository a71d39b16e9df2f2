"""Compare an exported model's outputs with those of the run's model."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from sharpeye.artefact.export.export_process import BATCH_SIZES, OutputsByBatchSize
from sharpeye.artefact.export.export_source import PredictFunction
from sharpeye.artefact.manifest import MODEL_FILE
from sharpeye.artefact.parity import BOX_PARITY_LIMIT, PARITY_LIMIT
from sharpeye.artefact.session import OpenModel
from sharpeye.core.arrays import Floats, Pixels
from sharpeye.errors import ModelError

log = logging.getLogger(__name__)


def compare_outputs(
    model: OpenModel, pixels: Pixels, outputs: OutputsByBatchSize, format_name: str
) -> dict[str, Any]:
    """Compare outputs for fitted images.

    Args:
        model: the run's.
        pixels: uint8[N,height,width,channels]; N >= 1.
        outputs: of the exported model, for the same images.

    Returns:
        number of images, batch sizes, largest difference of a probability, share of equal top-1
        predictions; of a localizer also the largest difference of an edge.

    Raises:
        ModelError: a difference exceeds its limit.
    """
    if len(pixels) < max(BATCH_SIZES):
        log.warning("only %d held-out pictures: the larger batch holds no more", len(pixels))
    runs = [model.run(image[None]) for image in pixels]
    expected = np.concatenate([run["probs"] for run in runs])
    probs = [values["probs"] for values in outputs.values()]
    same_class = [(values.argmax(1) == expected.argmax(1)).mean() for values in probs]
    proof: dict[str, Any] = {
        "pictures": len(pixels),
        "batches": list(BATCH_SIZES),
        "max_difference": max(_max_difference(values, expected) for values in probs),
        "top1_agreement": float(min(same_class)),
    }
    _require_at_most(PARITY_LIMIT, proof["max_difference"], "a probability", format_name)
    boxes = [values["box"] for values in outputs.values() if "box" in values]
    if boxes and model.manifest.task == "localize":
        expected = np.concatenate([run["box"] for run in runs])
        difference = max(_max_difference(values, expected) for values in boxes)
        proof["max_box_difference"] = difference
        _require_at_most(BOX_PARITY_LIMIT, difference, "an edge of a box", format_name)
    return proof


def compare_any_size(
    model: OpenModel, images: Sequence[Image.Image], predict: PredictFunction, format_name: str
) -> float:
    """The largest difference of a probability for full-size images, which both models fit.

    Raises:
        ModelError: it exceeds its limit.
    """
    largest = 0.0
    for image in images:
        pixels = np.asarray(image)[None]
        probs, expected = predict(pixels)["probs"], model.graph.run(pixels)["probs"]
        largest = max(largest, _max_difference(probs, expected))
    _require_at_most(PARITY_LIMIT, largest, "a probability", format_name)
    return largest


def _max_difference(values: Floats, expected: Floats) -> float:
    """The largest absolute difference; infinite where shapes differ or a value is NaN."""
    if values.shape != expected.shape:
        return float("inf")
    return float(np.nan_to_num(np.abs(values - expected), nan=np.inf).max())


def _require_at_most(limit: float, difference: float, what: str, format_name: str) -> None:
    if not difference <= limit:
        raise ModelError(
            f"the {format_name} model answers otherwise than {MODEL_FILE}: {what} differs by "
            f"{difference:.2g}, more than {limit:g}; nothing was written"
        )
