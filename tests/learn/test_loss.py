"""The loss: box losses by hand and by NumPy, and their sum with the loss of the classes."""

import math
from typing import Any

import numpy as np
import pytest

from nets import make_loss, random_boxes, tiny_config
from sharpeye.images.boxes import iou
from sharpeye.learn.nets.backend import load_backend
from sharpeye.learn.nets.loss import Loss, iou_and_giou, proposals_loss
from sharpeye.learn.nets.settings import FitSettings

Array = np.ndarray[Any, Any]
BOX_LOSSES = ("giou", "l1", "mse_pixels")

# Two boxes, intersection over union, and generalized IoU: that less the empty share of the hull.
BY_HAND = [
    ((0.2, 0.2, 0.6, 0.6), (0.2, 0.2, 0.6, 0.6), 1.0, 1.0),
    ((0.0, 0.0, 0.5, 0.5), (0.0, 0.0, 1.0, 1.0), 0.25, 0.25),
    ((0.0, 0.0, 0.2, 0.2), (0.1, 0.1, 0.3, 0.3), 1 / 7, 1 / 7 - 2 / 9),
    ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), 0.0, 0.0),  # they touch
    ((0.0, 0.0, 0.1, 0.1), (0.9, 0.9, 1.0, 1.0), 0.0, -0.98),
    ((0.4, 0.4, 0.4, 0.4), (0.0, 0.0, 1.0, 1.0), 0.0, 0.0),  # no area
]


@pytest.fixture(autouse=True, scope="module")
def _keras() -> None:
    load_backend()


def boxes(seed: int, count: int = 40) -> Array:
    return random_boxes(count, np.random.default_rng(seed))


def numpy_giou(predicted: Array, true: Array) -> Array:
    """Generalized IoU by NumPy, one pair at a time, as in the paper."""
    values = []
    for a, b in zip(predicted.astype(np.float64), true.astype(np.float64), strict=True):
        hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
        width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
        height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
        union = areas - width * height
        values.append(width * height / union - (hull - union) / hull)
    return np.array(values)


def box_sums(loss: Loss, predicted: Array, true: Array, weights: Any = 1.0) -> list[float]:
    """`Loss.sums` of boxes alone."""
    count = len(predicted)
    targets = {
        "label": np.zeros(count, np.int32),
        "weight": np.broadcast_to(np.asarray(weights, np.float32), count).copy(),
        "box": true,
    }
    sums = loss.sums({"box": predicted}, np.zeros((count, 1), np.float32), targets)
    return [float(value) for value in sums]


# --- IoU -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second", "iou", "giou"), BY_HAND)
def test_iou_and_giou_are_those_calculated_by_hand(
    first: tuple[float, ...], second: tuple[float, ...], iou: float, giou: float
) -> None:
    pair = np.array([first], np.float32), np.array([second], np.float32)
    for one_way in (pair, pair[::-1]):
        values = [float(np.asarray(value)[0]) for value in iou_and_giou(*one_way)]
        assert values == pytest.approx([iou, giou], abs=1e-5)


def test_iou_and_giou_are_those_of_numpy() -> None:
    predicted, true = boxes(0), boxes(1)
    values, giou = (np.asarray(value) for value in iou_and_giou(predicted, true))
    np.testing.assert_allclose(values, iou(predicted, true), atol=1e-5)
    np.testing.assert_allclose(giou, numpy_giou(predicted, true), atol=1e-5)
    assert giou.min() < -0.2 and values.max() > 0.3 and (values == 0).any()


# --- losses of boxes -----------------------------------------------------------------------------


def test_each_box_loss_is_its_formula() -> None:
    predicted, true = boxes(2), boxes(3)
    weights = np.random.default_rng(4).uniform(0, 2, len(true)).astype(np.float32)
    edges = np.abs(predicted - true).mean(axis=1)
    pixels = (predicted - true) * np.array([48, 32, 48, 32])
    expected = {
        "giou": 1 - numpy_giou(predicted, true) + edges,
        "l1": edges,
        "mse_pixels": np.square(pixels).mean(axis=1),
    }
    for name, losses in expected.items():
        for factor in (1.0, 2.5):
            loss = make_loss((32, 48), box_weight=factor, box_loss=name)
            total, log_loss, correct, total_iou = box_sums(loss, predicted, true, weights)
            assert total == pytest.approx(factor * (losses * weights).sum(), rel=1e-4), name
            assert log_loss == correct == 0
            assert total_iou == pytest.approx(iou(predicted, true).sum(), rel=1e-4)


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_the_loss_of_the_true_box_is_0(name: str) -> None:
    true = boxes(5)
    assert box_sums(make_loss(box_loss=name), true, true)[0] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_the_gradient_moves_a_distant_box_to_the_true_one(name: str) -> None:
    import tensorflow as tf

    predicted = tf.constant([[0.0, 0.0, 0.2, 0.2]])
    targets = {
        "label": tf.constant([0]),
        "weight": tf.constant([1.0]),
        "box": tf.constant([[0.7, 0.7, 0.9, 0.9]]),
    }
    with tf.GradientTape() as tape:
        tape.watch(predicted)
        loss = make_loss(box_loss=name).sums({"box": predicted}, tf.zeros((1, 1)), targets)[0]
    gradient = tape.gradient(loss, predicted).numpy()[0]
    assert (gradient[2:] < 0).all()  # The near edges move down and to the right.
    assert gradient.sum() < 0


# --- classes and boxes ---------------------------------------------------------------------------


def test_both_losses_are_weighted_and_added() -> None:
    random = np.random.default_rng(6)
    logits = random.normal(0, 2, (40, 3)).astype(np.float32)
    labels = (np.arange(40) % 3).astype(np.int32)
    weights = random.uniform(0, 2, 40).astype(np.float32)
    predicted, true = boxes(7), boxes(8)
    targets = {"label": labels, "weight": weights, "box": true}
    label_probs = np.eye(3, dtype=np.float32)[labels]

    def sums(loss: Loss, **outputs: Array) -> list[float]:
        return [float(value) for value in loss.sums(outputs, label_probs, targets)]

    smoothed = make_loss(label_smoothing=0.1)
    classes, places = sums(smoothed, logits=logits), sums(smoothed, box=predicted)
    both = make_loss(label_smoothing=0.1, class_weight=0.5, box_weight=3.0)
    together = sums(both, logits=logits, box=predicted)
    assert together[0] == pytest.approx(0.5 * classes[0] + 3 * places[0], rel=1e-5)
    assert together[1:] == pytest.approx([*classes[1:3], places[3]], rel=1e-5)
    assert together[2] == (logits.argmax(axis=1) == labels).sum() > 0


def test_the_validation_loss_weighs_both() -> None:
    loss = make_loss(class_weight=0.5, box_weight=2.0)
    assert loss.monitored(0.8, 0.75) == pytest.approx(0.5 * 0.8 + 2 * 0.25)
    assert loss.monitored(0.8, None) == pytest.approx(0.4)
    assert loss.monitored(None, 0.75) == pytest.approx(0.5)
    assert math.isnan(loss.monitored(math.nan, 0.75))
    better = [loss.monitored(0.7, 0.75), loss.monitored(0.8, 0.8)]
    assert max(better) < loss.monitored(0.8, 0.75)


def test_the_settings_follow_the_configuration() -> None:
    changes = {
        "train.label_smoothing": 0.2,
        "localize.class_weight": 10.0,
        "localize.box_weight": 3.0,
        "localize.box_loss": "mse_pixels",
    }

    def settings_of(task: str) -> FitSettings:
        return FitSettings.from_config(tiny_config(changes | {"task": task}), 0.1)

    settings = settings_of("localize")
    assert (settings.label_smoothing, settings.learning_rate) == (0.2, 0.1)
    assert (settings.class_weight, settings.box_weight) == (10.0, 3.0)
    assert settings.box_loss == "mse_pixels"
    assert settings_of("classify").class_weight == 1.0  # A classifier minimizes one loss.


# --- proposals -----------------------------------------------------------------------------------

TRUE_BOX = np.array([[0.5, 0.25, 1.0, 0.75]], np.float32)  # its middle is at 0.75, 0.5


def cells(size: int = 5) -> Array:
    """float32[1,size*size,7]: each proposes the true box, with the same confidence."""
    y, x = (np.mgrid[:size, :size].reshape(2, -1) + 0.5) / size
    edges = np.repeat(TRUE_BOX, size * size, axis=0)
    return np.column_stack([np.zeros(size * size), edges, x, y]).astype(np.float32)[None]


def loss_of(proposals: Array) -> float:
    return float(np.asarray(proposals_loss(proposals, TRUE_BOX))[0])


def test_central_cells_gain_confidence() -> None:
    import tensorflow as tf

    proposals = tf.constant(cells())
    with tf.GradientTape() as tape:
        tape.watch(proposals)
        loss = proposals_loss(proposals, tf.constant(TRUE_BOX))[0]
    step = -tape.gradient(loss, proposals).numpy()[0]
    distance = np.linalg.norm(proposals.numpy()[0, :, 5:] - [0.75, 0.5], axis=1)
    assert step[distance.argmin(), 0] > 0 > step[distance.argmax(), 0]
    assert step[:, 0].argmax() == distance.argmin()
    assert abs(step[:, 0].sum()) < 1e-5


def test_only_proposals_near_the_middle_count() -> None:
    right = cells()
    distance = np.linalg.norm(right[0, :, 5:] - [0.75, 0.5], axis=1)
    near, far = right.copy(), right.copy()
    near[0, distance.argmin(), 1:5] = far[0, distance.argmax(), 1:5] = (0.0, 0.0, 0.1, 0.1)
    assert loss_of(near) > loss_of(right) + 0.1
    assert loss_of(far) == pytest.approx(loss_of(right), abs=1e-4)


def test_the_loss_of_proposals_is_its_formula() -> None:
    random = np.random.default_rng(9)
    proposals = cells(3)
    proposals[0, :, 0] = random.normal(0, 1, 9)
    proposals[0, :, 1:5] = boxes(10, 9)
    spread = np.maximum((TRUE_BOX[0, 2:] - TRUE_BOX[0, :2]) / 4, 0.03)
    weights = np.exp(-0.5 * np.square((proposals[0, :, 5:] - [0.75, 0.5]) / spread).sum(axis=1))
    weights /= weights.sum()
    log_probs = proposals[0, :, 0] - np.log(np.exp(proposals[0, :, 0]).sum())
    box_losses = 1 - numpy_giou(proposals[0, :, 1:5], np.repeat(TRUE_BOX, 9, axis=0))
    expected = 0.2 * -(weights * log_probs).sum() + (weights * box_losses).sum()
    assert loss_of(proposals) == pytest.approx(expected, rel=1e-4)


def test_the_box_loss_includes_the_proposals() -> None:
    targets = {
        "label": np.zeros(1, np.int32),
        "weight": np.full(1, 2, np.float32),
        "box": TRUE_BOX,
    }
    proposals, label_probs = cells(), np.zeros((1, 1), np.float32)
    proposals[0, :, 1:5] = (0.4, 0.2, 0.9, 0.8)
    outputs = {"box": proposals[:, 0, 1:5]}
    loss = make_loss(box_weight=3.0)
    without = float(loss.sums(outputs, label_probs, targets)[0])
    with_proposals = float(loss.sums(outputs | {"proposals": proposals}, label_probs, targets)[0])
    assert with_proposals == pytest.approx(without + 3 * 2 * loss_of(proposals), rel=1e-5)


def test_the_focal_loss_weighs_sure_predictions_down() -> None:
    logits = np.array([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]], np.float32)
    targets = {"label": np.array([0, 1], np.int32), "weight": np.ones(2, np.float32)}
    loss = make_loss(focal_gamma=2.0)
    value = float(loss.sums({"logits": logits}, np.eye(3, dtype=np.float32)[:2], targets)[0])
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = probs[[0, 1], [0, 1]]
    assert value == pytest.approx(float((-((1 - true) ** 2) * np.log(true)).sum()), rel=1e-4)


def test_the_focal_loss_of_a_sure_prediction_has_a_gradient() -> None:
    import tensorflow as tf

    logits = tf.constant([[200.0, 0.0]])
    loss = make_loss(focal_gamma=0.5)
    targets = {"label": np.array([0], np.int32), "weight": np.ones(1, np.float32)}
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss.sums({"logits": logits}, np.array([[1, 0]], np.float32), targets)[0]
    assert np.isfinite(tape.gradient(value, logits)).all()
