"""Images as a network takes them: decoded, split, and told apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.types import InputSpec, Sample, SampleSet, Split
from sharpeye.images.boxes import to_input

Pixels = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class TrainingArrays:
    """What a network is trained on.

    Attributes:
        pixels: uint8[M,H,W,C], 0..255, or float16 feature maps [M,...]; usually a file that is
            mapped into memory.
        rows: int[N] by part, where its images are in `pixels`.
        truth: int[N] by part, their classes.
        labels: class names; the index is the class index.
        input: how the images were brought to this size.
        boxes: float32[N,4] by part, shares 0..1 of the input; empty where none are learned.
    """

    pixels: Pixels
    indices: Mapping[Split, Ints]
    targets: Mapping[Split, Ints]
    class_names: tuple[str, ...]
    input: InputSpec
    boxes: Mapping[Split, Floats] = field(default_factory=dict)


def build_arrays(
    samples: SampleSet,
    pixels: Pixels,
    rows: Mapping[str, int],
    spec: InputSpec,
    *,
    boxes: bool = False,
) -> TrainingArrays:
    """Material of a split set.

    Args:
        samples: each with its part and digest.
        pixels, rows: from `load_pixels`.
        boxes: whether boxes are learned; each sample has one.
    """
    parts: dict[Split, list[Sample]] = {"train": [], "validation": [], "test": []}
    for sample in samples:
        if sample.split is not None:
            parts[sample.split].append(sample)
    return TrainingArrays(
        pixels=pixels,
        indices={
            part: np.array([rows[s.sha256] for s in own], np.int64) for part, own in parts.items()
        },
        targets={part: class_indices(own, samples.class_names) for part, own in parts.items()},
        class_names=samples.class_names,
        input=spec,
        boxes={part: input_boxes(own, spec) for part, own in parts.items()} if boxes else {},
    )


def class_indices(samples: Sequence[Sample], labels: Sequence[str]) -> Ints:
    """int[N]: the samples' places among the labels."""
    index = {label: i for i, label in enumerate(labels)}
    return np.array([index[sample.label] for sample in samples], np.int64)


def input_boxes(samples: Sequence[Sample], spec: InputSpec) -> Floats:
    """float32[N,4]: where the objects are in the model's input; every sample has a box."""
    found = [to_input(s.box, s.size or (spec.width, spec.height), spec) for s in samples if s.box]
    return np.array(found, np.float32).reshape(-1, 4)
