"""Every model: published sizes, correct predictions for photographs, and ONNX as Keras."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runner import MAPS
from sharpeye.core.config import Config
from sharpeye.core.inference import Backbone, Graph
from sharpeye.errors import UsageError
from sharpeye.images.resize import fit_image
from sharpeye.models.backbone import BackboneConfig, load_backbone
from sharpeye.models.keras_to_onnx import convert, randomize
from sharpeye.models.registry import get_spec, list_models

CATS, ESPRESSO = range(281, 286), 967  # of ImageNet's classes

QUICK = ("mobilenet_0.25_128", "mobilenet_v2_0.35_96")
OTHERS = tuple(spec.name for spec in list_models() if spec.build and spec.name not in QUICK)


def count_macs(model: Any) -> int:
    """Multiply-accumulates per image."""
    macs = 0
    for layer in model.layers:
        kind = type(layer).__name__
        if kind in ("Conv2D", "DepthwiseConv2D"):
            _, height, width, channels = layer.output.shape
            inputs = layer.input.shape[-1] if kind == "Conv2D" else 1
            macs += height * width * channels * inputs * int(np.prod(layer.kernel_size))
        elif kind == "Dense":
            macs += int(np.prod(layer.kernel.shape))
    return macs


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_a_model_has_its_published_size_and_computes_the_same_in_onnx(
    name: str, keras: Any
) -> None:
    import skimage.data

    from sharpeye.models.onnx_emitter import emit_onnx

    keras.backend.clear_session()
    spec = get_spec(name)
    assert spec.build and spec.imagenet
    model = spec.build(spec.input.height, spec.input.width)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == spec.parameters
    assert round(count_macs(model) / 1e6) == spec.macs
    fine, coarse = (np.array(model.get_layer(m).output.shape[1:3]) for m in spec.map_layers)
    assert (np.abs(fine * 16 - spec.input.width) <= 32).all()
    assert (np.abs(coarse * 32 - spec.input.width) <= 48).all()

    weights = spec.imagenet.find(None)
    assert weights or name != "efficientnet_lite0"
    photos = np.stack(
        [
            fit_image(Image.fromarray(getattr(skimage.data, photo)()), spec.input)
            for photo in ("chelsea", "coffee", "astronaut", "rocket", "chelsea", "coffee", "rocket")
        ]
    )
    if weights:
        spec.imagenet.load(model, weights)
        logits = np.asarray(model(photos[:2].astype("float32"))["logits"])
        cat, coffee = logits.argmax(axis=1)
        assert cat in CATS
        assert coffee == ESPRESSO
    else:
        randomize(model)

    backbone = keras.Model(model.input, {"features": model.output["features"]})
    proto = emit_onnx(backbone, "image")
    expected = np.asarray(backbone(photos.astype("float32"), training=False)["features"])
    assert expected.shape[-1] == spec.features
    assert expected.min() >= 0  # The head takes the square root.
    assert expected.max() > 0.01
    graph = Graph(proto.SerializeToString())
    alone = np.concatenate([graph.run(photo[None])["features"] for photo in photos])
    for features in (graph.run(photos)["features"], alone):
        assert np.abs(features - expected).max() < 1e-3
    if name == "mobilenet_0.25_128":  # Batch norms and padding are folded away.
        assert {node.op_type for node in proto.graph.node} <= {
            *("Transpose", "Cast", "Mul", "Add", "Conv", "Clip", "Identity"),
            *("GlobalAveragePool", "Flatten"),
        }


def test_a_frozen_backbone_computes_the_same_alone_and_in_a_batch(backbone: Backbone) -> None:
    graph = Graph(backbone.graph_file)
    size = backbone.input
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (7, size.height, size.width, 3), dtype=np.uint8)
    together = graph.run(pixels)["features"]
    alone = np.concatenate([graph.run(image[None])["features"] for image in pixels])
    assert together.shape == (7, get_spec(backbone.name).features)
    assert graph.output_width() == get_spec(backbone.name).features
    assert together.min() >= 0  # The head takes the square root.
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def convert_here(
    _: str, name: str, kind: str, weights: str, size: str, out: str, *maps: str, **_options: Any
) -> str:
    """What the conversion's own process does, in this one."""
    return convert(name, kind, weights, size=size, out=out, maps=bool(maps))


def test_a_backbone_with_maps_has_the_same_features(
    maps_backbone: Backbone, session_cache: Path, monkeypatch: pytest.MonkeyPatch, keras: Any
) -> None:
    monkeypatch.setattr("sharpeye.models.backbone.run_module", convert_here)
    plain = load_backbone(replace(MAPS, maps=False), root=session_cache)
    assert plain.maps == () and plain.graph_sha256 != maps_backbone.graph_sha256
    assert maps_backbone.maps == ((4, 4, 32), (2, 2, 112))  # at strides of 16 and 32
    graph = Graph(maps_backbone.graph_file)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    outputs = graph.run(pixels)
    assert set(outputs) == {"features", "maps"}
    assert outputs["maps"].shape == (3, 4 * 4 * 32 + 2 * 2 * 112)
    features = Graph(plain.graph_file).run(pixels)["features"]
    np.testing.assert_array_equal(outputs["features"], features)
    assert outputs["maps"].std(axis=0).max() > 0


def test_the_shapes_of_maps_are_read_from_the_cache(
    maps_backbone: Backbone, session_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("the backbone was in the cache already")

    monkeypatch.setattr(subprocess, "run", fail)
    assert load_backbone(MAPS, root=session_cache) == maps_backbone
    record = json.loads(maps_backbone.graph_file.with_suffix(".json").read_text())
    assert record["maps"] == [[4, 4, 32], [2, 2, 112]]


def test_a_damaged_record_of_a_backbone_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shapes = "[[16, 16, 32], [4, 4, 256]]"

    def convert(*arguments: str, **_: object) -> str:
        Path(arguments[-2]).write_bytes(b"graph")
        return f"{shapes}\nall layers matched\n"

    monkeypatch.setattr("sharpeye.models.backbone.run_module", convert)
    expected = load_backbone(MAPS, root=tmp_path)
    (file,) = (tmp_path / "backbones").glob("*.json")
    record = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(record | {"maps": [[16, 16, 32], [4, 4, 257]]}), encoding="utf-8")
    assert load_backbone(MAPS, root=tmp_path) == expected
    assert "is damaged and made again" in caplog.text
    del record["checksum"]  # as earlier versions wrote it
    file.write_text(json.dumps(record), encoding="utf-8")
    caplog.clear()
    assert load_backbone(MAPS, root=tmp_path) == expected
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BackboneConfig("efficientnet_lite"), "Did you mean efficientnet_lite0"),
        (BackboneConfig("mobilenet_0.75_225"), "Did you mean mobilenet_0.75_224"),
        (BackboneConfig("inception_v3", image_size=64), "at least 75. Received: 64"),
        (BackboneConfig("mobilenet_v2", "nowhere.h5"), "no such file: nowhere.h5"),
    ],
)
def test_an_impossible_backbone_is_refused_before_anything_is_loaded(
    config: BackboneConfig, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        load_backbone(config, root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_names_and_short_names() -> None:
    names = [spec.name for spec in list_models()]
    assert len(set(names)) == len(names) == 2 + 16 + 22 + 2 + 4
    assert all(get_spec(name).name == name for name in names)
    assert get_spec("mobilenet_v2").name == "mobilenet_v2_1.0_224"
    assert get_spec("mobilenet_0.5_192").name == "mobilenet_0.50_192"


def test_a_backbone_config_follows_the_section_model() -> None:
    changes = {
        "model.name": "inception_v3",
        "model.weights": "random",
        "model.image_size": 96,
        "model.fit": "crop",
        "model.filter": "bilinear",
    }
    config = Config().replace(changes)
    expected = BackboneConfig("inception_v3", "random", 96, "crop", "bilinear")
    assert BackboneConfig.from_config(config) == expected
    with_folder = config.replace({"model.weights_folder": "weights"})
    expected = replace(expected, weights_folder=Path("weights"), maps=True)
    assert BackboneConfig.from_config(with_folder, maps=True) == expected
