"""Encode the expected IoU of the predicted box as ONNX nodes that output `box_score`, 0..1.

The nodes compute `jobs.train.box_scores.proposal_agreement` and the line of
`learn.heads.box_score` in float32 from the box head's proposals, which the graph has anyway.
"""

from typing import TYPE_CHECKING

import numpy as np

from sharpeye.artefact.onnx_model import GraphBuilder
from sharpeye.artefact.write_model import BOX_IN_INPUT, Addition
from sharpeye.learn.heads.box_score import BoxScoreLine

if TYPE_CHECKING:
    import onnx

PROPOSALS = "proposals"  # the value of the box head, float32[N,M,5 or 7]: logit and edges first
BOX_SCORE = "box_score"


def box_score_addition(line: BoxScoreLine) -> Addition:
    """Give a graph the output `box_score` float32[N]; for `write_model`."""

    def add(graph: "onnx.GraphProto") -> None:
        nodes = GraphBuilder(graph, "box_score/")
        agreement = _agreement(nodes)
        scaled = nodes.add("Mul", agreement, nodes.constant([line.slope], np.float32, "slope"))
        shifted = nodes.add("Add", scaled, nodes.constant([line.intercept], np.float32, "shift"))
        low, high = nodes.constant(0, np.float32, "low"), nodes.constant(1, np.float32, "high")
        nodes.add("Clip", shifted, low, high, output=BOX_SCORE)
        nodes.add_output(BOX_SCORE)

    return add


def _agreement(nodes: GraphBuilder) -> str:
    """float32[N], 0..1: the mean IoU of the cells' boxes with the predicted box."""
    axis = nodes.constant([2], np.int64, "axis")
    cells = nodes.constant([1], np.int64, "cells")

    def column(value: str, first: int, last: int) -> str:
        return nodes.add(
            "Slice",
            value,
            nodes.constant([first], np.int64, "first"),
            nodes.constant([last], np.int64, "last"),
            axis,
        )

    def area(low: str, high: str) -> str:
        """float32[N,M,1] from corners float32[N,M,2]."""
        sides = nodes.add("Relu", nodes.add("Sub", high, low))
        return nodes.add("Mul", column(sides, 0, 1), column(sides, 1, 2))

    weights = nodes.add("Softmax", column(PROPOSALS, 0, 1), axis=1)
    low, high = column(PROPOSALS, 1, 3), column(PROPOSALS, 3, 5)
    box = nodes.add("Reshape", BOX_IN_INPUT, nodes.constant([-1, 1, 4], np.int64, "shape"))
    box_low, box_high = column(box, 0, 2), column(box, 2, 4)
    shared = area(nodes.add("Max", low, box_low), nodes.add("Min", high, box_high))
    total = nodes.add("Add", area(low, high), area(box_low, box_high))
    union = nodes.add("Sub", total, shared)
    tiny = nodes.constant([np.finfo(np.float32).tiny], np.float32, "tiny")
    overlap = nodes.add("Div", shared, nodes.add("Max", union, tiny))
    mean = nodes.add("ReduceSum", nodes.add("Mul", weights, overlap), cells, keepdims=0)
    return nodes.add("Squeeze", mean, cells)
