"""Write preprocessing as ONNX nodes: from an image of any size to a network's input.

The nodes compute what `images.resize.fit_image` computes. Resize with antialiasing, cubic_coeff_a
-0.5 and exclude_outside is Pillow's bicubic, up to single grey levels in 0.02 % of the values, 0.3
% of its bilinear (docs/model-file.md). Sizes are computed in float64 with Python's rounding (half
to even), so that they are always the same. Source: https://onnx.ai/onnx/operators/onnx__Resize.html
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sharpeye.artefact.onnx_model import GraphBuilder
from sharpeye.core.types import InputSpec

if TYPE_CHECKING:
    import onnx

IMAGE, FITTED = "image", "fitted"
# Prefixes of node names; existing models have the second.
PREPROCESS, BOX_MAPPING = "preprocess/", "in_picture/"
OPSET = 18  # the first whose Resize has antialiasing

# Weights of R, G, B, in 65,536ths; `L24` in Pillow's Convert.c.
_LUMA_65536 = (19595, 38470, 7471)
_LUMA = (0.299, 0.587, 0.114)
_RESIZE_MODES = {"bicubic": "cubic", "bilinear": "linear"}


class _Neighbours(NamedTuple):
    """Per target index the two source indices, int64, and the weight of the second, float32."""

    first: str
    second: str
    weight: str


class PreprocessNodes:
    """Appends nodes from `image` uint8[N,H,W,3] to `fitted` uint8[N,height,width,channels].

    All images of a batch have one size. An image of the model's own size stays unchanged.
    """

    def __init__(self, graph: "onnx.GraphProto", spec: InputSpec) -> None:
        self._nodes, self._spec = GraphBuilder(graph, PREPROCESS), spec
        # int64[1] each, sides of the images; unused if images are stretched.
        self._height = self._width = ""
        # int64[2] each: height before width, and top before left.
        self._resized = ""  # size after resizing
        self._padding_corner = ""  # of the resized image in the padding
        self._crop_corner = self._crop_size = ""
        if spec.fit != "stretch":
            shape = self._nodes.add("Shape", IMAGE)
            self._height, self._width = (self._element(shape, axis) for axis in (1, 2))
        pixels = self._crop(IMAGE) if spec.fit == "crop" else IMAGE
        full = [spec.height, spec.width]
        self._resized = self._size_within() if spec.fit == "pad" else self._int(full)
        if spec.filter == "bilinear_asymmetric":
            pixels = self._resize_asymmetric(pixels)
        else:
            pixels = self._nodes.add(
                "Resize",
                *(pixels, "", "", self._resized),
                axes=[1, 2],
                mode=_RESIZE_MODES[spec.filter],
                antialias=1,
                cubic_coeff_a=-0.5,
                exclude_outside=1,
            )
            pixels = self._grey(pixels) if spec.channels == 1 else pixels
        if spec.fit == "pad":
            pixels = self._pad(pixels)
        # ONNX Runtime plans its memory by the sizes, which only this node declares.
        shape = self._int([-1, spec.height, spec.width, spec.channels])
        self._nodes.add("Reshape", pixels, shape, output=FITTED)

    def _int(self, value: int | list[int]) -> str:
        return self._nodes.constant(value, np.int64)

    def _double(self, value: float) -> str:
        return self._nodes.constant([value], np.float64)

    def _element(self, vector: str, index: int) -> str:
        return self._nodes.add("Gather", vector, self._int([index]))

    def _cast(self, value: str, dtype: str) -> str:
        from onnx import TensorProto

        return self._nodes.add("Cast", value, to=TensorProto.DataType.Value(dtype))

    def _rounded_ratio(self, numerator: str, divisor: str, factor: int = 1) -> str:
        """round(numerator / divisor * factor), as Python rounds; doubles to int64[1]."""
        ratio = self._nodes.add("Div", numerator, divisor)
        if factor != 1:
            ratio = self._nodes.add("Mul", ratio, self._double(factor))
        return self._cast(self._nodes.add("Round", ratio), "INT64")

    def _size_within(self) -> str:
        nodes, spec = self._nodes, self._spec
        height, width = (self._cast(side, "DOUBLE") for side in (self._height, self._width))
        ratio = nodes.add("Div", width, height)
        is_wide = nodes.add("Greater", ratio, self._double(spec.width / spec.height))
        one = self._int([1])
        low = nodes.add("Max", self._rounded_ratio(height, width, spec.width), one)
        narrow = nodes.add("Max", self._rounded_ratio(width, height, spec.height), one)
        sides = (
            nodes.add("Where", is_wide, low, self._int([spec.height])),
            nodes.add("Where", is_wide, self._int([spec.width]), narrow),
        )
        return nodes.add("Concat", *sides, axis=0)

    def _pad(self, pixels: str) -> str:
        nodes, spec = self._nodes, self._spec
        margin = nodes.add("Sub", self._int([spec.height, spec.width]), self._resized)
        before = self._rounded_ratio(self._cast(margin, "DOUBLE"), self._double(2))
        after = nodes.add("Sub", margin, before)
        zero = self._int([0])
        pads = nodes.add("Concat", zero, before, zero, zero, after, zero, axis=0)
        self._padding_corner = before
        return nodes.add("Pad", pixels, pads, nodes.constant(spec.pad_value, np.uint8))

    def _crop(self, pixels: str) -> str:
        nodes, spec = self._nodes, self._spec

        def crop_side(side: str, other_side: str, size: int, *, other_size: int) -> str:
            """min(side, max(1, round(other_side * size / other_size)))"""
            product = self._cast(nodes.add("Mul", other_side, self._int([size])), "DOUBLE")
            cropped = self._rounded_ratio(product, self._double(other_size))
            return nodes.add("Min", side, nodes.add("Max", cropped, self._int([1])))

        height = crop_side(self._height, self._width, spec.height, other_size=spec.width)
        width = crop_side(self._width, self._height, spec.width, other_size=spec.height)
        self._crop_size = nodes.add("Concat", height, width, axis=0)
        image_size = nodes.add("Concat", self._height, self._width, axis=0)
        margin = nodes.add("Sub", image_size, self._crop_size)
        self._crop_corner = nodes.add("Div", margin, self._int([2]))
        end = nodes.add("Add", self._crop_corner, self._crop_size)
        return nodes.add("Slice", pixels, self._crop_corner, end, self._int([1, 2]))

    def _grey(self, pixels: str) -> str:
        """Pillow's mode L, bit for bit: uint8[N,h,w,3] to uint8[N,h,w,1]."""
        nodes = self._nodes
        luma = nodes.constant(_LUMA_65536, np.int32)
        terms = nodes.add("Mul", self._cast(pixels, "INT32"), luma)
        total = nodes.add("ReduceSum", terms, self._int([3]), keepdims=1)
        half, divisor = (nodes.constant(number, np.int32) for number in (2**15, 2**16))
        return self._cast(nodes.add("Div", nodes.add("Add", total, half), divisor), "UINT8")

    def _resize_asymmetric(self, pixels: str) -> str:
        """`images.resize.resize_asymmetric`, bit for bit, and rounded."""
        nodes = self._nodes
        source = nodes.add("Shape", pixels)  # after a crop
        # Rows are gathered first, as bytes, so that the time depends on the target's size.
        rows = self._neighbours(source, 1, [-1, 1, 1])
        columns = self._neighbours(source, 2, [-1, 1])
        upper, lower = (
            self._interpolate_columns(nodes.add("Gather", pixels, indices, axis=1), columns)
            for indices in (rows.first, rows.second)
        )
        floats = self._interpolate(upper, lower, rows.weight)
        if self._spec.channels == 1:
            luma = nodes.constant([[weight] for weight in _LUMA], np.float32)
            floats = nodes.add("MatMul", floats, luma)
        return self._cast(nodes.add("Round", floats), "UINT8")

    def _neighbours(self, source: str, axis: int, weight_shape: list[int]) -> _Neighbours:
        nodes, source_side = self._nodes, self._element(source, axis)
        target_side = self._element(self._resized, axis - 1)
        scalar = nodes.add("Squeeze", target_side)
        index = nodes.add("Range", self._int(0), scalar, self._int(1))
        ratio = nodes.add("Div", self._cast(source_side, "FLOAT"), self._cast(target_side, "FLOAT"))
        positions = nodes.add("Mul", self._cast(index, "FLOAT"), ratio)
        floor = nodes.add("Floor", positions)
        first = self._cast(floor, "INT64")
        last = nodes.add("Sub", source_side, self._int([1]))
        second = nodes.add("Min", nodes.add("Add", first, self._int([1])), last)
        weight = nodes.add("Reshape", nodes.add("Sub", positions, floor), self._int(weight_shape))
        return _Neighbours(first, second, weight)

    def _interpolate_columns(self, rows: str, columns: _Neighbours) -> str:
        left, right = (
            self._cast(self._nodes.add("Gather", rows, indices, axis=2), "FLOAT")
            for indices in (columns.first, columns.second)
        )
        return self._interpolate(left, right, columns.weight)

    def _interpolate(self, first: str, second: str, weight: str) -> str:
        nodes = self._nodes
        difference = nodes.add("Mul", nodes.add("Sub", second, first), weight)
        return nodes.add("Add", first, difference)

    def add_box_mapping(self, graph: "onnx.GraphProto", box: str, output: str) -> None:
        """Append the nodes of `images.boxes.from_input`.

        `box` float32[N,4] is in shares 0..1 of `fitted`, `output` in shares 0..1 of `image`.
        """
        nodes, spec = GraphBuilder(graph, BOX_MAPPING), self._spec
        box = _clip_box(nodes, box)
        if spec.fit == "pad":
            size = nodes.constant([spec.height, spec.width], np.int64)
            sides = (size, self._padding_corner, self._resized)
            box = _map_box(nodes, box, sides, sign="Sub")
        elif spec.fit == "crop":
            image_size = nodes.add("Concat", self._height, self._width, axis=0)
            sides = (self._crop_size, self._crop_corner, image_size)
            box = _map_box(nodes, box, sides, sign="Add")
        _clip_box(nodes, box, output)


def _map_box(nodes: GraphBuilder, box: str, sides: tuple[str, str, str], *, sign: str) -> str:
    """(box * factor +- offset) / divisor in float64, as Python does.

    Each of the three `sides` is int64[2], height before width.
    """
    from onnx import TensorProto

    order = nodes.constant([1, 0, 1, 0], np.int64)  # xmin, ymin, xmax, ymax
    factor, offset, divisor = (
        nodes.add("Cast", nodes.add("Gather", value, order), to=TensorProto.DOUBLE)
        for value in sides
    )
    doubles = nodes.add("Cast", box, to=TensorProto.DOUBLE)
    moved = nodes.add(sign, nodes.add("Mul", doubles, factor), offset)
    return nodes.add("Cast", nodes.add("Div", moved, divisor), to=TensorProto.FLOAT)


def _clip_box(nodes: GraphBuilder, box: str, output: str = "") -> str:
    """`images.boxes.clip_box`: float32[N,4] within 0..1, with ordered edges."""
    zero, one = (nodes.constant(number, np.float32) for number in (0, 1))
    inside = nodes.add("Clip", box, zero, one)
    start, middle, end, axis = (nodes.constant([number], np.int64) for number in (0, 2, 4, 1))
    low = nodes.add("Slice", inside, start, middle, axis)
    high = nodes.add("Slice", inside, middle, end, axis)
    return nodes.add("Concat", low, nodes.add("Max", low, high), output=output, axis=1)
