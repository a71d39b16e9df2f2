"""Compare a model's outputs, for single images and for batches, with the expected ones."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sharpeye.core.arrays import Floats, Pixels
from sharpeye.errors import ModelError

# uint8[N,...] images to float32[N,...] by output name.
PredictFunction = Callable[[Pixels], dict[str, Floats]]
# Outputs by name, by batch size.
OutputsByBatchSize = dict[int, dict[str, Floats]]

BATCH_SIZES = (1, 7)
PARITY_LIMIT = 1e-3
# Of edges, as shares of the input. Training computes its maps with 11 bits: heads of a few steps
# differed by up to 3e-3, those of the default training by less than 1e-4.
BOX_PARITY_LIMIT = 5e-3


def predict_in_batches(predict: PredictFunction, pixels: Pixels) -> OutputsByBatchSize:
    """A model's outputs for images, one by one and several at once."""
    outputs: OutputsByBatchSize = {}
    for size in BATCH_SIZES:
        batches = [predict(pixels[i : i + size]) for i in range(0, len(pixels), size)]
        outputs[size] = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
    return outputs


def compare_outputs(
    outputs: OutputsByBatchSize, expected: Mapping[str, Floats], failure: str
) -> dict[str, Any]:
    """Compare `probs` and, where both sides have it, `box`.

    Args:
        outputs: for N >= 1 images.
        expected: `probs` float[N,C] and maybe `box` float[N,4].
        failure: begins the message of the error.

    Returns:
        number of images, largest difference of a probability, share of equal top-1 predictions;
        with boxes also the largest difference of an edge.

    Raises:
        ModelError: a difference exceeds its limit.
    """
    probs = [values["probs"] for values in outputs.values()]
    proof: dict[str, Any] = {
        "pictures": len(expected["probs"]),
        "max_difference": max_difference(probs, expected["probs"]),
    }
    check_limit(PARITY_LIMIT, proof["max_difference"], f"{failure}: a probability differs")
    classes = expected["probs"].argmax(1)
    agreements = [(values.argmax(1) == classes).mean() for values in probs]
    proof["top1_agreement"] = float(min(agreements))
    boxes = [values["box"] for values in outputs.values() if "box" in values]
    if boxes and "box" in expected:
        difference = max_difference(boxes, expected["box"])
        check_limit(BOX_PARITY_LIMIT, difference, f"{failure}: an edge of a box differs")
        proof["max_box_difference"] = difference
    return proof


def max_difference(arrays: list[Floats], expected: Floats) -> float:
    """The largest absolute difference; infinite where shapes differ, NaN if there is one."""
    if any(array.shape != expected.shape for array in arrays):
        return float("inf")
    return float(np.max([np.abs(array - expected).max() for array in arrays]))


def check_limit(limit: float, difference: float, what: str) -> None:
    """Raise `ModelError` if a difference exceeds its limit, or is NaN."""
    if not difference <= limit:
        raise ModelError(f"{what} by {difference:.2g}, more than {limit:g}")
