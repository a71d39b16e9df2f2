"""Every model of the zoo: counts as published, right answers on real photographs, ONNX as Keras."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner import MAPS
from sharpeye.core.inference import Backbone, Graph
from sharpeye.errors import UsageError
from sharpeye.models.backbone import BackboneConfig, load_backbone
from sharpeye.models.registry import get_spec, list_models

# Runs Keras in a process of its own: this one stays free of TensorFlow.
PROBE = """
import json, sys
from pathlib import Path
import keras
import numpy as np
import onnx
import skimage.data
from PIL import Image
from sharpeye.images.resize import fit_image
from sharpeye.core.inference import Graph
from sharpeye.models.keras_to_onnx import randomize
from sharpeye.models.onnx_emitter import emit_onnx
from sharpeye.models.registry import get_spec

def probe(name, folder):
    spec = get_spec(name)
    model = spec.build(spec.input.height, spec.input.width)
    file = spec.imagenet.find(None)
    if file:
        spec.imagenet.load(model, file)
    else:
        randomize(model)
    macs = 0
    for layer in model.layers:
        kind = type(layer).__name__
        if kind in ("Conv2D", "DepthwiseConv2D"):
            _, height, width, channels = layer.output.shape
            inputs = layer.input.shape[-1] if kind == "Conv2D" else 1
            macs += height * width * channels * inputs * int(np.prod(layer.kernel_size))
        elif kind == "Dense":
            macs += int(np.prod(layer.kernel.shape))
    photos = np.stack([
        fit_image(Image.fromarray(getattr(skimage.data, name)()), spec.input)
        for name in ("chelsea", "coffee", "astronaut", "rocket", "chelsea", "coffee", "rocket")
    ])
    best = np.argmax(model(photos[:2].astype("float32"))["logits"], axis=1).tolist()
    backbone = keras.Model(model.input, {"features": model.output["features"]})
    out = Path(folder) / f"{name}.onnx"
    onnx.save(emit_onnx(backbone, "image"), out)
    expected = np.asarray(backbone(photos.astype("float32"), training=False)["features"])
    graph = Graph(out)
    out.unlink()
    alone = np.concatenate([graph.run(one[None])["features"] for one in photos])
    together = graph.run(photos)["features"]
    gaps = [float(np.abs(found - expected).max()) for found in (alone, together)]
    return {
        "weights": bool(file),
        "maps": [model.get_layer(layer).output.shape[1:3] for layer in spec.maps],
        "trainable": sum(int(np.prod(w.shape)) for w in model.trainable_weights),
        "macs": macs, "width": expected.shape[-1], "best": best,
        "gaps": gaps, "least": float(expected.min()), "largest": float(expected.max()),
    }

for name in sys.argv[2:]:
    keras.backend.clear_session()
    print(json.dumps([name, probe(name, sys.argv[1])]), flush=True)
"""
CATS, ESPRESSO = range(281, 286), 967  # of ImageNet's classes

QUICK = ("efficientnet_lite0", "inception_v3", "mobilenet_0.25_128", "mobilenet_v2_0.35_96")
OTHERS = tuple(spec.name for spec in list_models() if spec.build and spec.name not in QUICK)


def probe(names: tuple[str, ...], folder: Path) -> dict[str, Any]:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, folder, *names],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("names", [QUICK, pytest.param(OTHERS, marks=pytest.mark.slow)])
def test_published_counts_known_photographs_and_onnx_as_keras(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    found = probe(names, tmp_path)
    assert set(found) == set(names)
    for name, seen in found.items():
        spec = get_spec(name)
        assert seen["trainable"] == spec.parameters, name
        assert round(seen["macs"] / 1e6) == spec.macs, name
        assert seen["width"] == spec.features, name
        assert max(seen["gaps"]) < 1e-3, name  # at batch 1 and 7
        assert seen["least"] >= 0, name  # the head takes the square root
        assert seen["largest"] > 0.01, name
        fine, coarse = (np.array(shape) for shape in seen["maps"])
        assert (np.abs(fine * 16 - spec.input.width) <= 32).all(), name
        assert (np.abs(coarse * 32 - spec.input.width) <= 48).all(), name
        if seen["weights"]:
            assert seen["best"][0] in CATS, name
            assert seen["best"][1] == ESPRESSO, name
    if "efficientnet_lite0" in found:
        assert found["efficientnet_lite0"]["weights"]


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


def test_a_graph_has_no_batch_norm_and_no_padding_left(session_cache: Path) -> None:
    import onnx

    frozen = load_backbone(BackboneConfig("mobilenet_0.25_128", "random"), root=session_cache)
    kinds = {node.op_type for node in onnx.load(frozen.graph_file).graph.node}
    assert kinds <= {
        "Transpose",
        "Cast",
        "Mul",
        "Add",
        "Conv",
        "Clip",
        "Identity",
        "GlobalAveragePool",
        "Flatten",
    }


def test_a_backbone_with_maps_gives_them_besides_the_same_features(
    maps_backbone: Backbone, session_cache: Path
) -> None:
    plain = load_backbone(replace(MAPS, maps=False), root=session_cache)
    assert plain.maps == () and plain.graph_sha256 != maps_backbone.graph_sha256
    assert maps_backbone.maps == ((4, 4, 32), (2, 2, 112))  # at strides of 16 and 32
    graph = Graph(maps_backbone.graph_file)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    found = graph.run(pixels)
    assert set(found) == {"features", "maps"}
    assert found["maps"].shape == (3, 4 * 4 * 32 + 2 * 2 * 112)
    np.testing.assert_array_equal(
        found["features"], Graph(plain.graph_file).run(pixels)["features"]
    )
    assert found["maps"].std(axis=0).max() > 0


def test_what_is_known_of_maps_is_read_back(
    maps_backbone: Backbone, session_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("it was made already")

    monkeypatch.setattr("sharpeye.core.processes.subprocess.run", never)
    assert load_backbone(MAPS, root=session_cache) == maps_backbone
    record = json.loads(maps_backbone.graph_file.with_suffix(".json").read_text())
    assert record["maps"] == [[4, 4, 32], [2, 2, 112]]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (BackboneConfig("efficientnet_lite"), "Did you mean efficientnet_lite0"),
        (BackboneConfig("mobilenet_0.75_225"), "Did you mean mobilenet_0.75_224"),
        (BackboneConfig("inception_v3", image_size=64), "at least 75. Received: 64"),
        (BackboneConfig("mobilenet_v2", "nowhere.h5"), "no such file: nowhere.h5"),
    ],
)
def test_what_cannot_be_made_is_said_before_anything_is_loaded(
    source: BackboneConfig, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        load_backbone(source, root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_names_and_short_names() -> None:
    names = [spec.name for spec in list_models()]
    assert len(set(names)) == len(names) == 2 + 16 + 22 + 4
    assert all(get_spec(name).name == name for name in names)
    assert get_spec("mobilenet_v2").name == "mobilenet_v2_1.0_224"
    assert get_spec("mobilenet_0.5_192").name == "mobilenet_0.50_192"
