"""Every model of the zoo: counts as published, right answers on real photographs, ONNX as Keras."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from sharpeye.errors import UsageError
from sharpeye.inference import Backbone, Graph
from sharpeye.zoo.registry import get_spec, list_models
from sharpeye.zoo.spec import ModelSpec

# Runs Keras in a process of its own: this one stays free of TensorFlow.
PROBE = """
import json, sys
import numpy as np
import skimage.data
from PIL import Image
from sharpeye.imaging.geometry import fit_image
from sharpeye.zoo.registry import get_spec

spec = get_spec(sys.argv[1])
model = spec.build(spec.input.height, spec.input.width)
spec.load_imagenet(model)
macs = 0
for layer in model.layers:
    kind = type(layer).__name__
    if kind in ("Conv2D", "DepthwiseConv2D"):
        _, height, width, channels = layer.output.shape
        inputs = layer.input.shape[-1] if kind == "Conv2D" else 1
        macs += height * width * channels * inputs * int(np.prod(layer.kernel_size))
    elif kind == "Dense":
        macs += int(np.prod(layer.kernel.shape))
best = {}
for name in ("chelsea", "coffee"):
    pixels = fit_image(Image.fromarray(getattr(skimage.data, name)()), spec.input)
    best[name] = int(np.argmax(model(pixels[None].astype("float32"))["logits"]))
trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
shape = model.output["features"].shape
print(json.dumps({"macs": macs, "trainable": trainable, "width": shape[-1], "best": best}))
"""
CATS, ESPRESSO = range(281, 286), 967  # of ImageNet's classes


@pytest.mark.parametrize("spec", list_models(), ids=lambda spec: spec.name)
def test_published_counts_and_known_photographs(spec: ModelSpec) -> None:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, spec.name], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["trainable"] == spec.parameters
    assert round(found["macs"] / 1e6) == spec.macs
    assert found["width"] == spec.features
    assert found["best"]["chelsea"] in CATS
    assert found["best"]["coffee"] == ESPRESSO


def test_frozen_backbone_gives_the_same_alone_and_in_a_batch(backbone: Backbone) -> None:
    graph = Graph(backbone.graph_file)
    size = backbone.input
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (7, size.height, size.width, 3), dtype=np.uint8)
    together = graph.run(pixels)["features"]
    alone = np.concatenate([graph.run(one[None])["features"] for one in pixels])
    assert together.shape == (7, get_spec(backbone.name).features)
    assert graph.output_width() == get_spec(backbone.name).features
    assert together.min() >= 0  # the head takes their square root
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_unknown_model_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="Did you mean efficientnet_lite0"):
        get_spec("efficientnet_lite")


def test_list_is_sorted_and_complete() -> None:
    names = [spec.name for spec in list_models()]
    assert names == sorted(names)
    assert all(get_spec(name).name == name for name in names)
