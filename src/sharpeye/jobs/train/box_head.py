"""Fit a box head on the feature maps of a frozen backbone.

The maps of every view are computed once and serve all epochs.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sharpeye.core.arrays import Floats
from sharpeye.core.config import AugmentConfig, Config
from sharpeye.core.inference import Backbone
from sharpeye.core.progress import of_stage
from sharpeye.core.storage import TEMPORARY_PREFIX, atomic_path
from sharpeye.core.types import SPLITS, Sample, Split
from sharpeye.data.features import ObjectViews, draw_sample_view, extract_features, vector_key
from sharpeye.images.boxes import from_input, view_to_input
from sharpeye.jobs.train.context import TrainContext
from sharpeye.jobs.train.progress_log import ProgressLog
from sharpeye.jobs.train.trained_model import TrainedModel
from sharpeye.learn.nets.loop import FittedNetwork, fit_network
from sharpeye.learn.nets.settings import FitSettings
from sharpeye.learn.nets.training_arrays import TrainingArrays, class_indices
from sharpeye.runs import layout

if TYPE_CHECKING:
    import keras

# Five times the usual weight decay: forty thousand weights learn from some thousand views.
_WEIGHT_DECAY = 0.05


def add_box_head(
    context: TrainContext, trained: TrainedModel
) -> tuple[TrainedModel, FittedNetwork]:
    """Fit a box head beside the class head, and predict the held-out images' boxes.

    Args:
        trained: its samples have boxes, its backbone has maps.

    Returns:
        the model with boxes, and the network of the box head: `maps` float32[N,D] to `box`
        float32[N,4].

    Raises:
        DivergedError: the loss is not finite any more.
    """
    run_dir, config = context.run_dir, context.config
    maps_file = run_dir.file(f"{TEMPORARY_PREFIX}maps.npy")
    checkpoints = run_dir.file(layout.CHECKPOINTS) / "box"
    with ProgressLog(
        context, stage="box", epochs=config.localize.epochs, history=trained.head.history
    ) as progress_log:
        arrays = load_map_arrays(context, trained, maps_file)
        context.clock.lap("maps")
        network = fit_box_head(
            config,
            trained.backbone,
            arrays,
            on_epoch=progress_log.epoch,
            checkpoints=checkpoints,
            resume=run_dir.resumed,
        )
        boxes = predict_boxes(network, arrays)
        context.clock.lap("boxes")
    maps_file.unlink()
    file = run_dir.file(f"{TEMPORARY_PREFIX}box_head.onnx")
    write_box_head(network, file)
    head = replace(trained.head, history=(*trained.head.history, *network.history))
    trained = replace(
        trained,
        head=head,
        boxes=boxes,
        box_head=file,
        temporary_paths=(*trained.temporary_paths, checkpoints.parent, file),
    )
    return trained, network


def fit_box_head(
    config: Config, backbone: Backbone, arrays: TrainingArrays, **options: Any
) -> FittedNetwork:
    """Train a box head on the maps.

    Args:
        config: `localize`, `data.balance` and `seed` are used.
        options: as `fit_network` takes them.
    """

    def build() -> "keras.Model":
        from sharpeye.models.box_heads import build_map_head

        return build_map_head(backbone.maps, config.localize.channels)

    return fit_network(build, arrays, _fit_settings(config), **options)


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


def predict_boxes(network: FittedNetwork, arrays: TrainingArrays) -> dict[Split, Floats]:
    """float32[N,4] by held-out split, 0..1 of the model's input."""
    held_out: tuple[Split, ...] = ("validation", "test")
    return {s: network.engine.predict(arrays.pixels, arrays.indices[s])["box"] for s in held_out}


def boxes_in_images(boxes: Floats, samples: Sequence[Sample], backbone: Backbone) -> Floats:
    """float32[N,4]: boxes in the model's input, as shares 0..1 of the upright images."""
    spec = backbone.input
    edges = [
        from_input(tuple(box), sample.size or (spec.width, spec.height), spec)
        for box, sample in zip(boxes.tolist(), samples, strict=True)
    ]
    return np.array(edges, np.float32).reshape(-1, 4)


def write_box_head(network: FittedNetwork, file: Path) -> None:
    """Write a box head as ONNX: `maps` float32[N,D] to `box` float32[N,4].

    Raises:
        EnvironmentFault: the disk is full.
    """
    import keras
    import onnx

    from sharpeye.models.onnx_emitter import emit_onnx

    model = network.model
    model = keras.Model(model.input, {"box": model.output["box"]}, name=model.name)
    with atomic_path(file) as temporary:
        onnx.save(emit_onnx(model, "maps"), temporary)


def load_map_arrays(
    context: TrainContext, trained: TrainedModel, maps_file: Path
) -> TrainingArrays:
    """The maps of all views of the training images, and of the held-out images as they are.

    Args:
        maps_file: a temporary file that holds the maps as long as training lasts.
    """
    config, backbone = context.config, trained.backbone
    by_split = {split: trained.in_split(split) for split in SPLITS}
    views: dict[Split, int] = {"train": config.localize.box_views, "validation": 1, "test": 1}
    passes = [(split, view) for split in SPLITS for view in range(views[split])]
    count = sum(len(by_split[split]) for split, _ in passes)
    width = sum(int(np.prod(shape)) for shape in backbone.maps)
    maps = np.lib.format.open_memmap(maps_file, "w+", np.float16, (count, width))
    class_names = trained.samples.class_names
    targets = {split: class_indices(own, class_names) for split, own in by_split.items()}
    indices: dict[Split, list[Any]] = {split: [] for split in SPLITS}
    boxes: dict[Split, list[Floats]] = {split: [] for split in SPLITS}
    start = 0
    for split, view in passes:
        samples = by_split[split]
        stage = f"view {view}" if view else f"maps of {split}"
        extracted = extract_features(
            samples,
            backbone,
            view,
            progress=of_stage(context.progress, stage),
            root=config.data.features_path,
            view_policy=ObjectViews(),
            output="maps",
        )
        extracted.require_all()
        for index, sample in enumerate(samples, start):
            maps[index] = extracted.features[vector_key(view, sample, ObjectViews())]
        indices[split].append(np.arange(start, start + len(samples)))
        boxes[split].append(_boxes_in_view(samples, view, backbone))
        start += len(samples)
    return TrainingArrays(
        pixels=maps,
        indices={split: np.concatenate(arrays) for split, arrays in indices.items()},
        targets={split: np.tile(targets[split], views[split]) for split in SPLITS},
        class_names=class_names,
        input=backbone.input,
        boxes={split: np.concatenate(arrays) for split, arrays in boxes.items()},
    )


def _boxes_in_view(samples: Sequence[Sample], view: int, backbone: Backbone) -> Floats:
    """float32[N,4]: where the objects are in one view, 0..1 of the model's input."""
    spec = backbone.input
    boxes = [
        view_to_input(
            sample.box or (0, 0, 1, 1),
            draw_sample_view(view, sample, ObjectViews()),
            sample.size or (spec.width, spec.height),
            spec=spec,
        )
        for sample in samples
    ]
    return np.array(boxes, np.float32).reshape(-1, 4)
