"""Training from random weights: how pixels are scaled, and which learning rate is used."""

from typing import Any

import numpy as np
import pytest

from nets import SIDE, make_arrays
from sharpeye.core.config import Config
from sharpeye.core.types import InputSpec
from sharpeye.learn.nets.from_scratch import input_scaling, peak_learning_rate
from sharpeye.learn.nets.training_arrays import TrainingArrays
from sharpeye.models.registry import get_spec


@pytest.fixture(scope="module")
def arrays() -> TrainingArrays:
    return make_arrays()


# --- scaling -------------------------------------------------------------------------------------


def scaled(arrays: TrainingArrays, kind: str) -> Any:
    scale, offset = input_scaling(arrays, kind)
    assert len(scale) == len(offset) == arrays.input.channels
    return arrays.pixels[arrays.indices["train"]] * np.array(scale) + np.array(offset)


def test_data_scaling_makes_mean_0_and_deviation_1_of_each_channel(
    arrays: TrainingArrays,
) -> None:
    values = scaled(arrays, "data")
    np.testing.assert_allclose(values.mean(axis=(0, 1, 2)), 0, atol=1e-9)
    np.testing.assert_allclose(values.std(axis=(0, 1, 2)), 1, rtol=1e-9)


def test_data_scaling_looks_at_training_images_only(arrays: TrainingArrays) -> None:
    pixels = arrays.pixels.copy()
    pixels[arrays.indices["validation"]] = 255
    pixels[arrays.indices["test"]] = 0
    other = TrainingArrays(pixels, arrays.indices, arrays.targets, arrays.class_names, arrays.input)
    assert input_scaling(other, "data") == input_scaling(arrays, "data")


@pytest.mark.parametrize(("kind", "low", "high"), [("unit", 0, 1), ("signed", -1, 1)])
def test_fixed_scalings_take_0_to_255_to_their_range(
    kind: str, low: float, high: float, arrays: TrainingArrays
) -> None:
    scale, offset = input_scaling(arrays, kind)
    np.testing.assert_allclose(offset, low)
    np.testing.assert_allclose(255 * np.array(scale) + offset, high)


def test_imagenet_scaling_is_that_of_its_means_and_deviations(arrays: TrainingArrays) -> None:
    scale, offset = (np.array(values) for values in input_scaling(arrays, "imagenet"))
    np.testing.assert_allclose(255 * np.array([0.485, 0.456, 0.406]) * scale + offset, 0, atol=1e-9)
    np.testing.assert_allclose(1 / scale / 255, [0.229, 0.224, 0.225])


@pytest.mark.parametrize("kind", ["data", "unit", "signed", "imagenet"])
def test_grey_images_have_one_constant(kind: str, arrays: TrainingArrays) -> None:
    grey = TrainingArrays(
        arrays.pixels[..., :1],
        arrays.indices,
        arrays.targets,
        arrays.class_names,
        InputSpec(SIDE, SIDE, channels=1),
    )
    assert [len(values) for values in input_scaling(grey, kind)] == [1, 1]


def test_images_of_one_colour_do_not_divide_by_nothing(arrays: TrainingArrays) -> None:
    flat = TrainingArrays(
        np.full_like(arrays.pixels, 7),
        arrays.indices,
        arrays.targets,
        arrays.class_names,
        arrays.input,
    )
    assert np.isfinite(scaled(flat, "data")).all()


# --- the rate ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1.0),
        ({"train.optimizer": "adam"}, 1.0),
        ({"train.optimizer": "sgd"}, 50.0),
    ],
)
def test_the_rate_is_the_models_own_and_larger_for_sgd(
    changes: dict[str, Any], expected: float
) -> None:
    spec = get_spec("lenet5")
    assert peak_learning_rate(spec, Config().replace(changes)) == expected * spec.learning_rate
    given = Config().replace(changes | {"train.learning_rate": 0.5})
    assert peak_learning_rate(spec, given) == 0.5
