"""Fit a box head on the feature maps of a frozen backbone.

The maps of every view are computed once and used in all epochs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sharpeye.core.arrays import Floats, Ints, allocate_array
from sharpeye.core.config import AugmentConfig, Config
from sharpeye.core.config_paths import features_path
from sharpeye.core.inference import Backbone
from sharpeye.core.storage import TEMPORARY_PREFIX
from sharpeye.core.types import SPLITS, Sample, Split
from sharpeye.data.features import ObjectViews, draw_sample_view, extract_features, vector_key
from sharpeye.images.boxes import from_input, view_to_input
from sharpeye.jobs.train.box_scores import BoxScores, score_boxes
from sharpeye.jobs.train.context import TrainContext, TrainedModel
from sharpeye.jobs.train.network_on_pixels import onecycle_settings, write_onnx
from sharpeye.jobs.train.progress_log import ProgressLog
from sharpeye.learn.nets.loop import FittedNetwork, fit_network
from sharpeye.learn.nets.training_arrays import TrainingArrays, class_indices
from sharpeye.runs import layout

if TYPE_CHECKING:
    import keras


def add_box_head(
    context: TrainContext, trained: TrainedModel
) -> tuple[TrainedModel, FittedNetwork]:
    """Fit a box head beside the class head, and predict the held-out images' boxes.

    Returns:
        the model with boxes, and the network of the box head: `maps` float32[N,D] to `box`
        float32[N,4].

    Raises:
        DivergedError: the loss is not finite any more.
    """
    run_dir, config = context.run_dir, context.config
    checkpoints = run_dir.file(layout.CHECKPOINTS) / "box"
    with ProgressLog(
        context, stage="box", epochs=config.localize.epochs, history=trained.head.history
    ) as progress_log:
        arrays = load_map_arrays(context, trained)
        context.clock.lap("maps")
        network = fit_box_head(
            config,
            trained.backbone,
            arrays,
            on_epoch=progress_log.epoch,
            on_images=progress_log.trained_images,
            checkpoints=checkpoints,
            resume=run_dir.resumed,
        )
        boxes, box_scores = predict_boxes(network, arrays)
        context.clock.lap("boxes")
    file = run_dir.file(f"{TEMPORARY_PREFIX}box_head.onnx")
    write_onnx(network.model, ("box",), file, input_name="maps")
    keep = config.finetune.epochs and config.train.keep_checkpoints  # those of fine-tuning
    trained = replace(
        trained,
        head=replace(trained.head, history=(*trained.head.history, *network.history)),
        boxes=boxes,
        box_scores=box_scores,
        box_head=file,
        temporary_paths=(
            *trained.temporary_paths,
            checkpoints if keep else checkpoints.parent,
            file,
        ),
    )
    return trained, network


def fit_box_head(
    config: Config, backbone: Backbone, arrays: TrainingArrays, **options: Any
) -> FittedNetwork:
    """Train a box head on the maps; `options` are those of `fit_network`."""

    def build() -> "keras.Model":
        from sharpeye.models.box_heads import build_map_head

        return build_map_head(backbone.maps, config.localize.channels)

    settings = onecycle_settings(
        config,
        "localize",
        stage="box",
        # Five times the usual one, for forty thousand weights and some thousand views.
        weight_decay=0.05,
        augment=AugmentConfig(flip=False, shift=0),  # The views replace it.
        time_limit=0.0,
        patience=0,
        keep_checkpoints=0,
        precision="float32",  # It is small, and its maps come from a graph of 32 bits.
    )
    return fit_network(build, arrays, settings, **options)


def predict_boxes(
    network: FittedNetwork, arrays: TrainingArrays
) -> tuple[dict[Split, Floats], BoxScores | None]:
    """float32[N,4] by held-out split, 0..1 of the model's input; and the scores of these boxes."""
    held_out: tuple[Split, ...] = ("validation", "test")
    outputs = {s: network.engine.predict(arrays.pixels, arrays.indices[s]) for s in held_out}
    return {s: outputs[s]["box"] for s in held_out}, score_boxes(outputs, arrays)


def boxes_in_images(boxes: Floats, samples: Sequence[Sample], backbone: Backbone) -> Floats:
    """float32[N,4]: boxes in the model's input, as shares 0..1 of the upright images."""
    spec = backbone.input
    edges = [
        from_input(tuple(box), sample.size or (spec.width, spec.height), spec)
        for box, sample in zip(boxes.tolist(), samples, strict=True)
    ]
    return np.array(edges, np.float32).reshape(-1, 4)


def load_map_arrays(context: TrainContext, trained: TrainedModel) -> TrainingArrays:
    """The maps of all views of the training images, and of the unchanged held-out images.

    Raises:
        EnvironmentFault: there is no space for them, neither in the run directory nor in memory.
    """
    config, backbone = context.config, trained.backbone
    class_names = trained.samples.class_names
    views: dict[Split, int] = {"train": config.localize.box_views, "validation": 1, "test": 1}
    by_split = {split: trained.in_split(split) for split in SPLITS}
    targets = {split: class_indices(by_split[split], class_names) for split in SPLITS}
    count = sum(views[split] * len(by_split[split]) for split in SPLITS)
    width = sum(int(np.prod(shape)) for shape in backbone.maps)
    folder = context.run_dir.path
    maps = allocate_array((count, width), np.float16, folder, description="feature maps")
    indices: dict[Split, Ints] = {}
    boxes: dict[Split, Floats] = {}
    start = 0
    for split, samples in by_split.items():
        first, boxes_by_view = start, []
        for view in range(views[split]):
            stage = f"view {view}" if view else f"maps of {split}"
            extracted = extract_features(
                samples,
                backbone,
                view,
                progress=context.progress_of(stage),
                root=features_path(config),
                view_policy=ObjectViews(),
                output="maps",
            )
            extracted.require_all()
            for index, sample in enumerate(samples, start):
                maps[index] = extracted.features[vector_key(view, sample, ObjectViews())]
            boxes_by_view.append(_boxes_in_view(samples, view, backbone))
            start += len(samples)
        indices[split], boxes[split] = np.arange(first, start), np.concatenate(boxes_by_view)
    return TrainingArrays(
        pixels=maps,
        indices=indices,
        targets={split: np.tile(targets[split], views[split]) for split in SPLITS},
        class_names=class_names,
        input=backbone.input,
        boxes=boxes,
    )


def _boxes_in_view(samples: Sequence[Sample], view: int, backbone: Backbone) -> Floats:
    """float32[N,4]: the object boxes in one view, 0..1 of the model's input."""
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
