"""Epochs: what they hold, that they can be drawn alone, and how they balance classes."""

from typing import Any

import numpy as np
import pytest

from sharpeye.learn.nets.batches import EpochBatches

Array = np.ndarray[Any, Any]

TRUTH = np.array([0] * 5 + [1] * 12 + [2] * 30)


def counts(order: EpochBatches, epoch: int = 0) -> Array:
    return np.bincount(TRUTH[order.epoch(epoch).ravel()], minlength=3)


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_an_epoch_takes_each_image_once_but_for_a_partial_batch(balance: str) -> None:
    order = EpochBatches(TRUTH, 3, 8, balance, seed=3)
    epoch = order.epoch(0)
    assert epoch.dtype == np.int32
    assert epoch.shape == (order.steps_per_epoch, order.batch_size) == (5, 8)
    assert len(np.unique(epoch)) == 40
    assert set(epoch.ravel()) <= set(range(47))
    seen = {int(i) for number in range(8) for i in order.epoch(number).ravel()}
    assert seen == set(range(47)), "the pictures left over are not always the same"


def test_epochs_differ_and_each_can_be_drawn_alone() -> None:
    one, other = (
        EpochBatches(TRUTH, 3, 8, "none", seed=3),
        EpochBatches(TRUTH, 3, 8, "none", seed=3),
    )
    epochs = [one.epoch(number) for number in range(4)]
    np.testing.assert_array_equal(other.epoch(3), epochs[3])
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(EpochBatches(TRUTH, 3, 8, "none", seed=4).epoch(0), epochs[0])


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    order = EpochBatches(TRUTH, 3, 64, "none", seed=0)
    assert (order.batch_size, order.steps_per_epoch) == (47, 1)
    assert sorted(order.epoch(0).ravel()) == list(range(47))
    exact = EpochBatches(TRUTH, 3, 47, "none", seed=0)
    assert (exact.batch_size, exact.steps_per_epoch) == (47, 1)


def test_undersampling_takes_as_many_as_the_rarest_has_and_others_each_epoch() -> None:
    order = EpochBatches(TRUTH, 3, 15, "undersample", seed=0)
    assert order.steps_per_epoch == 1
    epochs = [order.epoch(number).ravel() for number in range(40)]
    for number, epoch in enumerate(epochs):
        assert counts(order, number).tolist() == [5, 5, 5]
        assert len(np.unique(epoch)) == 15
    assert set(np.concatenate(epochs).tolist()) == set(range(47))
    assert set(epochs[0]) != set(epochs[1])


def test_oversampling_takes_as_many_as_the_largest_has() -> None:
    order = EpochBatches(TRUTH, 3, 90, "oversample", seed=0)
    assert order.steps_per_epoch == 1
    assert counts(order).tolist() == [30, 30, 30]
    times = np.bincount(order.epoch(0).ravel(), minlength=47)
    assert set(times[:5]) == {6}
    assert sorted(times[5:17]) == [2] * 6 + [3] * 6
    assert set(times[17:]) == {1}
    others = np.bincount(order.epoch(1).ravel(), minlength=47)
    assert not np.array_equal(times, others), "the pictures that come once more change"


def test_weights_make_each_class_count_the_same() -> None:
    weights = EpochBatches(TRUTH, 3, 8, "weights", seed=0).weights
    assert weights.dtype == np.float32
    np.testing.assert_allclose(np.bincount(TRUTH, weights), [47 / 3] * 3, rtol=1e-6)
    np.testing.assert_allclose(weights.mean(), 1, rtol=1e-6)
    for balance in ("none", "undersample", "oversample"):
        np.testing.assert_array_equal(EpochBatches(TRUTH, 3, 8, balance, 0).weights, np.ones(47))


@pytest.mark.parametrize("balance", ["none", "weights", "undersample", "oversample"])
def test_a_class_without_images_does_not_count(balance: str) -> None:
    truth = np.where(TRUTH == 1, 3, TRUTH)
    order = EpochBatches(truth, 6, 5, balance, seed=0)
    found = np.bincount(truth[order.epoch(0).ravel()], minlength=6)
    assert found[[1, 4, 5]].sum() == 0
    assert found[[0, 2, 3]].min() > 0
    assert order.steps_per_epoch == {"undersample": 3, "oversample": 18}.get(balance, 9)
    np.testing.assert_allclose(order.weights.mean(), 1, rtol=1e-6)


@pytest.mark.parametrize("balance", ["none", "weights", "undersample", "oversample"])
def test_no_images_are_no_steps(balance: str) -> None:
    order = EpochBatches(np.empty(0, np.int64), 3, 8, balance, seed=0)
    assert order.epoch(0).shape == (order.steps_per_epoch, order.batch_size) == (0, 1)
    assert order.weights.shape == (0,)
