"""Batches of epochs: their images, drawing an epoch alone, and balancing classes."""

from typing import Any

import numpy as np
import pytest

from sharpeye.learn.nets.batches import EpochBatches

Array = np.ndarray[Any, Any]

TARGETS = np.array([0] * 5 + [1] * 12 + [2] * 30)


def counts(batches: EpochBatches, epoch: int = 0) -> Array:
    return np.bincount(TARGETS[batches.epoch(epoch).ravel()], minlength=3)


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_an_epoch_uses_each_image_once_except_for_a_partial_batch(balance: str) -> None:
    batches = EpochBatches(TARGETS, 3, batch_size=8, balance=balance, seed=3)
    epoch = batches.epoch(0)
    assert epoch.dtype == np.int32
    assert epoch.shape == (batches.steps_per_epoch, batches.batch_size) == (5, 8)
    assert len(np.unique(epoch)) == 40
    assert set(epoch.ravel()) <= set(range(47))
    used = {int(i) for number in range(8) for i in batches.epoch(number).ravel()}
    assert used == set(range(47)), "the images left over are not always the same"


def test_epochs_differ_and_each_can_be_drawn_alone() -> None:
    batches, same = (
        EpochBatches(TARGETS, 3, batch_size=8, balance="none", seed=3) for _ in range(2)
    )
    epochs = [batches.epoch(number) for number in range(4)]
    np.testing.assert_array_equal(same.epoch(3), epochs[3])
    assert not np.array_equal(epochs[0], epochs[1])
    other = EpochBatches(TARGETS, 3, batch_size=8, balance="none", seed=4)
    assert not np.array_equal(other.epoch(0), epochs[0])


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    batches = EpochBatches(TARGETS, 3, batch_size=64, balance="none", seed=0)
    assert (batches.batch_size, batches.steps_per_epoch) == (47, 1)
    assert sorted(batches.epoch(0).ravel()) == list(range(47))
    exact = EpochBatches(TARGETS, 3, batch_size=47, balance="none", seed=0)
    assert (exact.batch_size, exact.steps_per_epoch) == (47, 1)


def test_undersampling_uses_as_many_as_the_rarest_class_has_and_others_in_each_epoch() -> None:
    batches = EpochBatches(TARGETS, 3, batch_size=15, balance="undersample", seed=0)
    assert batches.steps_per_epoch == 1
    epochs = [batches.epoch(number).ravel() for number in range(40)]
    for number, epoch in enumerate(epochs):
        assert counts(batches, number).tolist() == [5, 5, 5]
        assert len(np.unique(epoch)) == 15
    assert set(np.concatenate(epochs).tolist()) == set(range(47))
    assert set(epochs[0]) != set(epochs[1])


def test_oversampling_uses_as_many_as_the_largest_class_has() -> None:
    batches = EpochBatches(TARGETS, 3, batch_size=90, balance="oversample", seed=0)
    assert batches.steps_per_epoch == 1
    assert counts(batches).tolist() == [30, 30, 30]
    times = np.bincount(batches.epoch(0).ravel(), minlength=47)
    assert set(times[:5]) == {6}
    assert sorted(times[5:17]) == [2] * 6 + [3] * 6
    assert set(times[17:]) == {1}
    others = np.bincount(batches.epoch(1).ravel(), minlength=47)
    assert not np.array_equal(times, others), "the images that are repeated once more change"


def test_weights_give_each_class_the_same_total() -> None:
    weights = EpochBatches(TARGETS, 3, batch_size=8, balance="weights", seed=0).weights
    assert weights.dtype == np.float32
    np.testing.assert_allclose(np.bincount(TARGETS, weights), [47 / 3] * 3, rtol=1e-6)
    np.testing.assert_allclose(weights.mean(), 1, rtol=1e-6)
    for balance in ("none", "undersample", "oversample"):
        batches = EpochBatches(TARGETS, 3, batch_size=8, balance=balance, seed=0)
        np.testing.assert_array_equal(batches.weights, np.ones(47))


@pytest.mark.parametrize("balance", ["none", "weights", "undersample", "oversample"])
def test_a_class_without_images_is_ignored(balance: str) -> None:
    targets = np.where(TARGETS == 1, 3, TARGETS)
    batches = EpochBatches(targets, 6, batch_size=5, balance=balance, seed=0)
    counted = np.bincount(targets[batches.epoch(0).ravel()], minlength=6)
    assert counted[[1, 4, 5]].sum() == 0
    assert counted[[0, 2, 3]].min() > 0
    assert batches.steps_per_epoch == {"undersample": 3, "oversample": 18}.get(balance, 9)
    np.testing.assert_allclose(batches.weights.mean(), 1, rtol=1e-6)


@pytest.mark.parametrize("balance", ["none", "weights", "undersample", "oversample"])
def test_no_images_give_no_steps(balance: str) -> None:
    batches = EpochBatches(np.empty(0, np.int64), 3, batch_size=8, balance=balance, seed=0)
    assert batches.epoch(0).shape == (batches.steps_per_epoch, batches.batch_size) == (0, 1)
    assert batches.weights.shape == (0,)
