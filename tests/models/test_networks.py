"""Networks as classifiers: their sizes, that they learn, and that ONNX answers as Keras does."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sharpeye.errors import UsageError
from sharpeye.models.backbone import BackboneConfig, load_backbone
from sharpeye.models.cnn import most_convolutions
from sharpeye.models.registry import get_spec, list_models

PROBE = Path(__file__).with_name("probe_networks.py")
SMALL = {"lenet5", "cnn", "resnet_cifar", "alexnet"}
# features, classes
SHAPES = {
    "lenet5": (84, 10),
    "lenet5 grey": (84, 4),
    "cnn": (1024, 10),
    "cnn grey pair": (16, 2),
    "resnet_cifar": (64, 10),
    "alexnet": (4096, 5),
    "mobilenet_v2_0.35_96": (1280, 5),
    "lenet5 with a box": (84, 10),
    "mobilenet_v2_0.35_96 with a box": (1280, 5),
}
# What is there besides, with a box: cells of the fine map times what each proposes.
BOXES = {
    "lenet5 with a box": {"box": [4]},
    "mobilenet_v2_0.35_96 with a box": {"box": [4], "proposals": [25, 7]},
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `probe_networks.py` saw: Keras runs in a process of its own."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, PROBE, tmp_path_factory.mktemp("networks")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_small_network_is_looked_at() -> None:
    assert {spec.name for spec in list_models() if spec.net} == SMALL < set(SHAPES)
    for spec in list_models():
        assert (spec.build is None) == (spec.imagenet is None) == (spec.net is not None)


def test_sizes_are_those_that_are_listed_and_published(seen: dict[str, Any]) -> None:
    counts = seen["counts"]
    for name in SMALL:
        spec, (parameters, macs, features) = get_spec(name), counts[name]
        of_three = 7 * (spec.features + 1) if name == "alexnet" else 0  # the others are of ten
        assert parameters == spec.parameters - of_three, name
        assert round(macs, 0 if spec.macs > 1 else 2) == spec.macs, name
        assert features == spec.features, name
    assert counts["lenet5"][0] == 62_006
    assert counts["64x3x0"] == 75_521
    assert counts["64x2x0"] == 45_313
    assert counts["alexnet"][0] == 58_293_635
    assert counts["alexnet with boxes"] == 58_310_023


@pytest.mark.parametrize("name", SHAPES)
def test_a_step_changes_every_weight(seen: dict[str, Any], name: str) -> None:
    assert math.isfinite(seen[name]["loss"])
    assert seen[name]["same"] == []


@pytest.mark.parametrize("name", SHAPES)
def test_onnx_head_and_saved_model_answer_as_keras(seen: dict[str, Any], name: str) -> None:
    found, (width, classes) = seen[name], SHAPES[name]
    shapes = {"features": [width], "logits": [classes]} | BOXES.get(name, {})
    assert found["shapes"] == shapes
    assert found["head"] == [[width, classes], [classes]]
    assert found["spread"] > 1e-3  # the images are told apart at all
    assert max(found["gaps"]) < 1e-3  # at batch 7 and 1


def test_biases_cost_nothing_in_onnx(seen: dict[str, Any]) -> None:
    assert seen["cnn"]["kinds"] == sorted(
        ("Add", "Cast", "Conv", "Flatten", "Identity", "MaxPool", "Mul", "Relu", "Transpose")
    )


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-4), ("float16", 0.05)])
def test_batch_norm_is_keras_own_in_one_kernel(
    seen: dict[str, Any], dtype: str, limit: float
) -> None:
    found = seen["batch norm"][dtype]
    assert found["values"] < limit  # outputs and gradients
    assert found["mean"] < 1e-3
    assert found["bessel"] < 1e-3
    assert found["same kind"] and found["fused"]


def test_frozen_batch_norm_keeps_what_it_has(seen: dict[str, Any]) -> None:
    found = seen["batch norm"]["float32"]
    assert not found["fused when frozen"]
    assert found["frozen"] < 0.02  # of Keras' layer, whose moving variance is 119/120 of ours


def test_pooling_first_changes_nothing(seen: dict[str, Any]) -> None:
    assert max(seen["pool first"]) < 1e-5


def test_imagenet_weights_come_along(seen: dict[str, Any]) -> None:
    assert max(seen["pretrained"]["gaps"]) < 1e-3


def test_roots_of_zero_do_not_spoil_the_gradient(seen: dict[str, Any]) -> None:
    assert seen["pretrained"]["zeros"] > 0
    assert math.isfinite(seen["pretrained"]["loss"]) and seen["pretrained"]["finite"]


def test_first_kernels_have_the_deviation_that_is_asked_for(seen: dict[str, Any]) -> None:
    assert len(seen["deviations"]) > 50
    assert all(0.035 < deviation < 0.05 for deviation in seen["deviations"])  # cut at two


def test_answers_have_32_bits_under_mixed_precision(seen: dict[str, Any]) -> None:
    assert set(seen["mixed"]) == {"float32"}


def test_what_cannot_be_built_is_said_in_one_line(seen: dict[str, Any]) -> None:
    messages = (
        r"net.conv_layers must be from 1 to 4 for pictures of 50x50 .*Received: 5; take fewer",
        r"model.image_size of lenet5 must be 0 or at least 16. Received: 15",
        r"model.image_size of alexnet must be 0 or at least 67. Received: 66",
        r"net.color must be rgb for mobilenet_v2_1.0_224.*Received: 1 channel",
    )
    assert len(messages) == len(seen["refusals"])
    for message, said in zip(messages, seen["refusals"], strict=True):
        assert re.fullmatch(f".*{message}.*", said), said


@pytest.mark.parametrize("weights", ["imagenet", "random", "mine.h5"])
def test_a_small_network_is_never_frozen(weights: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"lenet5 has no ImageNet.*none.*Received: {weights}"):
        load_backbone(BackboneConfig("lenet5", weights), root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_as_many_convolutions_as_fit() -> None:
    assert [most_convolutions(side) for side in (3, 4, 9, 10, 22, 50)] == [0, 1, 1, 2, 3, 4]
