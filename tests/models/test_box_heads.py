"""Heads that find boxes: each layer is the formula it should be, and ONNX answers as Keras does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharpeye.core.config import NetConfig
from sharpeye.core.inference import Graph
from sharpeye.errors import ModelError
from sharpeye.learn.nets.backend import load_backend

Array = np.ndarray[Any, Any]

# Of a fine and a coarse map: even, odd, and those whose ratio float32 rounds the wrong way.
SIZES = [
    ((4, 4), (2, 2)),
    ((5, 7), (3, 4)),
    ((4, 5), (3, 4)),
    ((9, 3), (4, 1)),
    ((53, 16), (26, 14)),
]


@pytest.fixture(scope="module", autouse=True)
def keras() -> Any:
    load_backend()
    import keras

    return keras


def both(model: Any, inputs: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """What Keras says, and what ONNX says, of all at once and of each alone."""
    from sharpeye.models.onnx_emitter import emit_onnx

    keras = {name: np.asarray(value) for name, value in model(inputs, training=False).items()}
    graph = Graph(emit_onnx(model, "maps").SerializeToString())
    together = graph.run(inputs)
    for i in range(len(inputs)):
        alone = graph.run(inputs[i : i + 1])
        for name, value in alone.items():
            np.testing.assert_allclose(value[0], together[name][i], rtol=1e-4, atol=1e-5)
    return keras, together


def same(found: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def on_maps(
    shapes: Sequence[tuple[int, int, int]], make: Any, seed: int = 0
) -> tuple[Array, dict[str, Array]]:
    """Random maps, flat, and what a network on them gives, by Keras and ONNX alike."""
    import keras

    from sharpeye.models.box_heads import SliceMap

    sizes = [int(np.prod(shape)) for shape in shapes]
    flat = keras.Input((sum(sizes),), name="maps")
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    maps = [
        SliceMap(s, shape, name=f"map{s}")(flat) for s, shape in zip(starts, shapes, strict=True)
    ]
    model = keras.Model(flat, {"out": make(*maps)})
    inputs = np.random.default_rng(seed).normal(0, 2, (3, sum(sizes))).astype(np.float32)
    answers, onnx = both(model, inputs)
    same(onnx, answers)
    return inputs, answers


# --- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "before"), SIZES)
def test_a_map_is_enlarged_by_the_nearest_cell(
    after: tuple[int, int], before: tuple[int, int]
) -> None:
    from sharpeye.models.box_heads import FlatMaps, NearestResize

    shape = (*before, 2)
    inputs, found = on_maps([shape], lambda x: FlatMaps()([NearestResize(*after)(x)]))
    maps = inputs.reshape(3, 2, *before)
    rows = [i * before[0] // after[0] for i in range(after[0])]
    columns = [i * before[1] // after[1] for i in range(after[1])]
    expected = maps[:, :, rows][:, :, :, columns].reshape(3, -1)
    np.testing.assert_array_equal(found["out"], expected)


def test_flat_maps_are_taken_apart_as_they_were_joined() -> None:
    import keras

    from sharpeye.models.box_heads import FlatMaps, SliceMap

    shapes = [(5, 7, 3), (3, 4, 2)]
    inputs = [keras.Input(shape) for shape in shapes]
    flat = FlatMaps()(inputs)
    assert flat.shape == (None, 5 * 7 * 3 + 3 * 4 * 2)
    back = [SliceMap(0, shapes[0])(flat), SliceMap(105, shapes[1])(flat)]
    model = keras.Model(inputs, {"flat": flat, "fine": back[0], "coarse": back[1]})
    random = np.random.default_rng(0)
    maps = [random.normal(0, 1, (2, *shape)).astype(np.float32) for shape in shapes]
    found = {name: np.asarray(value) for name, value in model(maps).items()}
    np.testing.assert_array_equal(found["fine"], maps[0])
    np.testing.assert_array_equal(found["coarse"], maps[1])
    # Channels first: the first 35 numbers are the first channel, row by row.
    np.testing.assert_array_equal(found["flat"][:, :35], maps[0][..., 0].reshape(2, 35))


def test_flat_maps_have_an_onnx_form() -> None:
    from sharpeye.models.box_heads import FlatMaps

    inputs, found = on_maps([(5, 7, 3), (3, 4, 2)], lambda a, b: FlatMaps()([b, a]))
    np.testing.assert_array_equal(
        found["out"], np.concatenate([inputs[:, 105:], inputs[:, :105]], 1)
    )


def believed(cells: Array, reach: float) -> Array:
    """The box by hand: cells float[N,H,W,5]."""
    count, height, width, _ = cells.shape
    boxes = []
    for one in cells.astype(np.float64):
        trust = np.exp(one[..., 0] - one[..., 0].max())
        trust /= trust.sum()
        total = np.zeros(4)
        for row in range(height):
            for column in range(width):
                left, top, right, bottom = reach * np.log1p(np.exp(one[row, column, 1:]))
                x, y = (column + 0.5) / width, (row + 0.5) / height
                box = np.array([x - left, y - top, x + right, y + bottom])
                total += trust[row, column] * box
        boxes.append(total)
    return np.array(boxes).reshape(count, 4)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 7), (1, 3)])
def test_the_box_is_the_mean_of_what_the_cells_propose_as_far_as_they_are_believed(
    height: int, width: int
) -> None:
    from sharpeye.models.box_heads import REACH, Proposals, WeightedBoxMean

    inputs, found = on_maps([(height, width, 5)], lambda x: WeightedBoxMean()(Proposals()(x)))
    cells = inputs.reshape(3, 5, height, width).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found["out"], believed(cells, REACH), rtol=1e-4, atol=1e-5)
    assert (found["out"][:, 2:] > found["out"][:, :2]).all()


def test_proposals_say_where_their_cell_is() -> None:
    from sharpeye.models.box_heads import Proposals

    cells = np.zeros((1, 2, 4, 5), np.float32)
    cells[..., 0] = np.arange(8).reshape(2, 4)
    found = np.asarray(Proposals()(cells))[0]
    np.testing.assert_array_equal(found[:, 0], np.arange(8))
    np.testing.assert_allclose(found[:, 5], [0.125, 0.375, 0.625, 0.875] * 2)
    np.testing.assert_allclose(found[:, 6], [0.25] * 4 + [0.75] * 4)
    # Untrained, a cell proposes a box around itself, about half as large as the image.
    np.testing.assert_allclose(found[:, 1:3], found[:, 5:] - 0.35 * np.log(2), rtol=1e-5)
    np.testing.assert_allclose(found[:, 3:5], found[:, 5:] + 0.35 * np.log(2), rtol=1e-5)


def test_corners_may_come_in_any_order() -> None:
    import keras

    from sharpeye.models.box_heads import Corners

    flat = keras.Input((4,), name="maps")
    given = np.array(
        [[0.1, 0.2, 0.8, 0.9], [0.8, 0.2, 0.1, 0.9], [0.8, 0.9, 0.1, 0.2], [0.1, 0.9, 0.8, 0.2]],
        np.float32,
    )
    keras_says, onnx_says = both(keras.Model(flat, {"box": Corners()(flat)}), given)
    np.testing.assert_array_equal(keras_says["box"], given[[0, 0, 0, 0]])
    np.testing.assert_array_equal(onnx_says["box"], given[[0, 0, 0, 0]])


def test_a_layer_without_an_onnx_form_is_refused() -> None:
    import keras

    from sharpeye.models.onnx_emitter import emit_onnx

    flat = keras.Input((4,), name="maps")
    model = keras.Model(flat, {"box": keras.layers.LayerNormalization(name="odd")(flat)})
    with pytest.raises(ModelError, match="layer odd of kind LayerNormalization has no ONNX form"):
        emit_onnx(model, "maps")


# --- whole heads ---------------------------------------------------------------------------------


def scrambled(model: Any) -> Any:
    """Weights as training leaves them: no neutral batch norm, no bias of 0."""
    random = np.random.default_rng(7)
    for layer in model.layers:
        values = [random.normal(0, 0.3, array.shape) for array in layer.get_weights()]
        if "BatchNormalization" in type(layer).__name__:
            values[0], values[3] = values[0] + 1, np.abs(values[3]) + 0.5
        layer.set_weights(values)
    return model


@pytest.mark.parametrize(("after", "before"), [SIZES[1], SIZES[-1]])
def test_a_head_on_maps_answers_in_onnx_and_from_a_file_as_in_keras(
    after: tuple[int, int], before: tuple[int, int], tmp_path: Path
) -> None:
    import keras

    from sharpeye.models.box_heads import build_map_head

    shapes = [(*after, 3), (*before, 4)]
    model = scrambled(build_map_head(shapes, 6))
    width = sum(int(np.prod(shape)) for shape in shapes)
    inputs = np.random.default_rng(1).normal(0, 1, (3, width)).astype(np.float32)
    assert model.output["proposals"].shape == (None, after[0] * after[1], 7)
    model.save(tmp_path / "head.keras")
    again = keras.models.load_model(tmp_path / "head.keras")
    same(*({n: np.asarray(v) for n, v in one(inputs).items()} for one in (again, model)))
    found, onnx = both(keras.Model(model.input, {"box": model.output["box"]}), inputs)
    same(onnx, found)
    assert found["box"].std(axis=0).min() > 1e-4  # the images are told apart at all
    assert (found["box"][:, 2:] > found["box"][:, :2]).all()


def test_an_untrained_head_on_features_finds_the_middle() -> None:
    import keras

    from sharpeye.models.box_heads import box_on_features

    features = keras.Input((8,))
    model = keras.Model(features, box_on_features(features, NetConfig()))
    large = np.random.default_rng(0).uniform(0, 1000, (2, 8)).astype(np.float32)
    found = np.asarray(model(large)["box"])
    np.testing.assert_array_equal(found, [[0.25, 0.25, 0.75, 0.75]] * 2)
    model = keras.Model(features, box_on_features(features, NetConfig(init_stddev=0.1)))
    assert 0.02 < np.std(model.get_layer("box_corners").get_weights()[0]) < 0.2
