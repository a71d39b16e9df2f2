"""What is minimized: boxes' losses by hand and by NumPy, and how they join that of the classes."""

import math
from typing import Any

import numpy as np
import pytest

from nets import some_boxes
from sharpeye.core.config import Config
from sharpeye.images.boxes import iou
from sharpeye.learn.nets.backend import load_backend
from sharpeye.learn.nets.loss import Loss, make_loss, overlaps_of, proposals_loss

Array = np.ndarray[Any, Any]

# Found box, true box, intersection over union, and the same less the empty share of the hull.
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
    return some_boxes(count, np.random.default_rng(seed))


def generalized(found: Array, truth: Array) -> Array:
    """By NumPy, a pair at a time, as in the paper."""
    values = []
    for a, b in zip(found.astype(np.float64), truth.astype(np.float64), strict=True):
        hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
        wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
        high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
        values.append(wide * high / union - (hull - union) / hull)
    return np.array(values)


def box_sums(objective: Loss, found: Array, truth: Array, weights: Any = 1.0) -> list[float]:
    count = len(found)
    told = {
        "label": np.zeros(count, np.int32),
        "weight": np.broadcast_to(np.asarray(weights, np.float32), count).copy(),
        "box": truth,
    }
    sums = objective.sums({"box": found}, np.zeros((count, 1), np.float32), told)
    return [float(value) for value in sums]


# --- overlaps ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("found", "truth", "iou", "giou"), BY_HAND)
def test_overlaps_are_those_that_are_worked_out_by_hand(
    found: tuple[float, ...], truth: tuple[float, ...], iou: float, giou: float
) -> None:
    pair = np.array([found], np.float32), np.array([truth], np.float32)
    for one, other in (pair, pair[::-1]):
        values = [float(np.asarray(value)[0]) for value in overlaps_of(one, other)]
        assert values == pytest.approx([iou, giou], abs=1e-5)


def test_overlaps_are_those_of_numpy() -> None:
    found, truth = boxes(0), boxes(1)
    values, giou = (np.asarray(value) for value in overlaps_of(found, truth))
    np.testing.assert_allclose(values, iou(found, truth), atol=1e-5)
    np.testing.assert_allclose(giou, generalized(found, truth), atol=1e-5)
    assert giou.min() < -0.2 and values.max() > 0.3 and (values == 0).any()


# --- losses of boxes -----------------------------------------------------------------------------


def test_each_loss_is_its_formula() -> None:
    found, truth = boxes(2), boxes(3)
    weights = np.random.default_rng(4).uniform(0, 2, len(found)).astype(np.float32)
    edges = np.abs(found - truth).mean(axis=1)
    pixels = (found - truth) * np.array([48, 32, 48, 32])
    expected = {
        "giou": 1 - generalized(found, truth) + edges,
        "l1": edges,
        "mse_pixels": np.square(pixels).mean(axis=1),
    }
    for kind, each in expected.items():
        for factor in (1.0, 2.5):
            objective = Loss(box_weight=factor, box_loss=kind, size=(32, 48))
            loss, plain, hits, overlaps = box_sums(objective, found, truth, weights)
            assert loss == pytest.approx(factor * (each * weights).sum(), rel=1e-4), kind
            assert plain == hits == 0
            assert overlaps == pytest.approx(iou(found, truth).sum(), rel=1e-4)


@pytest.mark.parametrize("kind", ["giou", "l1", "mse_pixels"])
def test_the_right_box_costs_nothing(kind: str) -> None:
    truth = boxes(5)
    assert box_sums(Loss(box_loss=kind), truth, truth)[0] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("kind", ["giou", "l1", "mse_pixels"])
def test_a_box_far_away_is_drawn_to_the_true_one(kind: str) -> None:
    import tensorflow as tf

    found = tf.constant([[0.0, 0.0, 0.2, 0.2]])
    truth = {
        "label": tf.constant([0]),
        "weight": tf.constant([1.0]),
        "box": tf.constant([[0.7, 0.7, 0.9, 0.9]]),
    }
    with tf.GradientTape() as tape:
        tape.watch(found)
        loss = Loss(box_loss=kind).sums({"box": found}, tf.zeros((1, 1)), truth)[0]
    gradient = tape.gradient(loss, found).numpy()[0]
    assert (gradient[2:] < 0).all()  # the near edges go down and to the right
    assert gradient.sum() < 0


# --- classes and boxes ---------------------------------------------------------------------------


def test_both_losses_are_weighed_and_added() -> None:
    random = np.random.default_rng(6)
    logits = random.normal(0, 2, (40, 3)).astype(np.float32)
    labels = (np.arange(40) % 3).astype(np.int32)
    weights = random.uniform(0, 2, 40).astype(np.float32)
    found, truth = boxes(7), boxes(8)
    told = {"label": labels, "weight": weights, "box": truth}
    targets = np.eye(3, dtype=np.float32)[labels]

    def sums(objective: Loss, outputs: dict[str, Array]) -> list[float]:
        return [float(value) for value in objective.sums(outputs, targets, told)]

    plain = Loss(smoothing=0.1)
    classes, places = (sums(plain, one) for one in ({"logits": logits}, {"box": found}))
    joined = Loss(0.1, class_weight=0.5, box_weight=3.0)
    together = sums(joined, {"logits": logits, "box": found})
    assert together[0] == pytest.approx(0.5 * classes[0] + 3 * places[0], rel=1e-5)
    assert together[1:] == pytest.approx([*classes[1:3], places[3]], rel=1e-5)
    assert together[2] == (logits.argmax(axis=1) == labels).sum() > 0


def test_held_out_answers_are_judged_by_both() -> None:
    objective = Loss(class_weight=0.5, box_weight=2.0)
    assert objective.judge(0.8, 0.75) == pytest.approx(0.5 * 0.8 + 2 * 0.25)
    assert objective.judge(0.8, None) == pytest.approx(0.4)
    assert objective.judge(None, 0.75) == pytest.approx(0.5)
    assert math.isnan(objective.judge(math.nan, 0.75))
    better = [objective.judge(0.7, 0.75), objective.judge(0.8, 0.8)]
    assert max(better) < objective.judge(0.8, 0.75)


def test_a_configuration_says_what_is_minimized() -> None:
    changes = {
        "train.label_smoothing": 0.2,
        "localize.class_weight": 10.0,
        "localize.box_weight": 3.0,
        "localize.box_loss": "mse_pixels",
    }
    config = Config().replace(changes)
    assert make_loss(config.replace({"task": "localize"}), 20, 30) == Loss(
        0.2, 10.0, 3.0, "mse_pixels", (20, 30)
    )
    assert make_loss(config, 20, 30).class_weight == 1.0  # a classifier minimizes one loss


# --- proposals -----------------------------------------------------------------------------------

TRUTH = np.array([[0.5, 0.25, 1.0, 0.75]], np.float32)  # its middle is at 0.75, 0.5


def cells(size: int = 5) -> Array:
    """float32[1,size*size,7]: each proposes the true box, and is believed as the others."""
    y, x = (np.mgrid[:size, :size].reshape(2, -1) + 0.5) / size
    edges = np.repeat(TRUTH, size * size, axis=0)
    return np.column_stack([np.zeros(size * size), edges, x, y]).astype(np.float32)[None]


def loss_of(proposals: Array) -> float:
    return float(np.asarray(proposals_loss(proposals, TRUTH))[0])


def test_cells_in_the_middle_of_the_object_are_to_be_believed() -> None:
    import tensorflow as tf

    given = tf.constant(cells())
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = proposals_loss(given, tf.constant(TRUTH))[0]
    pull = -tape.gradient(loss, given).numpy()[0]
    away = np.linalg.norm(given.numpy()[0, :, 5:] - [0.75, 0.5], axis=1)
    assert pull[away.argmin(), 0] > 0 > pull[away.argmax(), 0]
    assert pull[:, 0].argmax() == away.argmin()
    assert abs(pull[:, 0].sum()) < 1e-5


def test_only_what_is_proposed_near_the_middle_counts() -> None:
    right = cells()
    away = np.linalg.norm(right[0, :, 5:] - [0.75, 0.5], axis=1)
    near, far = right.copy(), right.copy()
    near[0, away.argmin(), 1:5] = far[0, away.argmax(), 1:5] = (0.0, 0.0, 0.1, 0.1)
    assert loss_of(near) > loss_of(right) + 0.1
    assert loss_of(far) == pytest.approx(loss_of(right), abs=1e-4)


def test_proposals_cost_what_the_formula_says() -> None:
    random = np.random.default_rng(9)
    given = cells(3)
    given[0, :, 0] = random.normal(0, 1, 9)
    given[0, :, 1:5] = boxes(10, 9)
    spread = np.maximum((TRUTH[0, 2:] - TRUTH[0, :2]) / 4, 0.03)
    wanted = np.exp(-0.5 * np.square((given[0, :, 5:] - [0.75, 0.5]) / spread).sum(axis=1))
    wanted /= wanted.sum()
    logs = given[0, :, 0] - np.log(np.exp(given[0, :, 0]).sum())
    gap = 1 - generalized(given[0, :, 1:5], np.repeat(TRUTH, 9, axis=0))
    expected = 0.2 * -(wanted * logs).sum() + (wanted * gap).sum()
    assert loss_of(given) == pytest.approx(expected, rel=1e-4)


def test_a_heads_proposals_are_part_of_its_loss() -> None:
    told = {"label": np.zeros(1, np.int32), "weight": np.full(1, 2, np.float32), "box": TRUTH}
    given, targets = cells(), np.zeros((1, 1), np.float32)
    given[0, :, 1:5] = (0.4, 0.2, 0.9, 0.8)
    box = given[:, 0, 1:5]
    objective = Loss(box_weight=3.0)
    alone = float(objective.sums({"box": box}, targets, told)[0])
    both = float(objective.sums({"box": box, "proposals": given}, targets, told)[0])
    assert both == pytest.approx(alone + 3 * 2 * loss_of(given), rel=1e-5)
