"""A fitted model before it is written: what each way of training returns."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sharpeye.core.arrays import Floats
from sharpeye.core.inference import Backbone
from sharpeye.core.types import Sample, SampleSet, Split
from sharpeye.learn.heads.head import FittedHead


@dataclass(frozen=True)
class TrainedModel:
    """A backbone, its fitted head, and predictions for the held-out images.

    Attributes:
        samples: every image that was used, with its split.
        backbone: the graph that computes the head's features.
        head: see `FittedHead`.
        probs: float64[N,C] by split: validation by `head.validation_head`, test by
            `head.final_head`.
        boxes: float32[N,4] by held-out split: where the objects are in the model's input, 0..1 of
            its width and height; empty where no boxes are learned.
        box_head: an ONNX file from the backbone's `maps` to `box`; None where the backbone itself
            has the output `box`, or no boxes are learned.
        backbone_trained: whether the backbone was trained on these images, not the head alone.
        feature_counts: how many feature vectors were computed, and how many came from the cache;
            None where the network was trained on pixels.
        temporary_paths: files and folders that the finished run does not need.
    """

    samples: SampleSet
    backbone: Backbone
    head: FittedHead
    probs: Mapping[Split, Floats]
    boxes: Mapping[Split, Floats] = field(default_factory=dict)
    box_head: Path | None = None
    backbone_trained: bool = False
    feature_counts: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    temporary_paths: tuple[Path, ...] = ()

    def in_split(self, split: Split) -> tuple[Sample, ...]:
        """The images of one split, in the order of `probs` and `boxes`."""
        return tuple(sample for sample in self.samples if sample.split == split)

    def remove_temporary_paths(self) -> None:
        """Delete what the finished run does not need."""
        for path in self.temporary_paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
