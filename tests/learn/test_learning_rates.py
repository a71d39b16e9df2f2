"""Learning rates, by their values."""

import numpy as np
import pytest

from sharpeye.core.config import TrainConfig
from sharpeye.learn.nets.learning_rates import learning_rates


def test_onecycle_rises_and_falls_in_straight_lines() -> None:
    config = TrainConfig(schedule="onecycle", warmup=0.4)
    found = learning_rates(config, 0.6, first=0, count=12, total=10)
    wanted = [0.15, 0.3, 0.45, 0.6, *(0.6 * np.array([6, 5, 4, 3, 2, 1]) / 7), 0, 0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def test_cosine_rises_alike_and_falls_along_half_a_cosine() -> None:
    config = TrainConfig(schedule="cosine", warmup=0.2)
    found = learning_rates(config, 2.0, first=0, count=12, total=10)
    fall = 1 + np.cos(np.pi * np.arange(1, 10) / 9)
    np.testing.assert_allclose(found, [1.0, 2.0, *fall, 0], rtol=1e-6, atol=1e-7)


def test_exponential_is_the_staircase_of_tensorflow_1() -> None:
    config = TrainConfig(schedule="exponential", decay=0.5, decay_steps=3)
    found = learning_rates(config, 0.8, first=0, count=7, total=7)
    np.testing.assert_allclose(found, [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2], rtol=1e-6)


def test_constant_has_no_rise() -> None:
    found = learning_rates(
        TrainConfig(schedule="constant", warmup=0.5), 0.25, first=3, count=4, total=10
    )
    np.testing.assert_array_equal(found, np.full(4, 0.25, np.float32))


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "exponential", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.9])
@pytest.mark.parametrize("total", [1, 2, 7, 1000])
def test_every_step_has_a_rate_and_one_has_the_peak(
    schedule: str, warmup: float, total: int
) -> None:
    config = TrainConfig(schedule=schedule, warmup=warmup, decay_steps=100)
    found = learning_rates(config, 0.01, first=0, count=total, total=total)
    assert len(found) == total
    assert found.min() > 0
    assert found.max() == np.float32(0.01)
    ahead = 0 if schedule in ("exponential", "constant") else max(1, round(warmup * total)) - 1
    assert found.argmax() == ahead


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "exponential", "constant"])
def test_rates_do_not_depend_on_where_a_piece_begins(schedule: str) -> None:
    config = TrainConfig(schedule=schedule, decay_steps=7)
    whole = learning_rates(config, 0.1, first=0, count=50, total=50)
    pieces = [learning_rates(config, 0.1, first, 10, 50) for first in range(0, 50, 10)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert learning_rates(config, 0.1, first=5, count=0, total=50).shape == (0,)
