"""Learning rates: the values of each schedule."""

from typing import Any

import numpy as np
import pytest

from sharpeye.core.config import Config
from sharpeye.learn.nets.settings import FitSettings, learning_rates


def settings(peak: float, **changes: Any) -> FitSettings:
    config = Config().replace({f"train.{key}": value for key, value in changes.items()})
    return FitSettings.from_config(config, peak)


def test_onecycle_rises_and_falls_in_straight_lines() -> None:
    rates = learning_rates(settings(0.6, schedule="onecycle", warmup=0.4), range(12), 10)
    expected = [0.15, 0.3, 0.45, 0.6, *(0.6 * np.array([6, 5, 4, 3, 2, 1]) / 7), 0, 0]
    assert rates.dtype == np.float32
    np.testing.assert_allclose(rates, expected, rtol=1e-6, atol=1e-9)


def test_cosine_rises_in_the_same_way_and_falls_along_half_a_cosine() -> None:
    rates = learning_rates(settings(2.0, schedule="cosine", warmup=0.2), range(12), 10)
    fall = 1 + np.cos(np.pi * np.arange(1, 10) / 9)
    np.testing.assert_allclose(rates, [1.0, 2.0, *fall, 0], rtol=1e-6, atol=1e-7)


def test_exponential_is_the_staircase_of_tensorflow_1() -> None:
    staircase = settings(0.8, schedule="exponential", decay=0.5, decay_steps=3)
    rates = learning_rates(staircase, range(7), 7)
    np.testing.assert_allclose(rates, [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2], rtol=1e-6)


def test_constant_has_no_warmup() -> None:
    rates = learning_rates(settings(0.25, schedule="constant", warmup=0.5), range(3, 7), 10)
    np.testing.assert_array_equal(rates, np.full(4, 0.25, np.float32))


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "exponential", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.9])
@pytest.mark.parametrize("total", [1, 2, 7, 1000])
def test_every_step_has_a_rate_above_0_and_one_has_the_peak(
    schedule: str, warmup: float, total: int
) -> None:
    changes = {"schedule": schedule, "warmup": warmup, "decay_steps": 100}
    rates = learning_rates(settings(0.01, **changes), range(total), total)
    assert len(rates) == total
    assert rates.min() > 0
    assert rates.max() == np.float32(0.01)
    has_warmup = schedule in ("onecycle", "cosine")
    assert rates.argmax() == (max(1, round(warmup * total)) - 1 if has_warmup else 0)


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "exponential", "constant"])
def test_rates_may_be_computed_in_any_pieces(schedule: str) -> None:
    scheduled = settings(0.1, schedule=schedule, decay_steps=7)
    rates = learning_rates(scheduled, range(50), 50)
    pieces = [learning_rates(scheduled, range(first, first + 10), 50) for first in range(0, 50, 10)]
    np.testing.assert_array_equal(np.concatenate(pieces), rates)
    assert learning_rates(scheduled, range(5, 5), 50).shape == (0,)
