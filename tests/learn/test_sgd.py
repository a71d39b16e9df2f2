"""Gradient descent on features: the arithmetic, the draws, and what a watcher sees."""

from typing import Any

import numpy as np
import pytest

from sharpeye.core.config import SgdConfig
from sharpeye.errors import DivergedError
from sharpeye.learn.heads.head import FittedHead
from sharpeye.learn.heads.sgd import BatchSampler, SgdStep, fit_sgd

Array = np.ndarray[Any, Any]


def clusters(per_class: int = 40, classes: int = 3, width: int = 8) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    targets = np.repeat(np.arange(classes), per_class)
    features = random.normal(0, 0.3, (len(targets), width)) + np.eye(classes, width)[targets] * 2
    return np.abs(features).astype(np.float32), targets


class Recorder:
    def __init__(self) -> None:
        self.steps: list[SgdStep] = []
        self.weights: list[Array] = []
        self.biases: list[Array] = []

    def begin(self, backbone: Any, samples: Any) -> None:
        raise AssertionError("fit_sgd does not begin a watcher")

    def step(self, step: SgdStep) -> None:
        self.steps.append(step)
        self.weights.append(step.weights.copy())
        self.biases.append(step.bias.copy())


def fit(config: SgdConfig, recorder: Recorder | None = None, seed: int = 0) -> FittedHead:
    features, targets = clusters()
    draws = BatchSampler(targets, 3, config, seed=seed, balance="weights")
    rows = {0: (np.arange(len(targets)), features)}
    watchers = [recorder] if recorder else []
    return fit_sgd(draws, rows, features[::4], validation_targets=targets[::4], callbacks=watchers)


def test_it_learns_what_can_be_told_apart() -> None:
    features, targets = clusters()
    result = fit(SgdConfig(steps=500, learning_rate=0.1))
    assert result.final_head is result.validation_head
    probs = result.final_head.probabilities(features)
    assert (probs.argmax(1) == targets).mean() > 0.97
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-6)
    assert not result.final_head.square_root
    assert result.final_head.temperature == 1


def test_a_step_is_the_gradient_of_the_mean_cross_entropy() -> None:
    features, targets = clusters()
    config = SgdConfig(steps=2, learning_rate=0.5, batch_size=10, eval_every=1)
    recorder = Recorder()
    fit(config, recorder)
    draws = list(BatchSampler(targets, 3, config, seed=0, balance="weights"))
    before, after = recorder.weights
    x, y = features[draws[1][0]].astype(np.float64), targets[draws[1][0]]

    def loss(weights: Array) -> float:
        logits = x @ weights + recorder.biases[0]
        top = logits.max(1, keepdims=True)
        total = np.log(np.exp(logits - top).sum(1)) + top[:, 0]
        return float(np.mean(total - logits[range(10), y]))

    gradient = np.zeros_like(before, np.float64)
    for index in np.ndindex(before.shape):
        nudge = np.zeros(before.shape)
        nudge[index] = 1e-5
        gradient[index] = (loss(before + nudge) - loss(before - nudge)) / 2e-5
    np.testing.assert_allclose(before - after, 0.5 * gradient, rtol=1e-3, atol=1e-6)


def test_the_same_seed_is_the_same_layer_another_seed_another() -> None:
    config = SgdConfig(steps=30)
    one, two, other = fit(config), fit(config), fit(config, seed=1)
    np.testing.assert_array_equal(one.final_head.weights, two.final_head.weights)
    assert np.abs(one.final_head.weights - other.final_head.weights).max() > 1e-4


def test_looks_come_when_they_are_due_and_at_the_end() -> None:
    recorder = Recorder()
    result = fit(SgdConfig(steps=25, eval_every=10, validation_batch=17), recorder)
    viewed = [s.number for s in recorder.steps if s.validation]
    assert viewed == [0, 10, 20, 24]
    assert [row["step"] for row in result.history] == viewed
    assert {s.validation.count for s in recorder.steps if s.validation} == {17}
    everything = Recorder()
    fit(SgdConfig(steps=1, validation_batch=0), everything)
    assert everything.steps[0].validation is not None
    assert everything.steps[0].validation.count == 30


def test_first_weights_are_small_and_cut_off_at_two_deviations() -> None:
    recorder = Recorder()
    fit(SgdConfig(steps=1, learning_rate=1e-9), recorder)
    first = recorder.weights[0]
    assert 0.0003 < first.std() < 0.0012
    assert np.abs(first).max() <= 0.002 + 1e-6


def test_classes_are_drawn_alike_however_many_images_they_have() -> None:
    targets = np.repeat([0, 1, 2], [5, 500, 50])
    config = SgdConfig(steps=300, batch_size=100)
    counts = np.zeros(3)
    visited = set()
    for images, views in BatchSampler(targets, 3, config, seed=0, balance="weights"):
        counts += np.bincount(targets[images], minlength=3)
        visited.update(images.tolist())
        assert not views.any()
    np.testing.assert_allclose(counts / counts.sum(), 1 / 3, atol=0.01)
    assert len(visited) == len(targets)
    plain = np.zeros(3)
    for images, _ in BatchSampler(targets, 3, config, seed=0, balance="none"):
        plain += np.bincount(targets[images], minlength=3)
    np.testing.assert_allclose(plain / plain.sum(), np.array([5, 500, 50]) / 555, atol=0.01)


def test_only_views_that_are_drawn_are_wanted() -> None:
    targets = np.repeat([0, 1], [3, 40])
    few = BatchSampler(
        targets, 2, SgdConfig(steps=2, batch_size=10), seed=0, balance="weights", views=8
    )
    expected = few.images_by_view()
    assert 0 not in expected
    assert sum(map(len, expected.values())) <= 20
    drawn = {(v, p) for images, views in few for p, v in zip(images, views, strict=True)}
    assert drawn == {(v, p) for v, own in expected.items() for p in own.tolist()}
    many = BatchSampler(
        targets, 2, SgdConfig(steps=500, batch_size=10), seed=0, balance="weights", views=4
    )
    assert sorted(many.images_by_view()) == [1, 2, 3, 4]


def test_a_view_is_the_row_that_is_trained_on() -> None:
    targets = np.array([0, 1])
    config = SgdConfig(steps=40, batch_size=4, learning_rate=0.5)
    draws = BatchSampler(targets, 2, config, seed=0, balance="weights", views=2)
    right = {0: [1.0, 0.0], 1: [0.0, 1.0]}
    rows = {
        view: (own, np.array([right[int(targets[i])] for i in own], np.float32))
        for view, own in draws.images_by_view().items()
    }
    features = np.eye(2, dtype=np.float32)
    result = fit_sgd(draws, rows, features, validation_targets=targets)
    assert (result.final_head.probabilities(features).argmax(1) == targets).all()


def test_a_rate_that_is_too_high_is_said_to_be() -> None:
    features, targets = clusters()
    draws = BatchSampler(
        targets, 3, SgdConfig(steps=50, learning_rate=1e3, eval_every=1), seed=0, balance="weights"
    )
    rows = {0: (np.arange(len(targets)), features * np.float32(1e18))}
    with (
        np.errstate(all="ignore"),
        pytest.raises(DivergedError, match=r"lower the learning rate. Received: 1000"),
    ):
        fit_sgd(draws, rows, features[::4], validation_targets=targets[::4])


def test_features_that_are_not_finite_are_refused() -> None:
    features, targets = clusters()
    features[3, 2] = np.nan
    draws = BatchSampler(targets, 3, SgdConfig(steps=1), seed=0, balance="weights")
    with pytest.raises(DivergedError, match="not finite"):
        fit_sgd(
            draws,
            {0: (np.arange(len(targets)), features)},
            features[:4],
            validation_targets=targets[:4],
        )
