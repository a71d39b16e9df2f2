"""Fine-tune: train the pretrained network with its fitted head at a low learning rate."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sharpeye.core.arrays import Floats
from sharpeye.core.config import AugmentConfig, Config
from sharpeye.core.metrics import log_loss
from sharpeye.core.types import Split
from sharpeye.data.pixels import load_pixels
from sharpeye.errors import DivergedError
from sharpeye.images.boxes import iou
from sharpeye.jobs.train.context import TrainContext, TrainedModel
from sharpeye.jobs.train.network_on_pixels import (
    SECONDS_AFTER,
    calibrate,
    onecycle_settings,
    predictions_after,
    write_network,
)
from sharpeye.jobs.train.progress_log import ProgressLog
from sharpeye.learn.heads.head import SMOOTHING, Head
from sharpeye.learn.nets.loop import FittedNetwork, fit_network
from sharpeye.learn.nets.loss import Loss
from sharpeye.learn.nets.settings import FitSettings
from sharpeye.learn.nets.training_arrays import TrainingArrays, build_arrays
from sharpeye.models.backbone import BackboneConfig, weight_loader
from sharpeye.models.registry import get_spec
from sharpeye.runs import layout

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)


def fine_tune(
    context: TrainContext,
    trained: TrainedModel,
    source: BackboneConfig,
    *,
    box_head: FittedNetwork | None = None,
) -> TrainedModel:
    """Train a pretrained network and its head together, and keep the result if it is better.

    Batch norms keep their pretrained statistics: those of a few small batches are worse (see Keras'
    guide to transfer learning). Training starts with the head that was fitted without the
    validation images, so that validation can measure the gain.

    Args:
        trained: a head on the frozen network of `source`.
        box_head: from `add_box_head`, for a localizer.

    Returns:
        the fine-tuned model if validation improved (log loss; of a localizer, both losses as
        `Loss.monitored` weighs them), else `trained` with a note.
    """
    config, run_dir = context.config, context.run_dir
    size, localizes = trained.backbone.input, config.task == "localize"
    start = trained.head.validation_head
    # The default shift is smaller than in training from random weights.
    augment = config.augment if config.augment != AugmentConfig() else AugmentConfig(shift=5)
    settings = onecycle_settings(
        config, "finetune", stage="fine-tune", label_smoothing=0.0, augment=augment
    )
    checkpoints = run_dir.file(layout.CHECKPOINTS)
    if not config.train.keep_checkpoints:
        trained = replace(trained, temporary_paths=(*trained.temporary_paths, checkpoints))
    with ProgressLog(
        context, stage="fine-tune", epochs=config.finetune.epochs, history=trained.head.history
    ) as progress_log:
        samples, progress = trained.samples, context.progress_of("pictures")
        decoded = load_pixels(samples.samples, size, progress=progress)
        arrays = build_arrays(samples, decoded.pixels, decoded.indices, spec=size, boxes=localizes)
        progress_log.images(arrays)
        settings = settings.within_run(
            context.clock.total + SECONDS_AFTER, predictions_after(arrays)
        )
        load = weight_loader(source)
        try:
            network = fit_network(
                lambda: _build(arrays, start, config, box_head=box_head, load=load),
                arrays,
                settings,
                checkpoints=checkpoints,
                resume=run_dir.resumed,
                on_epoch=progress_log.epoch,
                on_images=progress_log.trained_images,
            )
        except DivergedError as error:
            log.warning("fine-tuning is dropped: %s", error)
            return trained
        head, probs, boxes, box_scores = calibrate(network, arrays, root=start.square_root)
    context.clock.lap("fine-tuning")
    before = _validation_loss(trained.probs, trained.boxes, arrays, settings=settings)
    after = _validation_loss(probs, boxes, arrays, settings=settings)
    measure = "loss of classes and boxes" if localizes else "log loss"
    change = f"validation {measure} {before:.4f} before, {after:.4f} after"
    history = (*trained.head.history, *network.history)
    if not (math.isfinite(after) and after < before):
        note = f"Fine-tuning did not help ({change}): the frozen network is kept."
        log.info(note)
        frozen_head = replace(trained.head, history=history)
        return replace(trained, head=frozen_head, notes=(*trained.notes, note))
    note = f"Fine-tuning helped: {change}."
    log.info(note)
    temperature = head.final_head.temperature
    written = write_network(
        run_dir, network, trained.backbone.name, size=size, temperature=temperature
    )
    written["temporary_paths"] += trained.temporary_paths
    return TrainedModel(
        samples=trained.samples,
        head=replace(head, history=history),
        probs=probs,
        boxes=boxes,
        box_scores=box_scores,
        notes=(*trained.notes, note),
        **written,
    )


def _validation_loss(
    probs: Mapping[Split, Floats],
    boxes: Mapping[Split, Floats],
    arrays: TrainingArrays,
    *,
    settings: FitSettings,
) -> float:
    """The log loss; with boxes, the weighted sum of both losses. Lower is better."""
    loss = log_loss(arrays.targets["validation"], probs["validation"])
    if "validation" not in boxes:
        return loss
    overlaps = iou(boxes["validation"], arrays.boxes["validation"])
    both = Loss(settings, (arrays.input.height, arrays.input.width))
    return both.monitored(loss, float(overlaps.mean()))


def _build(
    arrays: TrainingArrays,
    head: Head,
    config: Config,
    *,
    box_head: FittedNetwork | None,
    load: Callable[["keras.Model"], object],
) -> "keras.Model":
    """The pretrained network with the fitted heads on it; its batch norms are frozen."""
    from sharpeye.models.classifier import build_classifier

    channels = arrays.input.channels
    model: Any = build_classifier(
        get_spec(config.model.name),
        arrays.input,
        len(arrays.class_names),
        net=config.net,
        scale=(1.0,) * channels,
        offset=(0.0,) * channels,
        load=load,
        root_smoothing=SMOOTHING if head.square_root else 0.0,
        boxes=config.localize.channels if box_head else 0,
    )
    model.get_layer("classifier").set_weights([np.array(head.weights), np.array(head.bias)])
    fitted = {layer.name: layer for layer in box_head.model.layers} if box_head else {}
    for layer in model.layers:
        if layer.name in fitted:
            layer.set_weights(fitted[layer.name].get_weights())
        elif "BatchNormalization" in type(layer).__name__:
            layer.trainable = False
    return model
