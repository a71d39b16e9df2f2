"""Adds `unknown_score` to a graph: how unlike anything learned an image is, 0..1.

The same sums as `learn.ood.detector.Unknown.score`, in float32. It stands on `head_input` and
`probs`, which are there anyway, and costs one product with the bank an image.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from sharpeye.artefact.graph import HEAD_INPUT, PROBS, Addition
from sharpeye.artefact.onnx_nodes import Nodes
from sharpeye.learn.ood.detector import MIN_ERROR_PROB, MIN_NORM, OodDetector

if TYPE_CHECKING:
    import onnx

UNKNOWN_SCORE, PREFIX = "unknown_score", "unknown/"


def ood_addition(unknown: OodDetector) -> Addition:
    """What gives a graph the output `unknown_score` float32[N]; for `graph.write_model`."""

    def add(graph: "onnx.GraphProto") -> None:
        nodes = Nodes(graph, PREFIX)
        score = _score(nodes, unknown, _oddity(nodes, unknown))
        axis = nodes.constant([1], np.int64, "axis")
        nodes.add("Squeeze", score, axis, output=UNKNOWN_SCORE)
        nodes.output(UNKNOWN_SCORE, 0)

    return add


def _oddity(nodes: Nodes, unknown: OodDetector) -> str:
    """float32[N,1]."""
    from onnx import TensorProto

    def number(value: float) -> str:
        return nodes.constant([value], np.float32)

    axis = nodes.constant([1], np.int64, "axis")
    length = nodes.add("ReduceL2", HEAD_INPUT, axis, keepdims=1)
    length = nodes.add("Max", length, number(MIN_NORM))

    def distance(vectors: Any, weight: float, name: str) -> str:
        half = nodes.constant(vectors.T, np.float16, name)
        products = nodes.add("MatMul", HEAD_INPUT, nodes.add("Cast", half, to=TensorProto.FLOAT))
        largest = nodes.add("ReduceMax", products, axis, keepdims=1)
        nearest = nodes.add("Div", largest, length)
        return nodes.add("Mul", nodes.add("Sub", number(1), nearest), number(weight))

    from_image = distance(unknown.bank, unknown.distance_weight, "bank")
    from_mean = distance(unknown.means, unknown.mean_weight, "means")
    wrong = nodes.add("Sub", number(1), nodes.add("ReduceMax", PROBS, axis, keepdims=1))
    doubt = nodes.add("Log", nodes.add("Max", wrong, number(MIN_ERROR_PROB)))
    return nodes.add(
        "Add",
        nodes.add("Add", from_image, from_mean),
        nodes.add("Mul", doubt, number(unknown.error_weight)),
    )


def _score(nodes: Nodes, unknown: OodDetector, oddity: str) -> str:
    """float32[N,1], from the oddity float32[N,1]: a ramp between each two knots, and the tail."""
    knots = unknown.knots.astype(np.float64)
    beyond = nodes.add("Sub", oddity, nodes.constant([knots[-1]], np.float32))
    far = nodes.add("Relu", beyond)
    whole = nodes.add("Add", far, nodes.constant([unknown.tail], np.float32))
    last = nodes.constant([unknown.knot_shares[-1]], np.float32)
    tail = nodes.add("Mul", nodes.add("Div", far, whole), last)
    if len(knots) == 1:
        return tail
    above = nodes.add("Sub", oddity, nodes.constant(knots[:-1], np.float32, "knots"))
    steep = nodes.constant(1 / np.diff(knots), np.float32, "steep")
    low, high = nodes.constant(0, np.float32), nodes.constant(1, np.float32)
    ramps = nodes.add("Clip", nodes.add("Mul", above, steep), low, high)  # float32[N,K-1]
    shares = nodes.constant(unknown.knot_shares[:-1, None], np.float32, "shares")
    return nodes.add("Add", nodes.add("MatMul", ramps, shares), tail)
