"""Show where in an image the evidence for a class is. Needs no training framework.

Where the model file outputs class activation maps (`artefact/heat_nodes.py`), these are used. A
network without feature maps at its end, or with many classes, is run once for each of many copies
of the image, with another patch covered in each (occlusion; Zeiler and Fergus 2014,
arXiv:1311.2901).

Both show where, not why, by cells. By `bench/explain.py`, on 156 scenes
with one object each, the hottest pixel lay inside the object's box 148 times: 95 % (95 % interval
90 to 97); the image's centre 44 %, a random pixel 19 %. The classifier (default settings) saw no
boxes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharpeye.core.arrays import Floats, Pixels
from sharpeye.core.types import Prediction
from sharpeye.errors import UsageError

# Occlusion: cells along each side, and cells that a patch covers along each side. A patch of a
# quarter of the image covers most of an object's part at any image size.
_CELLS, _PATCH = 8, 2
RUNS_PER_MAP = 1 + (_CELLS + _PATCH - 1) ** 2  # for an input of at least 8 x 8 pixels
_BATCH = 14
# In nats; a smaller drop is rounding noise of float32.
_MIN_DROP = 1e-4
_MIN_PROBABILITY = 1e-7


@dataclass(frozen=True, slots=True)
class Explanation:
    """A prediction, and where in the image the evidence for a class is.

    Attributes:
        label: the class that `heat` explains.
        score: its probability, 0..1.
        heat: float32[H,W], 0..1, over the original upright image: 1 at the strongest evidence for
            the class, 0 without evidence or with evidence against it. Each map has its own scale,
            so maps cannot be compared.
    """

    prediction: Prediction
    label: str
    score: float
    heat: Floats


def class_index(class_names: tuple[str, ...], label: str) -> int:
    """The index of a class.

    Raises:
        UsageError: the model has no such class.
    """
    if label not in class_names:
        raise UsageError(
            f"the class to explain must be one of the model's: {', '.join(class_names[:20])}"
            f"{', ...' if len(class_names) > 20 else ''}. Received: {label}"
        )
    return class_names.index(label)


def occlusion(probabilities: Callable[[Pixels], Floats], pixels: Pixels, index: int) -> Floats:
    """How much a class's probability drops if a part of the image is covered, for any model.

    Args:
        probabilities: the model: uint8[N,H,W,C] to float32[N,classes].
        pixels: uint8[H,W,C], the model's input.
        index: the class index.

    Returns:
        float32[h,w]: the drop of the log probability, as the mean over the patches that cover a
        cell. Patches have the image's mean colour and overlap each other.
    """
    cells = (min(_CELLS, pixels.shape[0]), min(_CELLS, pixels.shape[1]))
    rows, columns = (
        np.linspace(0, side, n + 1).round().astype(int)
        for side, n in zip(pixels.shape[:2], cells, strict=True)
    )
    mean = np.rint(pixels.reshape(-1, pixels.shape[2]).mean(axis=0)).astype(np.uint8)
    # Some patches begin outside the image, so that equally many patches cover each cell.
    patches = [
        (slice(max(0, y), y + _PATCH), slice(max(0, x), x + _PATCH))
        for y in range(1 - _PATCH, cells[0])
        for x in range(1 - _PATCH, cells[1])
    ]
    uncovered = _log(probabilities(pixels[None])[0, index])
    drops = np.zeros(cells, np.float32)
    for start in range(0, len(patches), _BATCH):
        batch = patches[start : start + _BATCH]
        images = np.repeat(pixels[None], len(batch), axis=0)
        for image, (y, x) in zip(images, batch, strict=True):
            bottom, right = min(y.stop, cells[0]), min(x.stop, cells[1])
            image[rows[y.start] : rows[bottom], columns[x.start] : columns[right]] = mean
        batch_drops = uncovered - _log(probabilities(images)[:, index])
        for patch, drop in zip(batch, batch_drops, strict=True):
            drops[patch] += drop
    drops /= _PATCH**2
    return np.where(drops > _MIN_DROP, drops, np.minimum(drops, 0)).astype(np.float32)


def _log(probability: Any) -> Any:
    return np.log(np.maximum(probability, _MIN_PROBABILITY))
