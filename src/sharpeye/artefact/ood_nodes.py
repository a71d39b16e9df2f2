"""Encode the OOD detector as ONNX nodes that output `unknown_score`, 0..1.

The nodes compute `learn.ood.detector.OodDetector.unknown_score` in float32 from `head_input` and
`probs`, which the graph has anyway, and cost one product with the bank per image.
"""

from typing import TYPE_CHECKING

import numpy as np

from sharpeye.artefact.onnx_model import GraphBuilder
from sharpeye.artefact.write_model import HEAD_INPUT, PROBS, Addition
from sharpeye.core.arrays import Floats
from sharpeye.learn.ood.detector import MIN_ERROR_PROB, MIN_NORM, OodDetector

if TYPE_CHECKING:
    import onnx


def ood_addition(detector: OodDetector) -> Addition:
    """Give a graph the output `unknown_score` float32[N]; for `write_model`."""

    def add(graph: "onnx.GraphProto") -> None:
        nodes = GraphBuilder(graph, "unknown/")
        score = _conformal_score(nodes, detector, _ood_score(nodes, detector))
        axis = nodes.constant([1], np.int64, "axis")
        nodes.add("Squeeze", score, axis, output="unknown_score")
        nodes.add_output("unknown_score")

    return add


def _ood_score(nodes: GraphBuilder, detector: OodDetector) -> str:
    """`OodDetector.ood_score`: float32[N,1]."""
    from onnx import TensorProto

    def number(value: float) -> str:
        return nodes.constant([value], np.float32)

    axis = nodes.constant([1], np.int64, "axis")
    norm = nodes.add("ReduceL2", HEAD_INPUT, axis, keepdims=1)
    norm = nodes.add("Max", norm, number(MIN_NORM))

    def weighted_distance(vectors: Floats, weight: float, name: str) -> str:
        half = nodes.constant(vectors.T, np.float16, name)
        products = nodes.add("MatMul", HEAD_INPUT, nodes.add("Cast", half, to=TensorProto.FLOAT))
        largest = nodes.add("ReduceMax", products, axis, keepdims=1)
        similarity = nodes.add("Div", largest, norm)
        return nodes.add("Mul", nodes.add("Sub", number(1), similarity), number(weight))

    from_image = weighted_distance(detector.bank, detector.distance_weight, "bank")
    from_mean = weighted_distance(detector.means, detector.mean_weight, "means")
    error_prob = nodes.add("Sub", number(1), nodes.add("ReduceMax", PROBS, axis, keepdims=1))
    log_error_prob = nodes.add("Log", nodes.add("Max", error_prob, number(MIN_ERROR_PROB)))
    distance = nodes.add("Add", from_image, from_mean)
    log_error = nodes.add("Mul", log_error_prob, number(detector.error_weight))
    return nodes.add("Add", distance, log_error)


def _conformal_score(nodes: GraphBuilder, detector: OodDetector, ood_score: str) -> str:
    """float32[N,1] to float32[N,1]: linear between knots, with a tail after the last."""
    knots = detector.knots.astype(np.float64)
    beyond = nodes.add("Sub", ood_score, nodes.constant([knots[-1]], np.float32))
    excess = nodes.add("Relu", beyond)
    divisor = nodes.add("Add", excess, nodes.constant([detector.tail], np.float32))
    last_share = nodes.constant([detector.knot_shares[-1]], np.float32)
    tail = nodes.add("Mul", nodes.add("Div", excess, divisor), last_share)
    if len(knots) == 1:
        return tail
    above = nodes.add("Sub", ood_score, nodes.constant(knots[:-1], np.float32, "knots"))
    slopes = nodes.constant(1 / np.diff(knots), np.float32, "steep")
    low, high = nodes.constant(0, np.float32), nodes.constant(1, np.float32)
    ramps = nodes.add("Clip", nodes.add("Mul", above, slopes), low, high)  # float32[N,K-1]
    shares = nodes.constant(detector.knot_shares[:-1, None], np.float32, "shares")
    return nodes.add("Add", nodes.add("MatMul", ramps, shares), tail)
