"""A box head on a frozen backbone: its feature maps are computed once and serve all epochs."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.arrays import Floats
from sharpeye.core.config import AugmentConfig, Config
from sharpeye.core.inference import Backbone
from sharpeye.core.types import SPLITS, Sample, Split
from sharpeye.data.features import BoxViews, draw_view_of, extract_features, feature_key
from sharpeye.images.boxes import from_input, view_to_input
from sharpeye.jobs.train.prepare import Clock, FitResult, Progress, stage_progress
from sharpeye.jobs.train.transfer import features_root
from sharpeye.learn.nets.loop import FittedNetwork, OnEpoch, fit_network
from sharpeye.learn.nets.settings import FitSettings
from sharpeye.learn.nets.training_arrays import TrainingArrays, class_indices

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

# Five times the usual: forty thousand weights learn from some thousand views.
_WEIGHT_DECAY = 0.05


def learn_boxes(
    learned: FitResult,
    backbone: Backbone,
    config: Config,
    *,
    maps_file: Path,
    progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
    checkpoints: Path | None = None,
    resume: bool = False,
) -> tuple[FitResult, FittedNetwork]:
    """Train the box head, and answer for the held-out parts.

    Args:
        learned: from `transfer.learn`; its samples have boxes.
        backbone: with maps.
        config: `localize` and `data.balance` are followed.
        maps_file: a temporary file that holds the maps as long as training lasts.

    Returns:
        `learned` with boxes, and the head: `maps` float32[N,D] to `box` float32[N,4].

    Raises:
        DivergedError: the loss is not finite any more.
    """
    clock = Clock()
    material = _material(learned, backbone, config, maps_file, progress)
    clock.lap("maps")

    def build() -> "keras.Model":
        from sharpeye.models.box_heads import build_map_head

        return build_map_head(backbone.maps, config.localize.channels)

    net = fit_network(
        build,
        material,
        _fit_settings(config),
        checkpoints=checkpoints,
        resume=resume,
        on_epoch=on_epoch,
    )
    boxes = answered_boxes(net, material)
    clock.lap("boxes")
    head = replace(learned.head, history=(*learned.head.history, *net.history))
    seconds = learned.seconds | clock.seconds
    return replace(learned, head=head, boxes=boxes, seconds=seconds), net


def answered_boxes(net: FittedNetwork, material: TrainingArrays) -> dict[Split, Floats]:
    """float32[N,4] by held-out part, shares 0..1 of the model's input."""
    held_out: tuple[Split, ...] = ("validation", "test")
    return {p: net.engine.predict(material.pixels, material.indices[p])["box"] for p in held_out}


def in_images(boxes: Floats, samples: Sequence[Sample], backbone: Backbone) -> Floats:
    """Boxes in the model's input, as shares 0..1 of the upright images."""
    spec = backbone.input
    found = [
        from_input(tuple(box), sample.size or (spec.width, spec.height), spec)
        for box, sample in zip(boxes.tolist(), samples, strict=True)
    ]
    return np.array(found, np.float32).reshape(-1, 4)


def _fit_settings(config: Config) -> FitSettings:
    """AdamW in one cycle, without augmentation: the views take its place."""
    return replace(
        FitSettings.from_config(config, config.localize.learning_rate),
        learning_rate_key="localize.learning_rate",
        stage="box",
        epochs=config.localize.epochs,
        batch_size=config.localize.batch_size,
        optimizer="adamw",
        weight_decay=_WEIGHT_DECAY,
        schedule="onecycle",
        augment=AugmentConfig(flip=False, shift=0),
        time_limit=0.0,
        patience=0,
    )


def _material(
    learned: FitResult,
    backbone: Backbone,
    config: Config,
    maps_file: Path,
    progress: Progress | None,
) -> TrainingArrays:
    """The maps of all views of the training images, and of the others as they are."""
    parts = {part: learned.in_split(part) for part in SPLITS}
    views: dict[Split, int] = {"train": config.localize.box_views, "validation": 1, "test": 1}
    passes = [(part, view) for part in SPLITS for view in range(views[part])]
    count = sum(len(parts[part]) for part, _ in passes)
    width = sum(int(np.prod(shape)) for shape in backbone.maps)
    maps = np.lib.format.open_memmap(maps_file, "w+", np.float16, (count, width))
    truth = {part: class_indices(own, learned.samples.class_names) for part, own in parts.items()}
    rows: dict[Split, list[Any]] = {part: [] for part in SPLITS}
    boxes: dict[Split, list[Floats]] = {part: [] for part in SPLITS}
    start = 0
    for part, view in passes:
        own = parts[part]
        told = stage_progress(progress, f"view {view}" if view else f"maps of {part}")
        found = extract_features(
            own, backbone, view, told, features_root(config), BoxViews(), part="maps"
        )
        found.require_all()
        for row, sample in enumerate(own, start):
            maps[row] = found.features[feature_key(view, sample, BoxViews())]
        rows[part].append(np.arange(start, start + len(own)))
        boxes[part].append(_boxes(own, view, backbone))
        start += len(own)
    return TrainingArrays(
        pixels=maps,
        indices={part: np.concatenate(each) for part, each in rows.items()},
        targets={part: np.tile(truth[part], views[part]) for part in SPLITS},
        class_names=learned.samples.class_names,
        input=backbone.input,
        boxes={part: np.concatenate(each) for part, each in boxes.items()},
    )


def _boxes(samples: Sequence[Sample], view: int, backbone: Backbone) -> Floats:
    """float32[N,4]: where the objects are in one view, as shares of the model's input."""
    spec = backbone.input
    found: list[npt.NDArray[Any]] = []
    for sample in samples:
        size = sample.size or (spec.width, spec.height)
        seen = draw_view_of(view, sample, BoxViews())
        found.append(np.array(view_to_input(sample.box or (0, 0, 1, 1), seen, size, spec)))
    return np.array(found, np.float32).reshape(-1, 4)
