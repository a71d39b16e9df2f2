"""The training loss: of the classes, of the boxes, or a weighted sum of both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sharpeye.learn.nets.settings import FitSettings

Tensor = Any  # of Keras' backend

_EPSILON = 1e-7
_CONFIDENCE_WEIGHT = 0.2


@dataclass(frozen=True)
class Loss:
    """The loss of a batch, in `keras.ops`.

    Attributes:
        settings: the label smoothing (Szegedy et al. 2015), the focal loss's gamma (Lin et al.
            2017, arXiv:1708.02002), the kind of box loss, and the factors of the two losses.
        size: height and width of the model's input in pixels, for `mse_pixels`.
    """

    settings: FitSettings
    size: tuple[int, int]

    def sums(
        self, outputs: Mapping[str, Tensor], label_probs: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sums over a batch: the loss, the log loss, the correct labels, and the boxes' IoU.

        Without the model's output for it, a sum is 0.

        Args:
            outputs: of the model: `logits` float[B,C], `box` float[B,4], or both; a box head may
                add `proposals` float[B,M,7].
            label_probs: float32[B,C], target probabilities; each row sums to 1.
            targets: `label`, `weight` and, with boxes, `box`, as in `StepBatches`.
        """
        from keras import ops

        weights = targets["weight"]
        zero = ops.sum(weights) * 0.0
        loss, log_loss, correct, total_iou = zero, zero, zero, zero
        if "logits" in outputs:
            logits = ops.cast(outputs["logits"], "float32")
            classes = logits.shape[-1]
            log_probs = ops.log_softmax(logits, axis=-1)
            smoothing = self.settings.label_smoothing
            smoothed = label_probs * (1 - smoothing) + smoothing / classes
            log_loss = ops.sum(-log_probs * ops.one_hot(targets["label"], classes))
            hits = ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), targets["label"])
            correct = ops.sum(ops.cast(hits, "float32"))
            terms = -smoothed * log_probs
            if gamma := self.settings.focal_gamma:
                # A probability of 1 would have an infinite derivative of the power.
                terms = terms * ops.power(1 - ops.exp(log_probs) + _EPSILON, gamma)
            per_image = ops.sum(terms, axis=-1)
            if "teacher" in targets:
                per_image = self._with_teacher(per_image, logits, targets["teacher"])
            loss = loss + ops.sum(per_image * weights) * self.settings.class_weight
        if "box" in outputs:
            boxes = ops.cast(outputs["box"], "float32")
            iou, giou = iou_and_giou(boxes, targets["box"])
            per_image = self._box_loss(boxes, targets["box"], giou)
            if "proposals" in outputs:
                per_image = per_image + proposals_loss(outputs["proposals"], targets["box"])
            loss = loss + ops.sum(per_image * weights) * self.settings.box_weight
            total_iou = ops.sum(iou)
        return loss, log_loss, correct, total_iou

    def _with_teacher(self, per_image: Tensor, logits: Tensor, teacher: Tensor) -> Tensor:
        """float[B]: the loss of the labels, and that of a teacher's softened answers (Hinton et al.
        2015): the factor keeps the size of its gradients at any temperature.
        """
        from keras import ops

        temperature, weight = self.settings.teacher_temperature, self.settings.teacher_weight
        log_teacher = ops.log(ops.maximum(teacher, _EPSILON)) / temperature
        softened = ops.softmax(log_teacher, axis=-1)
        cross_entropy = ops.sum(-softened * ops.log_softmax(logits / temperature, axis=-1), axis=-1)
        return (1 - weight) * per_image + weight * temperature**2 * cross_entropy

    def monitored(self, log_loss: float | None, mean_iou: float | None) -> float:
        """The weighted sum that compares epochs: lower is better; None without that output."""
        classes = 0.0 if log_loss is None else self.settings.class_weight * log_loss
        return classes + (0.0 if mean_iou is None else self.settings.box_weight * (1 - mean_iou))

    def _box_loss(self, boxes: Tensor, targets: Tensor, giou: Tensor) -> Tensor:
        """float[B]."""
        from keras import ops

        if self.settings.box_loss == "mse_pixels":
            height, width = self.size
            return ops.mean(ops.square((boxes - targets) * [width, height, width, height]), axis=-1)
        distance = ops.mean(ops.abs(boxes - targets), axis=-1)
        # If boxes are far apart, only the distance of the edges has a useful gradient.
        return 1 - giou + distance if self.settings.box_loss == "giou" else distance


def iou_and_giou(boxes: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union and generalized IoU, float[B] each.

    Generalized IoU is negative, down to -1, for boxes that do not overlap (Rezatofighi et al. 2019,
    https://arxiv.org/abs/1902.09630).

    Args:
        boxes, targets: float[B,4] each, xmin <= xmax and ymin <= ymax.
    """
    from keras import ops

    def area(low: Tensor, high: Tensor) -> Tensor:
        sides = ops.maximum(high - low, 0.0)
        return sides[:, 0] * sides[:, 1]

    low, high, target_low, target_high = boxes[:, :2], boxes[:, 2:], targets[:, :2], targets[:, 2:]
    intersection = area(ops.maximum(low, target_low), ops.minimum(high, target_high))
    union = area(low, high) + area(target_low, target_high) - intersection
    hull = area(ops.minimum(low, target_low), ops.maximum(high, target_high))
    iou = intersection / ops.maximum(union, _EPSILON)
    return iou, iou - (hull - union) / ops.maximum(hull, _EPSILON)


def proposals_loss(proposals: Tensor, targets: Tensor) -> Tensor:
    """float[B]: the loss of the boxes of central cells, and of the cells' confidence logits.

    A Gaussian around the object's centre weights the cells. Without this loss the mean of all
    proposals becomes accurate long before any single one: mean IoU on 156 images of unseen objects
    was 0.78 with it and 0.74 without.

    Args:
        proposals: float[B,M,7]: each cell's logit, four edges, and its position x, y.
        targets: float[B,4], true boxes.
    """
    from keras import ops

    edges, positions = proposals[..., 1:5], proposals[..., 5:]
    low, high = targets[:, None, :2], targets[:, None, 2:]
    distance = (positions - (low + high) * 0.5) / ops.maximum((high - low) * 0.25, 0.03)
    cell_weights = ops.softmax(-0.5 * ops.sum(ops.square(distance), axis=-1), axis=-1)
    confidence_loss = ops.sum(-cell_weights * ops.log_softmax(proposals[..., 0], axis=-1), axis=-1)
    cells = edges.shape[1]
    _, giou = iou_and_giou(ops.reshape(edges, (-1, 4)), ops.repeat(targets, cells, axis=0))
    box_loss = ops.sum(cell_weights * (1 - ops.reshape(giou, (-1, cells))), axis=-1)
    return _CONFIDENCE_WEIGHT * confidence_loss + box_loss
