"""The images of a split data set as arrays that a network is trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sharpeye.core.arrays import Array, Floats, Ints
from sharpeye.core.types import SPLITS, InputSpec, Sample, SampleSet, Split
from sharpeye.images.boxes import to_input


@dataclass(frozen=True)
class TrainingArrays:
    """The arrays that a network is trained and evaluated on.

    Attributes:
        pixels: uint8[M,H,W,C], 0..255, or float16[M,...] feature maps; usually a memory-mapped
            file.
        indices: int64[N] for each split, the positions of its images in `pixels`.
        targets: int64[N] for each split, the class indices of its images.
        class_names: in the order of the class indices.
        input: how the images were fitted to this size.
        boxes: float32[N,4] for each split, shares 0..1 of the input; empty without boxes.
        teacher_probs: float32[N,C], a teacher's probabilities for the training images; None without
            a teacher.
    """

    pixels: Array
    indices: Mapping[Split, Ints]
    targets: Mapping[Split, Ints]
    class_names: tuple[str, ...]
    input: InputSpec
    boxes: Mapping[Split, Floats] = field(default_factory=dict)
    teacher_probs: Floats | None = None


def build_arrays(
    samples: SampleSet,
    pixels: Array,
    index_by_digest: Mapping[str, int],
    *,
    spec: InputSpec,
    boxes: bool = False,
) -> TrainingArrays:
    """The arrays of a data set.

    Args:
        samples: each with its split and digest; a sample without a split is left out.
        pixels, index_by_digest: from `load_pixels`.
        boxes: whether to include boxes; each sample must have one.
    """
    indices: dict[Split, Ints] = {}
    targets: dict[Split, Ints] = {}
    box_arrays: dict[Split, Floats] = {}
    for split in SPLITS:
        members = [sample for sample in samples if sample.split == split]
        indices[split] = np.array([index_by_digest[s.sha256] for s in members], np.int64)
        targets[split] = class_indices(members, samples.class_names)
        if boxes:
            box_arrays[split] = input_boxes(members, spec)
    names = samples.class_names
    return TrainingArrays(
        pixels, indices, targets=targets, class_names=names, input=spec, boxes=box_arrays
    )


def class_indices(samples: Sequence[Sample], class_names: Sequence[str]) -> Ints:
    """int64[N]: the class index of each sample."""
    index = {name: i for i, name in enumerate(class_names)}
    return np.array([index[sample.label] for sample in samples], np.int64)


def group_indices(samples: Sequence[Sample]) -> Ints:
    """int64[N]: equal for an image, its copies, and the others of its group."""
    names = [sample.group or sample.sha256 for sample in samples]
    indices: Ints = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return indices


def input_boxes(samples: Sequence[Sample], spec: InputSpec) -> Floats:
    """float32[N,4]: the samples' boxes, as shares 0..1 of the model's input."""
    boxes = [to_input(s.box, s.size or (spec.width, spec.height), spec) for s in samples if s.box]
    return np.array(boxes, np.float32).reshape(-1, 4)
