"""The preprocessing inside `model.onnx` computes what `fit_image` computes, for any image."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharpeye.artefact.preprocess_nodes import FITTED, OPSET, PreprocessNodes
from sharpeye.core.arrays import Pixels
from sharpeye.core.inference import Graph
from sharpeye.core.types import FILTERS, RESIZE_MODES, InputSpec
from sharpeye.images.boxes import clip_box, from_input
from sharpeye.images.resize import fit_image

Size = tuple[int, int]  # width, height

SPECS = [
    InputSpec(height, width, fit, pad_value=pad, channels=channels, filter=method)
    for (height, width, pad), fit, channels, method in product(
        ((32, 32, 127), (30, 47, 9)), RESIZE_MODES, (3, 1), FILTERS
    )
]
# Tiny and odd sides, those of the inputs, and larger ones.
SIDES = (1, 2, 3, 7, 15, 30, 31, 32, 33, 46, 47, 48, 64, 90, 93, 94, 128, 199, 257)


@lru_cache(maxsize=64)
def preprocessing(spec: InputSpec, box: bool = False) -> Graph:
    """The preprocessing alone, as a graph from `image` to `fitted`, or to `box`."""
    import onnx
    from onnx import TensorProto, helper

    info, graph = helper.make_tensor_value_info, onnx.GraphProto(name="alone")
    graph.input.append(info("image", TensorProto.UINT8, ["N", "H", "W", 3]))
    nodes = PreprocessNodes(graph, spec)
    if box:
        # The image's first pixels are the box, in 255ths, and beyond 0..1.
        node = helper.make_node
        graph.node.extend(
            [
                node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
                node("Slice", ["floats", "from", "to"], ["first"]),
                node("Reshape", ["first", "shape"], ["raw"]),
                node("Mul", ["raw", "share"], ["scaled"]),
                node("Sub", ["scaled", "shift"], ["inside"]),
            ]
        )
        values = {
            "from": np.zeros(4, np.int64),
            "to": np.array([99, 1, 4, 1]),
            "shape": np.array([-1, 4]),
            "share": np.float32(1.5 / 255),
            "shift": np.float32(0.25),
        }
        for name, value in values.items():
            graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        nodes.add_box_mapping(graph, "inside", "box")
        graph.output.append(info("box", TensorProto.FLOAT, ["N", 4]))
    else:
        shape = ["N", spec.height, spec.width, spec.channels]
        graph.output.append(info(FITTED, TensorProto.UINT8, shape))
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return Graph(model.SerializeToString())


def photo(size: Size, seed: int = 0) -> Pixels:
    """uint8[H,W,3], smooth with edges and some noise, as photographs are."""
    random = np.random.default_rng([seed, *size])
    coarse = tuple(max(1, side // 8) for side in size)
    image = Image.fromarray(random.integers(0, 256, (coarse[1], coarse[0], 3), dtype=np.uint8))
    smooth = np.asarray(image.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = smooth + random.integers(-9, 10, smooth.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def sizes(spec: InputSpec) -> Iterator[Size]:
    """60 seeded pairs of sides, very thin ones, and the input's own."""
    random = np.random.default_rng(spec.height)
    yield from (tuple(int(s) for s in random.choice(SIDES, 2)) for _ in range(60))  # type: ignore[misc]
    yield from ((1, 1), (1, 90), (90, 1), (257, 1), (1, 257), (400, 3), (5, 300))
    yield spec.width, spec.height


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.width}-{s.fit}-{s.filter}-{s.channels}")
def test_any_size_is_fitted_as_pillow_fits_it(spec: InputSpec) -> None:
    graph, differences = preprocessing(spec), []
    for size in sizes(spec):
        pixels = photo(size)
        expected = fit_image(Image.fromarray(pixels), spec)
        fitted = graph.run(pixels[None])[FITTED]
        assert fitted.shape == (1, *expected.shape)
        difference = np.abs(fitted[0].astype(int) - expected)
        differences.append(difference.ravel())
        if spec.filter == "bilinear_asymmetric" and spec.channels == 3:
            assert difference.max() == 0, size
    levels = np.concatenate(differences)
    # The vertical resizing may enlarge a rounding of the horizontal one.
    assert levels.max() <= 2
    assert (levels > 1).mean() < 1e-4
    assert (levels > 0).mean() < (2e-3 if spec.filter == "bicubic" else 2e-2)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.width}-{s.fit}-{s.filter}-{s.channels}")
def test_an_image_of_the_inputs_size_stays_unchanged(spec: InputSpec) -> None:
    pixels = photo((spec.width, spec.height))
    image = Image.fromarray(pixels)
    if spec.channels == 1:
        # A grey photo as RGB, as `predict` gives it.
        grey = np.asarray(image.convert("L"))[..., None]
        fitted = preprocessing(spec).run(np.repeat(grey, 3, axis=-1)[None])[FITTED]
        np.testing.assert_array_equal(fitted[0], grey)
    else:
        np.testing.assert_array_equal(preprocessing(spec).run(pixels[None])[FITTED][0], pixels)


@pytest.mark.parametrize("spec", SPECS[:18], ids=lambda s: f"{s.fit}-{s.filter}-{s.channels}")
def test_a_batch_is_fitted_like_its_images(spec: InputSpec) -> None:
    graph = preprocessing(spec)
    batch = np.stack([photo((70, 51), seed) for seed in range(7)])
    singly = [graph.run(image[None])[FITTED][0] for image in batch]
    np.testing.assert_array_equal(graph.run(batch)[FITTED], np.stack(singly))


def test_grey_is_bit_by_bit_pillows() -> None:
    spec = InputSpec(64, 64, "stretch", channels=1)
    colours = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    fitted = preprocessing(spec).run(colours)[FITTED]
    expected = [np.asarray(Image.fromarray(image).convert("L"))[..., None] for image in colours]
    np.testing.assert_array_equal(fitted, np.stack(expected))


@pytest.mark.parametrize("spec", SPECS[::6], ids=lambda s: f"{s.width}-{s.fit}")
def test_a_box_is_mapped_to_the_image_like_from_input_does(spec: InputSpec) -> None:
    graph = preprocessing(spec, box=True)
    for size in sizes(spec):
        if size[0] < 4:
            continue
        pixels = photo(size, 1)
        raw: Any = pixels[0, :4, 0] * np.float32(1.5 / 255) - np.float32(0.25)
        expected = from_input(tuple(float(v) for v in raw), size, spec)
        np.testing.assert_allclose(graph.run(pixels[None])["box"][0], expected, atol=1e-6)
        if size == (spec.width, spec.height):
            np.testing.assert_allclose(expected, clip_box(tuple(raw.tolist())), atol=1e-6)
