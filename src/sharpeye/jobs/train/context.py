"""The context that the steps of a training share, and the fitted model that they pass on."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sharpeye.core.arrays import Floats
from sharpeye.core.config import Config
from sharpeye.core.inference import Backbone
from sharpeye.core.progress import Progress, StageProgress, of_stage
from sharpeye.core.types import Sample, SampleSet, Split
from sharpeye.jobs.train.box_scores import BoxScores
from sharpeye.learn.heads.head import FittedHead
from sharpeye.runs.run_directory import Run, RunWriter


@runtime_checkable
class EpochObserver(Protocol):
    """An object of the caller that is told of each epoch."""

    def on_epoch_end(self, metrics: Mapping[str, Any]) -> None:
        """Called with the epoch's row of `history.csv`; an exception ends the training."""


class StageClock:
    """Seconds by stage; `seconds` lists the stages in the order of their first end."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage, which began at the end of the previous one."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    @property
    def total(self) -> float:
        return time.perf_counter() - self._started


@dataclass(frozen=True)
class TrainContext:
    """The resolved configuration, the run directory, and the receivers of progress and times.

    `earlier` is the finished run whose epochs go on, if there is one; `observers` are told of each
    epoch.
    """

    config: Config
    run_dir: RunWriter
    progress: StageProgress | None = None
    clock: StageClock = field(default_factory=StageClock)
    earlier: Run | None = None
    observers: Sequence[EpochObserver] = ()

    def progress_of(self, stage: str) -> Progress | None:
        return of_stage(self.progress, stage)


@dataclass(frozen=True)
class TrainedModel:
    """A backbone, its fitted head, and predictions for the held-out images.

    Attributes:
        samples: every image that was used, with its split.
        probs: float64[N,C] by split: validation by `head.validation_head`, test by
            `head.final_head`.
        features: float32[D] by digest, the features of a frozen network that the head was fitted
            to; empty if the network was trained on pixels.
        boxes: float32[N,4] by held-out split: predicted boxes, 0..1 of the width and height of the
            model's input; empty without boxes.
        box_scores: how the network's boxes are scored; None where its head makes no proposals.
        box_head: an ONNX file from the backbone's `maps` to `box`; None without boxes, or if the
            backbone itself has the output `box`.
        backbone_trained: whether the backbone was also trained on these images.
        feature_counts: how many feature vectors were computed, and how many came from the cache;
            None if the network was trained on pixels.
        temporary_paths: files and folders to delete when the run is finished.
    """

    samples: SampleSet
    backbone: Backbone
    head: FittedHead
    probs: Mapping[Split, Floats]
    features: Mapping[str, Floats] = field(default_factory=dict)
    boxes: Mapping[Split, Floats] = field(default_factory=dict)
    box_scores: BoxScores | None = None
    box_head: Path | None = None
    backbone_trained: bool = False
    feature_counts: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    temporary_paths: tuple[Path, ...] = ()

    def in_split(self, split: Split) -> tuple[Sample, ...]:
        """The images of one split, in the order of `probs` and `boxes`."""
        return tuple(sample for sample in self.samples if sample.split == split)

    def remove_temporary_paths(self) -> None:
        for path in self.temporary_paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
