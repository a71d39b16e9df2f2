"""Pictures as a network takes them: decoded, split, and told apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.types import InputSpec, Part, Sample, SampleSet

Pixels = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Material:
    """What a network is trained on.

    Attributes:
        pixels: uint8[M,H,W,C], 0..255; usually a file that is mapped into memory.
        rows: int[N] by part, where its pictures are in `pixels`.
        truth: int[N] by part, their classes.
        labels: class names; the index is the class index.
        input: how the pictures were brought to this size.
    """

    pixels: Pixels
    rows: Mapping[Part, Ints]
    truth: Mapping[Part, Ints]
    labels: tuple[str, ...]
    input: InputSpec


def gather(
    samples: SampleSet, pixels: Pixels, rows: Mapping[str, int], spec: InputSpec
) -> Material:
    """Material of a split set.

    Args:
        samples: each with its part and digest.
        pixels, rows: from `load_pixels`.
    """
    index = {label: i for i, label in enumerate(samples.labels)}
    parts: dict[Part, list[Sample]] = {"train": [], "validation": [], "test": []}
    for sample in samples:
        if sample.part is not None:
            parts[sample.part].append(sample)
    return Material(
        pixels=pixels,
        rows={
            part: np.array([rows[s.sha256] for s in own], np.int64) for part, own in parts.items()
        },
        truth={
            part: np.array([index[s.label] for s in own], np.int64) for part, own in parts.items()
        },
        labels=samples.labels,
        input=spec,
    )
