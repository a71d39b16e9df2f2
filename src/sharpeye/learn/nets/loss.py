"""What training minimizes: the classes' loss, the boxes' loss, or a sum of both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sharpeye.core.config import Config

Tensor = Any  # of whichever backend Keras uses
Sums = tuple[Tensor, Tensor, Tensor, Tensor]

_TINY = 1e-7
_TRUST = 0.2


@dataclass(frozen=True)
class Loss:
    """The loss of a batch, in `keras.ops`.

    Attributes:
        smoothing: share of the truth that is spread over all classes (Szegedy et al. 2015).
        class_weight, box_weight: factors of the two losses.
        box_loss: see `LocalizeConfig.box_loss`.
        size: height and width of the model's input in pixels; for `mse_pixels`.
    """

    smoothing: float = 0.0
    class_weight: float = 1.0
    box_weight: float = 1.0
    box_loss: str = "giou"
    size: tuple[int, int] = (1, 1)

    def sums(
        self, outputs: Mapping[str, Tensor], targets: Tensor, truth: Mapping[str, Tensor]
    ) -> Sums:
        """Sums over a batch of the loss, of the log loss, of right answers and of overlaps.

        What the model does not say anything of counts 0.

        Args:
            outputs: of the model: `logits` float[B,C], `box` float[B,4], or both.
            targets: float32[B,C], rows sum to 1.
            truth: `label`, `weight` and, with boxes, `box`; see `Stretch`.
        """
        from keras import ops

        weights = truth["weight"]
        nothing = ops.sum(weights) * 0.0
        loss, plain, hits, overlaps = nothing, nothing, nothing, nothing
        if "logits" in outputs:
            found, plain, hits = self._classes(outputs["logits"], targets, truth["label"])
            loss = loss + ops.sum(found * weights) * self.class_weight
        if "box" in outputs:
            boxes = ops.cast(outputs["box"], "float32")
            overlap, generalized = overlaps_of(boxes, truth["box"])
            found = self._boxes(boxes, truth["box"], generalized)
            if "proposals" in outputs:
                found = found + proposals_loss(outputs["proposals"], truth["box"])
            loss = loss + ops.sum(found * weights) * self.box_weight
            overlaps = ops.sum(overlap)
        return loss, plain, hits, overlaps

    def judge(self, log_loss: float | None, mean_iou: float | None) -> float:
        """One number for how good answers for held-out images are; less is better."""
        classes = 0.0 if log_loss is None else self.class_weight * log_loss
        return classes + (0.0 if mean_iou is None else self.box_weight * (1 - mean_iou))

    def _classes(
        self, logits: Tensor, targets: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss float[B], sum of the log loss, and number of right answers."""
        from keras import ops

        logits = ops.cast(logits, "float32")
        classes = logits.shape[-1]
        logs = ops.log_softmax(logits, axis=-1)
        smooth = targets * (1 - self.smoothing) + self.smoothing / classes
        plain = ops.sum(-logs * ops.one_hot(labels, classes))
        right = ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), labels)
        return ops.sum(-smooth * logs, axis=-1), plain, ops.sum(ops.cast(right, "float32"))

    def _boxes(self, found: Tensor, truth: Tensor, generalized: Tensor) -> Tensor:
        from keras import ops

        if self.box_loss == "giou":
            # The edges' distance alone tells where to go as long as boxes lie far apart.
            return 1 - generalized + ops.mean(ops.abs(found - truth), axis=-1)
        if self.box_loss == "l1":
            return ops.mean(ops.abs(found - truth), axis=-1)
        height, width = self.size
        return ops.mean(ops.square((found - truth) * [width, height, width, height]), axis=-1)


def overlaps_of(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union and its generalization, float[B] each.

    The generalized one goes on below 0 for boxes that do not meet, down to -1 (Rezatofighi et al.
    2019, https://arxiv.org/abs/1902.09630).

    Args:
        found, truth: float[B,4] each, xmin <= xmax and ymin <= ymax.
    """
    from keras import ops

    def area(low: Tensor, high: Tensor) -> Tensor:
        sides = ops.maximum(high - low, 0.0)
        return sides[:, 0] * sides[:, 1]

    low, high, true_low, true_high = found[:, :2], found[:, 2:], truth[:, :2], truth[:, 2:]
    common = area(ops.maximum(low, true_low), ops.minimum(high, true_high))
    union = area(low, high) + area(true_low, true_high) - common
    hull = area(ops.minimum(low, true_low), ops.maximum(high, true_high))
    overlap = common / ops.maximum(union, _TINY)
    return overlap, overlap - (hull - union) / ops.maximum(hull, _TINY)


def proposals_loss(proposals: Tensor, truth: Tensor) -> Tensor:
    """What cells in the middle of the object propose, and how far others are believed: float[B].

    Without it the mean of all proposals is right long before any one is: measured on 156 images
    of objects never seen, mean IoU 0.78 with it and 0.74 without.

    Args:
        proposals: float[B,M,7], of each cell the logit, the edges, and where it is.
        truth: float[B,4].
    """
    from keras import ops

    edges, places = proposals[..., 1:5], proposals[..., 5:]
    low, high = truth[:, None, :2], truth[:, None, 2:]
    away = (places - (low + high) * 0.5) / ops.maximum((high - low) * 0.25, 0.03)
    wanted = ops.softmax(-0.5 * ops.sum(ops.square(away), axis=-1), axis=-1)
    trust = ops.sum(-wanted * ops.log_softmax(proposals[..., 0], axis=-1), axis=-1)
    count = edges.shape[1]
    flat = ops.reshape(edges, (-1, 4))
    _, generalized = overlaps_of(flat, ops.repeat(truth, count, axis=0))
    gap = ops.sum(wanted * (1 - ops.reshape(generalized, (-1, count))), axis=-1)
    return _TRUST * trust + gap


def make_loss(config: Config, height: int, width: int) -> Loss:
    """What a configuration asks to be minimized."""
    wanted = config.localize
    weights = (wanted.class_weight, wanted.box_weight) if config.task == "localize" else (1.0, 0.0)
    return Loss(config.train.label_smoothing, *weights, wanted.box_loss, (height, width))
