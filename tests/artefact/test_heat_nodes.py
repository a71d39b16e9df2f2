"""`heat` of a written model: its cells sum up to the logits, for each kind of pooling."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from feature_map_models import CHANNELS, SIDE, write_backbone
from sharpeye.artefact.heat_nodes import MAX_CLASSES, add_heat
from sharpeye.artefact.manifest import Manifest
from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.artefact.write_model import write_model
from sharpeye.core.arrays import Floats, Pixels
from sharpeye.core.inference import Graph
from sharpeye.core.numerics import softmax
from sharpeye.learn.heads.head import Head, square_root
from sharpeye.predict.predictor import Model

LABELS = ("a", "b", "c", "d")
POOLINGS = ("mean", "reduce", "largest", "window", "levels")


def make_model(folder: Path, pooling: str, root: bool = True) -> tuple[OpenModel, Head, Graph]:
    """The model, its head, and its backbone alone."""
    backbone = write_backbone(folder / "backbone.onnx", pooling)
    backbone_graph = Graph(backbone.graph_file)
    random = np.random.default_rng(1)
    shape = (backbone_graph.output_width(), len(LABELS))
    weights = random.normal(0, 1, shape).astype(np.float32)
    bias = random.normal(0, 1, len(LABELS)).astype(np.float32)
    head = Head(weights, bias, 1.0, 1.0, root)
    file = folder / "model.onnx"
    write_model(backbone, head, Manifest(LABELS, backbone.input), file=file, additions=[add_heat])
    return open_model(file), head, backbone_graph


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(2).integers(0, 255, (3, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("root", [True, False], ids=["root", "plain"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_mean_over_the_cells_is_the_logit_without_its_bias(
    pooling: str, root: bool, tmp_path: Path, pixels: Pixels
) -> None:
    model, head, backbone_graph = make_model(tmp_path, pooling, root)
    outputs = model.run(pixels, ["probs", "heat"])
    assert outputs["heat"].shape == (3, len(LABELS), SIDE // 4, SIDE // 4)
    features = backbone_graph.run(pixels)["features"]
    logits = (square_root(features) if root else features) @ head.weights
    mean = outputs["heat"].mean((2, 3))
    np.testing.assert_allclose(mean, logits - logits.mean(1, keepdims=True), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(softmax(mean + head.bias), outputs["probs"], atol=1e-5)


@pytest.mark.parametrize(("classes", "has_heat"), [(MAX_CLASSES, True), (MAX_CLASSES + 1, False)])
def test_models_of_many_classes_have_no_heat_which_would_slow_every_prediction(
    classes: int, has_heat: bool, tmp_path: Path, pixels: Pixels
) -> None:
    backbone, file = write_backbone(tmp_path / "backbone.onnx", "mean"), tmp_path / "model.onnx"
    weights = np.random.default_rng(1).normal(0, 1, (CHANNELS, classes)).astype(np.float32)
    head = Head(weights, np.zeros(classes, np.float32), 1.0, 1.0)
    labels = tuple(str(number) for number in range(classes))
    write_model(backbone, head, Manifest(labels, backbone.input), file=file, additions=[add_heat])
    model = Model(open_model(file))
    assert model.has_heat is has_heat
    explanation = model.explain(pixels[0], "7")
    assert explanation.heat.shape == (SIDE, SIDE)
    assert explanation.heat.max() == 1


@pytest.mark.parametrize("root", [True, False], ids=["root", "plain"])
def test_each_cell_has_its_share_of_each_feature(
    root: bool, tmp_path: Path, pixels: Pixels
) -> None:
    """Of plain features it is CAM, weights times maps; of roots, nearly twice Grad-CAM's."""
    model, head, _ = make_model(tmp_path, "mean", root)
    maps = feature_maps(tmp_path, pixels)
    features = maps.mean((2, 3))
    features = np.maximum(features, 1e-12)
    slope = head.weights * (square_root(features) / features)[..., None] if root else head.weights
    expected = np.einsum("ndhw,ndc->nchw" if root else "ndhw,dc->nchw", maps, slope)
    expected -= expected.mean(1, keepdims=True)
    heat = model.run(pixels, ["heat"])["heat"]
    np.testing.assert_allclose(heat, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("pooling", ["largest", "window"])
def test_with_max_pooling_only_the_largest_cells_have_heat(
    pooling: str, tmp_path: Path, pixels: Pixels
) -> None:
    model, _, _ = make_model(tmp_path, pooling)
    maps = feature_maps(tmp_path, pixels).reshape(3, CHANNELS, -1)
    heat = model.run(pixels, ["heat"])["heat"]
    has_heat = np.abs(heat).max(1).reshape(3, -1) > 1e-6
    for image in range(3):
        active = maps[image][maps[image].max(1) > 0]
        assert len(active) > 1
        assert set(np.flatnonzero(has_heat[image])) == set(active.argmax(1))


def test_an_image_without_any_feature_has_no_heat(tmp_path: Path) -> None:
    model, _, _ = make_model(tmp_path, "levels")
    black = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    assert not model.run(black, ["heat"])["heat"].any()


@pytest.mark.parametrize("pooling", ["dense", "flat"])
def test_features_without_positions_give_no_heat(pooling: str, tmp_path: Path) -> None:
    model, _, _ = make_model(tmp_path, pooling)
    assert model.graph.outputs == ("probs",)


def test_heat_is_the_last_output_and_returned_only_on_request(trained: Path) -> None:
    model = open_model(trained)
    assert model.graph.outputs[-1] == "heat"
    spec = model.manifest.input
    pixels = np.zeros((2, spec.height, spec.width, 3), np.uint8)
    assert "heat" not in model.run(pixels)
    assert model.run(pixels, ["heat"])["heat"].shape == (2, 3, 2, 2)


def feature_maps(folder: Path, pixels: Pixels) -> Floats:
    """float32[N,D,h,w]: the maps of the backbone."""
    model = onnx.load(folder / "backbone.onnx")
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("fine", 1, None))
    return Graph(model.SerializeToString()).run(pixels)["fine"]
