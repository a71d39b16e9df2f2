"""`heat` of a written model: what its cells sum up to, for each way of pooling features."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from feature_map_models import CHANNELS, SIDE, write_backbone
from sharpeye.artefact.heat_nodes import MAX_CLASSES, add_heat
from sharpeye.artefact.manifest import Manifest
from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.artefact.write_model import write_model
from sharpeye.core.inference import Graph
from sharpeye.learn.heads.head import Head, square_root
from sharpeye.learn.heads.logistic import softmax
from sharpeye.predict.predictor import Model

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

LABELS = ("a", "b", "c", "d")
POOLINGS = ("mean", "reduce", "largest", "window", "levels")


def a_model(folder: Path, pooling: str, root: bool = True) -> tuple[OpenModel, Head, Graph]:
    """The model, its head, and its backbone alone."""
    backbone = write_backbone(folder / "backbone.onnx", pooling)
    alone = Graph(backbone.graph_file)
    random = np.random.default_rng(1)
    weights = random.normal(0, 1, (alone.output_width(), len(LABELS))).astype(np.float32)
    bias = random.normal(0, 1, len(LABELS)).astype(np.float32)
    head = Head(weights, bias, 1.0, 1.0, root)
    file = folder / "model.onnx"
    write_model(backbone, head, Manifest(LABELS, backbone.input), file, additions=[add_heat])
    return open_model(file), head, alone


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(2).integers(0, 255, (3, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("root", [True, False], ids=["root", "plain"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_mean_over_the_cells_is_the_logit_without_its_bias(
    pooling: str, root: bool, tmp_path: Path, pixels: Pixels
) -> None:
    model, head, alone = a_model(tmp_path, pooling, root)
    found = model.run(pixels, ["probs", "heat"])
    assert found["heat"].shape == (3, len(LABELS), SIDE // 4, SIDE // 4)
    features = alone.run(pixels)["features"]
    logits = (square_root(features) if root else features) @ head.weights
    mean = found["heat"].mean((2, 3))
    np.testing.assert_allclose(mean, logits - logits.mean(1, keepdims=True), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(softmax(mean + head.bias), found["probs"], atol=1e-5)


@pytest.mark.parametrize(("classes", "has"), [(MAX_CLASSES, True), (MAX_CLASSES + 1, False)])
def test_many_classes_get_no_maps_which_would_be_computed_for_every_answer(
    classes: int, has: bool, tmp_path: Path, pixels: Pixels
) -> None:
    backbone, file = write_backbone(tmp_path / "backbone.onnx", "mean"), tmp_path / "model.onnx"
    weights = np.random.default_rng(1).normal(0, 1, (CHANNELS, classes)).astype(np.float32)
    head = Head(weights, np.zeros(classes, np.float32), 1.0, 1.0)
    labels = tuple(str(number) for number in range(classes))
    write_model(backbone, head, Manifest(labels, backbone.input), file, additions=[add_heat])
    model = Model(open_model(file))
    assert model.has_heat is has
    found = model.explain(pixels[0], "7")
    assert found.heat.shape == (SIDE, SIDE)
    assert found.heat.max() == 1


@pytest.mark.parametrize("root", [True, False], ids=["root", "plain"])
def test_each_cell_has_its_share_of_each_feature(
    root: bool, tmp_path: Path, pixels: Pixels
) -> None:
    """Of plain features it is CAM: weights times maps. Of roots, nearly twice Grad-CAM's."""
    model, head, _ = a_model(tmp_path, "mean", root)
    maps = _maps(tmp_path, pixels)
    features = maps.mean((2, 3))
    features = np.maximum(features, 1e-12)
    slope = head.weights * (square_root(features) / features)[..., None] if root else head.weights
    expected = np.einsum("ndhw,ndc->nchw" if root else "ndhw,dc->nchw", maps, slope)
    expected -= expected.mean(1, keepdims=True)
    heat = model.run(pixels, ["heat"])["heat"]
    np.testing.assert_allclose(heat, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("pooling", ["largest", "window"])
def test_the_largest_value_stands_where_it_is(pooling: str, tmp_path: Path, pixels: Pixels) -> None:
    model, _, _ = a_model(tmp_path, pooling)
    maps = _maps(tmp_path, pixels).reshape(3, CHANNELS, -1)
    heat = model.run(pixels, ["heat"])["heat"]
    shown = np.abs(heat).max(1).reshape(3, -1) > 1e-6
    for image in range(3):
        lit = maps[image][maps[image].max(1) > 0]
        assert len(lit) > 1
        assert set(np.flatnonzero(shown[image])) == set(lit.argmax(1))


def test_an_image_without_any_feature_has_no_heat(tmp_path: Path) -> None:
    model, _, _ = a_model(tmp_path, "levels")
    black = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    assert not model.run(black, ["heat"])["heat"].any()


@pytest.mark.parametrize("pooling", ["dense", "flat"])
def test_features_without_places_give_no_heat(pooling: str, tmp_path: Path) -> None:
    model, _, _ = a_model(tmp_path, pooling)
    assert model.graph.outputs == ("probs",)


def test_heat_comes_last_and_only_if_it_is_asked_for(trained: Path) -> None:
    model = open_model(trained)
    assert model.graph.outputs[-1] == "heat"
    spec = model.manifest.input
    pixels = np.zeros((2, spec.height, spec.width, 3), np.uint8)
    assert "heat" not in model.run(pixels)
    assert model.run(pixels, ["heat"])["heat"].shape == (2, 3, 2, 2)


def _maps(folder: Path, pixels: Pixels) -> Floats:
    """float32[N,D,h,w]: the maps of the backbone."""
    model = onnx.load(folder / "backbone.onnx")
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("fine", 1, None))
    return Graph(model.SerializeToString()).run(pixels)["fine"]
