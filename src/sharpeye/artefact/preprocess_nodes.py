"""The way from an image of any size to a network's input, as ONNX: what `fit_image` does.

Resize with antialiasing, cubic_coeff_a -0.5 and exclude_outside is Pillow's bicubic, up to single
grey levels in 0.02 % of the values, 0.3 % of its bilinear (docs/model-file.md). Sizes are computed
in float64, with Python's rounding (half to even), so that they are always the same.

Source: https://onnx.ai/onnx/operators/onnx__Resize.html, and `images.resize`, node by node.
"""

from typing import TYPE_CHECKING

import numpy as np

from sharpeye.artefact.graph_builder import Nodes
from sharpeye.core.types import InputSpec

if TYPE_CHECKING:
    import onnx

IMAGE, FITTED = "image", "fitted"
PREPROCESS, IN_IMAGE = "preprocess/", "in_picture/"
OPSET = 18  # the first whose Resize has antialiasing

# Of R, G, B, in 65,536ths; `L24` in Pillow's Convert.c.
_LUMA_65536 = (19595, 38470, 7471)
_LUMA = (0.299, 0.587, 0.114)
_MODES = {"bicubic": "cubic", "bilinear": "linear"}


class Preprocess:
    """Nodes from `image` uint8[N,H,W,3] to `fitted` uint8[N,height,width,channels].

    All images of a batch have one size. An image of the model's own size is left as it is.

    Args:
        graph: gets the nodes, at its end.
        spec: how the images are fitted.
    """

    def __init__(self, graph: "onnx.GraphProto", spec: InputSpec) -> None:
        self._nodes, self._spec = Nodes(graph, PREPROCESS), spec
        # int64[1] each, of the images; not needed where all are stretched.
        self._height = self._width = ""
        # int64[2] each, height before width and top before left.
        self._within = ""  # size that the image is resized to
        self._corner = ""  # of the image in the padding
        self._middle = ""  # corner of what a crop leaves
        self._cut = ""  # size of what a crop leaves
        if spec.fit != "stretch":
            shape = self._nodes.add("Shape", IMAGE)
            self._height, self._width = (self._part(shape, axis) for axis in (1, 2))
        self._emit()

    def _emit(self) -> None:
        nodes, spec, pixels = self._nodes, self._spec, IMAGE
        if spec.fit == "crop":
            pixels = self._crop(pixels)
        whole = [spec.height, spec.width]
        self._within = self._size_within() if spec.fit == "pad" else self._int(whole)
        if spec.filter == "bilinear_asymmetric":
            pixels = self._resize_asymmetric(pixels)
        else:
            pixels = nodes.add(
                "Resize",
                *(pixels, "", "", self._within),
                axes=[1, 2],
                mode=_MODES[spec.filter],
                antialias=1,
                cubic_coeff_a=-0.5,
                exclude_outside=1,
            )
            pixels = self._grey(pixels) if spec.channels == 1 else pixels
        if spec.fit == "pad":
            pixels = self._pad(pixels)
        # The sizes are known for certain only now: ONNX Runtime plans its memory by them.
        shape = self._int([-1, spec.height, spec.width, spec.channels])
        nodes.add("Reshape", pixels, shape, output=FITTED)

    # --- small helpers: int64[1] values, and numbers ---------------------------------------------

    def _int(self, value: int | list[int]) -> str:
        return self._nodes.constant(value, np.int64)

    def _double(self, value: float) -> str:
        return self._nodes.constant([value], np.float64)

    def _part(self, vector: str, index: int) -> str:
        return self._nodes.add("Gather", vector, self._int([index]))

    def _cast(self, value: str, kind: str) -> str:
        from onnx import TensorProto

        return self._nodes.add("Cast", value, to=TensorProto.DataType.Value(kind))

    def _rounded(self, numerator: str, divisor: str, times: int = 1) -> str:
        """round(numerator / divisor * times), as Python rounds; doubles in, int64[1] out."""
        ratio = self._nodes.add("Div", numerator, divisor)
        if times != 1:
            ratio = self._nodes.add("Mul", ratio, self._double(times))
        return self._cast(self._nodes.add("Round", ratio), "INT64")

    # --- geometry, a method a function of `images.resize` -------------------------------------

    def _size_within(self) -> str:
        nodes, spec = self._nodes, self._spec
        height, width = (self._cast(side, "DOUBLE") for side in (self._height, self._width))
        ratio = nodes.add("Div", width, height)
        is_wide = nodes.add("Greater", ratio, self._double(spec.width / spec.height))
        one = self._int([1])
        low = nodes.add("Max", self._rounded(height, width, spec.width), one)
        narrow = nodes.add("Max", self._rounded(width, height, spec.height), one)
        sides = (
            nodes.add("Where", is_wide, low, self._int([spec.height])),
            nodes.add("Where", is_wide, self._int([spec.width]), narrow),
        )
        return nodes.add("Concat", *sides, axis=0)

    def _pad(self, pixels: str) -> str:
        nodes, spec = self._nodes, self._spec
        room = nodes.add("Sub", self._int([spec.height, spec.width]), self._within)
        self._corner = self._rounded(self._cast(room, "DOUBLE"), self._double(2))
        after = nodes.add("Sub", room, self._corner)
        none = self._int([0])
        pads = nodes.add("Concat", none, self._corner, none, none, after, none, axis=0)
        return nodes.add("Pad", pixels, pads, nodes.constant(spec.pad_value, np.uint8))

    def _crop(self, pixels: str) -> str:
        nodes, spec = self._nodes, self._spec

        def side(own: str, other: str, size: int, other_size: int) -> str:
            """min(own, max(1, round(other * size / other_size)))"""
            wanted = self._cast(nodes.add("Mul", other, self._int([size])), "DOUBLE")
            found = self._rounded(wanted, self._double(other_size))
            return nodes.add("Min", own, nodes.add("Max", found, self._int([1])))

        high = side(self._height, self._width, spec.height, spec.width)
        wide = side(self._width, self._height, spec.width, spec.height)
        self._cut = nodes.add("Concat", high, wide, axis=0)
        whole = nodes.add("Concat", self._height, self._width, axis=0)
        self._middle = nodes.add("Div", nodes.add("Sub", whole, self._cut), self._int([2]))
        end = nodes.add("Add", self._middle, self._cut)
        return nodes.add("Slice", pixels, self._middle, end, self._int([1, 2]))

    # --- pixels ----------------------------------------------------------------------------------

    def _grey(self, pixels: str) -> str:
        """Pillow's mode L, to the bit: uint8[N,h,w,3] to uint8[N,h,w,1]."""
        nodes = self._nodes
        shares = nodes.constant(_LUMA_65536, np.int32)
        parts = nodes.add("Mul", self._cast(pixels, "INT32"), shares)
        total = nodes.add("ReduceSum", parts, self._int([3]), keepdims=1)
        half, whole = (nodes.constant(v, np.int32) for v in (2**15, 2**16))
        return self._cast(nodes.add("Div", nodes.add("Add", total, half), whole), "UINT8")

    def _resize_asymmetric(self, pixels: str) -> str:
        """`images.tf1_resize.resize_asymmetric`, to the bit, and rounded."""
        nodes = self._nodes
        source = nodes.add("Shape", pixels)  # of what is left, after a crop
        # Rows are picked first, as bytes: the time hangs on the target's size.
        rows, next_rows, down = self._neighbours(source, 1, [-1, 1, 1])
        columns = self._neighbours(source, 2, [-1, 1])
        upper, lower = (
            self._across(nodes.add("Gather", pixels, which, axis=1), columns)
            for which in (rows, next_rows)
        )
        floats = self._between(upper, lower, down)
        if self._spec.channels == 1:
            floats = nodes.add("MatMul", floats, nodes.constant([[v] for v in _LUMA], np.float32))
        return self._cast(nodes.add("Round", floats), "UINT8")

    def _neighbours(self, source: str, axis: int, shape: list[int]) -> tuple[str, str, str]:
        """Per target index the two source indices, and how far the second counts."""
        nodes, own = self._nodes, self._part(source, axis)
        target = self._part(self._within, axis - 1)
        scalar = nodes.add("Squeeze", target)
        index = nodes.add("Range", self._int(0), scalar, self._int(1))
        ratio = nodes.add("Div", self._cast(own, "FLOAT"), self._cast(target, "FLOAT"))
        positions = nodes.add("Mul", self._cast(index, "FLOAT"), ratio)
        floor = nodes.add("Floor", positions)
        first = self._cast(floor, "INT64")
        last = nodes.add("Sub", own, self._int([1]))
        second = nodes.add("Min", nodes.add("Add", first, self._int([1])), last)
        share = nodes.add("Reshape", nodes.add("Sub", positions, floor), self._int(shape))
        return first, second, share

    def _across(self, lines: str, columns: tuple[str, str, str]) -> str:
        left, right = (
            self._cast(self._nodes.add("Gather", lines, which, axis=2), "FLOAT")
            for which in columns[:2]
        )
        return self._between(left, right, columns[2])

    def _between(self, first: str, second: str, share: str) -> str:
        nodes = self._nodes
        part = nodes.add("Mul", nodes.add("Sub", second, first), share)
        return nodes.add("Add", first, part)

    # --- and back --------------------------------------------------------------------------------

    def undo(self, graph: "onnx.GraphProto", box: str, output: str) -> None:
        """Add what `images.boxes.from_input` does.

        Args:
            graph: gets the nodes, at its end.
            box: value, float32[N,4], shares 0..1 of `fitted`.
            output: name of float32[N,4], shares 0..1 of `image`.
        """
        nodes, spec = Nodes(graph, IN_IMAGE), self._spec
        box = _clipped(nodes, box)
        if spec.fit == "pad":
            sides = nodes.constant([spec.height, spec.width], np.int64)
            box = _moved(nodes, box, sides, "Sub", self._corner, self._within)
        elif spec.fit == "crop":
            whole = nodes.add("Concat", self._height, self._width, axis=0)
            box = _moved(nodes, box, self._cut, "Add", self._middle, whole)
        _clipped(nodes, box, output)


def _moved(nodes: Nodes, box: str, times: str, sign: str, by: str, divisor: str) -> str:
    """(box * times +- by) / divisor, of int64 (height, width) each, in float64 as Python does."""
    from onnx import TensorProto

    order = nodes.constant([1, 0, 1, 0], np.int64)  # xmin, ymin, xmax, ymax
    factors = [
        nodes.add("Cast", nodes.add("Gather", sides, order), to=TensorProto.DOUBLE)
        for sides in (times, by, divisor)
    ]
    wide = nodes.add("Cast", box, to=TensorProto.DOUBLE)
    raised = nodes.add(sign, nodes.add("Mul", wide, factors[0]), factors[1])
    return nodes.add("Cast", nodes.add("Div", raised, factors[2]), to=TensorProto.FLOAT)


def _clipped(nodes: Nodes, box: str, output: str = "") -> str:
    """`images.boxes.clip`: float32[N,4] within 0..1, the edges the right way round."""
    zero, one = (nodes.constant(v, np.float32) for v in (0, 1))
    inside = nodes.add("Clip", box, zero, one)
    ends, axis = ([nodes.constant([v], np.int64) for v in each] for each in ((0, 2, 4), (1,)))
    low = nodes.add("Slice", inside, ends[0], ends[1], axis[0])
    high = nodes.add("Slice", inside, ends[1], ends[2], axis[0])
    return nodes.add("Concat", low, nodes.add("Max", low, high), output=output, axis=1)
