"""Shows where in an image a model saw what speaks for a class. Needs no training framework.

Where the model file holds class activation maps (`artefact/heat_nodes.py`), these are the answer.
A network whose last features have no places, or with many classes, is asked again and again, with a
part of the image covered each time (occlusion; Zeiler and Fergus 2014, arXiv:1311.2901).

Both say where, not why, and no finer than their cells. By `bench/explain.py`, on 156 scenes with
one object each, the hottest place lay inside the object's box 148 times: 95 % (95 % interval 90 to
97); the image's middle 44 %, a random place 19 %. The classifier (default settings) saw no boxes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.types import Prediction
from sharpeye.errors import UsageError

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# Of occlusion: cells along each side, and cells that a patch covers along each side. A patch of a
# quarter of the image covers most of an object's part, whatever the image's size.
_CELLS, _PATCH = 8, 2
ANSWERS_A_MAP = 1 + (_CELLS + _PATCH - 1) ** 2  # of an input of at least 8 x 8 pixels
_BATCH = 14
# A drop that float32 makes of itself is none. In nats.
_MIN_DROP = 1e-4
_MIN_PROBABILITY = 1e-7


@dataclass(frozen=True, slots=True)
class Explanation:
    """A model's answer for an image, and where it saw what speaks for a class.

    Attributes:
        prediction: as `Model.predict` gives it.
        label: the class that `heat` is about.
        score: its probability, 0..1.
        heat: float32[H,W], 0..1, over the original upright image: 1 where the most speaks for
            the class, 0 where nothing does, or something against it. Each map has its own scale:
            two maps say nothing of which one has more.
    """

    prediction: Prediction
    label: str
    score: float
    heat: Floats


def class_index(labels: tuple[str, ...], label: str) -> int:
    """Which output is a class.

    Raises:
        UsageError: the model does not know it.
    """
    if label not in labels:
        raise UsageError(
            f"the class to explain must be one of the model's: {', '.join(labels[:20])}"
            f"{', ...' if len(labels) > 20 else ''}. Received: {label}"
        )
    return labels.index(label)


def occlusion(probabilities: Callable[[Pixels], Floats], pixels: Pixels, index: int) -> Floats:
    """How much a class loses where the image is covered, for any model.

    Args:
        probabilities: the model: uint8[N,H,W,C] to float32[N,classes].
        pixels: uint8[H,W,C], the model's input.
        index: of the class.

    Returns:
        float32[h,w]: the drop of the logarithm of its probability, as a mean over the patches that
        cover a cell. Patches have the image's mean colour and overlap each other.
    """
    cells = (min(_CELLS, pixels.shape[0]), min(_CELLS, pixels.shape[1]))
    rows, columns = (
        np.linspace(0, side, n + 1).round().astype(int)
        for side, n in zip(pixels.shape[:2], cells, strict=True)
    )
    mean = np.rint(pixels.reshape(-1, pixels.shape[2]).mean(axis=0)).astype(np.uint8)
    # Some reach beyond the image, so that each cell is under the same number of patches.
    patches = [
        (slice(max(0, y), y + _PATCH), slice(max(0, x), x + _PATCH))
        for y in range(1 - _PATCH, cells[0])
        for x in range(1 - _PATCH, cells[1])
    ]
    whole = _log(probabilities(pixels[None])[0, index])
    drops = np.zeros(cells, np.float32)
    for start in range(0, len(patches), _BATCH):
        some = patches[start : start + _BATCH]
        covered = np.repeat(pixels[None], len(some), axis=0)
        for one, (y, x) in zip(covered, some, strict=True):
            bottom, right = min(y.stop, cells[0]), min(x.stop, cells[1])
            one[rows[y.start] : rows[bottom], columns[x.start] : columns[right]] = mean
        lost = whole - _log(probabilities(covered)[:, index])
        for (y, x), drop in zip(some, lost, strict=True):
            drops[y, x] += drop
    drops /= _PATCH**2
    return np.where(drops > _MIN_DROP, drops, np.minimum(drops, 0)).astype(np.float32)


def _log(probability: Any) -> Any:
    return np.log(np.maximum(probability, _MIN_PROBABILITY))
