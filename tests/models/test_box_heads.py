"""Box heads: each layer computes its formula, and ONNX computes the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharpeye.core.config import NetConfig
from sharpeye.core.inference import Graph
from sharpeye.errors import ModelError

Array = np.ndarray[Any, Any]

pytestmark = pytest.mark.usefixtures("keras")

# Sizes of a fine and a coarse map: even, odd, and ratios that float32 rounds the wrong way.
SIZES = [
    ((4, 4), (2, 2)),
    ((5, 7), (3, 4)),
    ((4, 5), (3, 4)),
    ((9, 3), (4, 1)),
    ((53, 16), (26, 14)),
]


def keras_and_onnx(model: Any, inputs: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """The outputs of Keras and of ONNX, which are the same for a batch and for each row alone."""
    from sharpeye.models.onnx_emitter import emit_onnx

    expected = {name: np.asarray(value) for name, value in model(inputs, training=False).items()}
    graph = Graph(emit_onnx(model, "maps").SerializeToString())
    outputs = graph.run(inputs)
    for i in range(len(inputs)):
        alone = graph.run(inputs[i : i + 1])
        for name, value in alone.items():
            np.testing.assert_allclose(value[0], outputs[name][i], rtol=1e-4, atol=1e-5)
    return expected, outputs


def assert_same(outputs: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    assert outputs.keys() == expected.keys()
    for name, value in expected.items():
        assert outputs[name].shape == value.shape
        np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def run_on_maps(shapes: Sequence[tuple[int, int, int]], layers: Any) -> tuple[Array, Array]:
    """Random maps as a flat vector, and the output of `layers(*maps)`, the same in ONNX."""
    import keras

    from sharpeye.models.box_heads import slice_maps

    width = sum(int(np.prod(shape)) for shape in shapes)
    flat = keras.Input((width,), name="maps")
    model = keras.Model(flat, {"out": layers(*slice_maps(flat, shapes))})
    inputs = np.random.default_rng(0).normal(0, 2, (3, width)).astype(np.float32)
    expected, outputs = keras_and_onnx(model, inputs)
    assert_same(outputs, expected)
    return inputs, expected["out"]


# --- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "before"), SIZES)
def test_a_map_is_resized_to_nearest_cells(after: tuple[int, int], before: tuple[int, int]) -> None:
    from sharpeye.models.box_heads import FlatMaps, NearestResize

    shape = (*before, 2)
    inputs, output = run_on_maps([shape], lambda x: FlatMaps()([NearestResize(*after)(x)]))
    maps = inputs.reshape(3, 2, *before)
    rows = [i * before[0] // after[0] for i in range(after[0])]
    columns = [i * before[1] // after[1] for i in range(after[1])]
    expected = maps[:, :, rows][:, :, :, columns].reshape(3, -1)
    np.testing.assert_array_equal(output, expected)


def test_slices_of_flat_maps_are_the_maps() -> None:
    import keras

    from sharpeye.models.box_heads import FlatMaps, SliceMap

    shapes = [(5, 7, 3), (3, 4, 2)]
    inputs = [keras.Input(shape) for shape in shapes]
    flat = FlatMaps()(inputs)
    assert flat.shape == (None, 5 * 7 * 3 + 3 * 4 * 2)
    fine, coarse = SliceMap(0, shapes[0])(flat), SliceMap(105, shapes[1])(flat)
    model = keras.Model(inputs, {"flat": flat, "fine": fine, "coarse": coarse})
    random = np.random.default_rng(0)
    maps = [random.normal(0, 1, (2, *shape)).astype(np.float32) for shape in shapes]
    outputs = {name: np.asarray(value) for name, value in model(maps).items()}
    np.testing.assert_array_equal(outputs["fine"], maps[0])
    np.testing.assert_array_equal(outputs["coarse"], maps[1])
    # Channels first: the first 35 numbers are the first channel, row by row.
    np.testing.assert_array_equal(outputs["flat"][:, :35], maps[0][..., 0].reshape(2, 35))


def test_flat_maps_have_an_onnx_form() -> None:
    from sharpeye.models.box_heads import FlatMaps

    inputs, output = run_on_maps([(5, 7, 3), (3, 4, 2)], lambda a, b: FlatMaps()([b, a]))
    np.testing.assert_array_equal(output, np.concatenate([inputs[:, 105:], inputs[:, :105]], 1))


def weighted_box_mean(cells: Array, scale: float) -> Array:
    """The box by hand; cells float[N,H,W,5]."""
    count, height, width, _ = cells.shape
    boxes = []
    for image in cells.astype(np.float64):
        weights = np.exp(image[..., 0] - image[..., 0].max())
        weights /= weights.sum()
        total = np.zeros(4)
        for row in range(height):
            for column in range(width):
                left, top, right, bottom = scale * np.log1p(np.exp(image[row, column, 1:]))
                x, y = (column + 0.5) / width, (row + 0.5) / height
                box = np.array([x - left, y - top, x + right, y + bottom])
                total += weights[row, column] * box
        boxes.append(total)
    return np.array(boxes).reshape(count, 4)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 7), (1, 3)])
def test_the_box_is_the_weighted_mean_of_the_cells_proposals(height: int, width: int) -> None:
    from sharpeye.models.box_heads import DISTANCE_SCALE, Proposals, WeightedBoxMean

    inputs, boxes = run_on_maps([(height, width, 5)], lambda x: WeightedBoxMean()(Proposals()(x)))
    cells = inputs.reshape(3, 5, height, width).transpose(0, 2, 3, 1)
    expected = weighted_box_mean(cells, DISTANCE_SCALE)
    np.testing.assert_allclose(boxes, expected, rtol=1e-4, atol=1e-5)
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_proposals_include_the_position_of_their_cell() -> None:
    from sharpeye.models.box_heads import Proposals

    cells = np.zeros((1, 2, 4, 5), np.float32)
    cells[..., 0] = np.arange(8).reshape(2, 4)
    proposals = np.asarray(Proposals()(cells))[0]
    np.testing.assert_array_equal(proposals[:, 0], np.arange(8))
    np.testing.assert_allclose(proposals[:, 5], [0.125, 0.375, 0.625, 0.875] * 2)
    np.testing.assert_allclose(proposals[:, 6], [0.25] * 4 + [0.75] * 4)
    # Untrained, a cell proposes a box around itself, about half as large as the image.
    np.testing.assert_allclose(proposals[:, 1:3], proposals[:, 5:] - 0.35 * np.log(2), rtol=1e-5)
    np.testing.assert_allclose(proposals[:, 3:5], proposals[:, 5:] + 0.35 * np.log(2), rtol=1e-5)


def test_corners_may_be_in_any_order() -> None:
    import keras

    from sharpeye.models.box_heads import Corners

    flat = keras.Input((4,), name="maps")
    corners = np.array(
        [[0.1, 0.2, 0.8, 0.9], [0.8, 0.2, 0.1, 0.9], [0.8, 0.9, 0.1, 0.2], [0.1, 0.9, 0.8, 0.2]],
        np.float32,
    )
    model = keras.Model(flat, {"box": Corners()(flat)})
    for outputs in keras_and_onnx(model, corners):
        np.testing.assert_array_equal(outputs["box"], corners[[0, 0, 0, 0]])


def test_a_layer_without_an_onnx_form_is_refused() -> None:
    import keras

    from sharpeye.models.onnx_emitter import emit_onnx

    flat = keras.Input((4,), name="maps")
    model = keras.Model(flat, {"box": keras.layers.LayerNormalization(name="odd")(flat)})
    with pytest.raises(ModelError, match="layer odd of kind LayerNormalization has no ONNX form"):
        emit_onnx(model, "maps")


# --- complete heads ------------------------------------------------------------------------------


def scramble(model: Any) -> Any:
    """Set weights as after training: no neutral batch norm, no bias of 0."""
    random = np.random.default_rng(7)
    for layer in model.layers:
        values = [random.normal(0, 0.3, array.shape) for array in layer.get_weights()]
        if "BatchNormalization" in type(layer).__name__:
            values[0], values[3] = values[0] + 1, np.abs(values[3]) + 0.5
        layer.set_weights(values)
    return model


@pytest.mark.parametrize(("after", "before"), [SIZES[1], SIZES[-1]])
def test_a_map_head_computes_the_same_in_onnx_and_from_a_file(
    after: tuple[int, int], before: tuple[int, int], tmp_path: Path
) -> None:
    import keras

    from sharpeye.models.box_heads import build_map_head

    shapes = [(*after, 3), (*before, 4)]
    model = scramble(build_map_head(shapes, 6))
    width = sum(int(np.prod(shape)) for shape in shapes)
    inputs = np.random.default_rng(1).normal(0, 1, (3, width)).astype(np.float32)
    assert model.output["proposals"].shape == (None, after[0] * after[1], 7)
    model.save(tmp_path / "head.keras")
    loaded = keras.models.load_model(tmp_path / "head.keras")
    assert_same(*({n: np.asarray(v) for n, v in m(inputs).items()} for m in (loaded, model)))
    box_only = keras.Model(model.input, {"box": model.output["box"]})
    expected, outputs = keras_and_onnx(box_only, inputs)
    assert_same(outputs, expected)
    boxes = expected["box"]
    assert boxes.std(axis=0).min() > 1e-4  # Different maps give different boxes.
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_an_untrained_feature_head_outputs_the_centre_box() -> None:
    import keras

    from sharpeye.models.box_heads import box_from_features

    features = keras.Input((8,))
    model = keras.Model(features, box_from_features(features, NetConfig()))
    large = np.random.default_rng(0).uniform(0, 1000, (2, 8)).astype(np.float32)
    boxes = np.asarray(model(large)["box"])
    np.testing.assert_array_equal(boxes, [[0.25, 0.25, 0.75, 0.75]] * 2)
    model = keras.Model(features, box_from_features(features, NetConfig(init_stddev=0.1)))
    assert 0.02 < np.std(model.get_layer("box_corners").get_weights()[0]) < 0.2
