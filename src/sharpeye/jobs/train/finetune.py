"""Fine-tuning: the head is fitted first, then the pretrained network learns on, a little."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sharpeye.core.config import AugmentConfig, Config
from sharpeye.core.inference import Backbone
from sharpeye.core.metrics import log_loss
from sharpeye.core.types import Split
from sharpeye.data.pixels import load_pixels
from sharpeye.errors import DivergedError
from sharpeye.images.boxes import iou
from sharpeye.jobs.train.prepare import Clock, FitResult, Progress, stage_progress
from sharpeye.jobs.train.scratch import calibrated
from sharpeye.learn.heads.head import SMOOTH, Head
from sharpeye.learn.nets.loop import FittedNetwork, OnEpoch, fit_network
from sharpeye.learn.nets.loss import Loss
from sharpeye.learn.nets.settings import FitSettings
from sharpeye.learn.nets.training_arrays import TrainingArrays, build_arrays
from sharpeye.models.spec import ModelSpec

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)


def fine_tune(
    learned: FitResult,
    backbone: Backbone,
    spec: ModelSpec,
    load: Callable[["keras.Model"], object],
    config: Config,
    *,
    box_head: FittedNetwork | None = None,
    progress: Progress | None = None,
    on_material: Callable[[TrainingArrays], None] = lambda _: None,
    on_epoch: OnEpoch | None = None,
    checkpoints: Path | None = None,
    resume: bool = False,
) -> tuple[FitResult, FittedNetwork | None]:
    """Train a pretrained network and its head together, at a low rate.

    Batch norms keep the statistics they came with: those of a few small batches are worse (see
    Keras' guide to transfer learning). Training begins with the head that never saw the
    validation images, so that validation can say whether it helped.

    Args:
        learned: from `learn`.
        backbone: what its head stands on.
        load: fills the pretrained model with its weights.
        config: `finetune` and `augment` are followed.
        box_head: from `learn_boxes`, for a localizer.

    Returns:
        what to go on with: the fine-tuned answers and network if validation improved (log loss;
        of a localizer, both losses, see `Loss.validation_loss`), else `learned` as it came and
        None.
    """
    clock = Clock()
    found = load_pixels(
        learned.samples.samples, backbone.input, progress=stage_progress(progress, "pictures")
    )
    localizes = config.task == "localize"
    material = build_arrays(
        learned.samples, found.pixels, found.rows, backbone.input, boxes=localizes
    )
    on_material(material)
    start, settings = learned.head.validation_head, _fit_settings(config)
    before = _validation_loss(learned.probs, learned.boxes, material, settings)
    try:
        net = fit_network(
            lambda: _with_heads(spec, material, start, box_head, load, config),
            material,
            settings,
            checkpoints=checkpoints,
            resume=resume,
            on_epoch=on_epoch,
        )
    except DivergedError as error:
        log.warning("fine-tuning is dropped: %s", error)
        return learned, None
    head, probs, boxes = calibrated(net, material, root=start.root)
    after = _validation_loss(probs, boxes, material, settings)
    clock.lap("fine-tuning")
    seconds = learned.seconds | clock.seconds
    history = (*learned.head.history, *net.history)
    measure = "loss of classes and boxes" if localizes else "log loss"
    what = f"validation {measure} {before:.4f} before, {after:.4f} after"
    if not (math.isfinite(after) and after < before):
        note = f"Fine-tuning did not help ({what}): the frozen network is kept."
        log.info(note)
        kept = replace(learned.head, history=history)
        return replace(learned, head=kept, notes=(*learned.notes, note), seconds=seconds), None
    note = f"Fine-tuning helped: {what}."
    log.info(note)
    head = replace(head, history=history)
    return FitResult(learned.samples, head, probs, (*learned.notes, note), seconds, boxes), net


def _validation_loss(
    probs: Mapping[Split, Any],
    boxes: Mapping[Split, Any],
    material: TrainingArrays,
    settings: FitSettings,
) -> float:
    """The log loss; with boxes, the weighted sum of both losses."""
    loss = log_loss(material.targets["validation"], probs["validation"])
    if "validation" not in boxes:
        return loss
    found = iou(boxes["validation"], material.boxes["validation"])
    both = Loss(settings, (material.input.height, material.input.width))
    return both.validation_loss(loss, float(found.mean()))


def _fit_settings(config: Config) -> FitSettings:
    """AdamW in one cycle, without label smoothing, and by default with a smaller shift."""
    return replace(
        FitSettings.from_config(config, config.finetune.learning_rate),
        learning_rate_key="finetune.learning_rate",
        stage="fine-tune",
        epochs=config.finetune.epochs,
        batch_size=config.finetune.batch_size,
        optimizer="adamw",
        schedule="onecycle",
        label_smoothing=0.0,
        augment=config.augment if config.augment != AugmentConfig() else AugmentConfig(shift=5),
    )


def _with_heads(
    spec: ModelSpec,
    material: TrainingArrays,
    head: Head,
    box_head: FittedNetwork | None,
    load: Callable[["keras.Model"], object],
    config: Config,
) -> "keras.Model":
    from sharpeye.models.classifier import build_classifier

    channels = material.input.channels
    model: Any = build_classifier(
        spec,
        material.input,
        len(material.class_names),
        config.net,
        (1.0,) * channels,
        (0.0,) * channels,
        load,
        root_smoothing=SMOOTH if head.root else 0.0,
        boxes=config.localize.channels if box_head else 0,
    )
    model.get_layer("classifier").set_weights([np.array(head.weights), np.array(head.bias)])
    own = {layer.name: layer for layer in box_head.model.layers} if box_head else {}
    for layer in model.layers:
        if layer.name in own:
            layer.set_weights(own[layer.name].get_weights())
        elif "BatchNormalization" in type(layer).__name__:
            layer.trainable = False
    return model
