"""Write a backbone and a head as a frozen TensorFlow graph (`.pb`), without TensorFlow.

It is for programs that were written for TensorFlow for Poets (`scripts/label_image.py` of
googlecodelabs/tensorflow-for-poets-2): they normalise the images, its head has the node names of
`image_retraining/retrain.py` of tensorflow/hub, and its operations are those of TensorFlow 1.4,
which TensorFlow 2 and TF Lite read as well.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.artefact.export.graph_def_nodes import FLOAT, NodeList, new_graph_def
from sharpeye.artefact.export.onnx_network import OnnxNetwork
from sharpeye.artefact.export.onnx_to_graph_def import translate_backbone
from sharpeye.core.storage import write_bytes
from sharpeye.errors import ModelError, UsageError
from sharpeye.learn.heads.head import SMOOTHING, SQUARE_ROOT_AT_ZERO, Head

FEATURES = "features"

_SCOPE = "final_training_ops"
_SMOOTH, _SMOOTHED = f"{_SCOPE}/smooth", f"{_SCOPE}/smoothed"
_ROOT = f"{_SCOPE}/Sqrt"
_WEIGHTS = f"{_SCOPE}/weights/final_weights"
_BIASES = f"{_SCOPE}/biases/final_biases"
_PRODUCT = f"{_SCOPE}/Wx_plus_b/MatMul"
_LOGITS = f"{_SCOPE}/Wx_plus_b/add"
_FIXED_NAMES = (FEATURES, _SMOOTH, _SMOOTHED, _ROOT, _WEIGHTS, _BIASES, _PRODUCT, _LOGITS)

# `_VALID_OP_NAME_REGEX` of tensorflow/python/framework/ops.py, before it allowed `>` and `\`; a
# final slash has another meaning there.
_LEGAL_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\-/]*(?<!/)")
_MAX_GRAPH_BYTES = 2**31 - 1  # the limit of any protobuf message


class GraphDefWriter:
    """Translates a backbone to D features once, and writes it with any number of heads."""

    def __init__(
        self,
        backbone_file: Path,
        *,
        input_name: str,
        output_name: str,
        mean: float = 128.0,
        std: float = 128.0,
        int8_weights: bool = False,
    ) -> None:
        """Translate a backbone.

        Args:
            backbone_file: ONNX, uint8[N,H,W,C] or float32[N,H,W,C], pixels 0..255, to features
                float32[N,D].
            input_name: node of the graph that takes float32[N,H,W,C], (pixels - mean) / std.
            output_name: node of the graph that gives probabilities float32[N,classes].
            mean, std: in grey levels; `std` above 0.
            int8_weights: store large kernels as int8, see `NodeList.kernel`: the file shrinks to a
                quarter; TensorFlow still computes in floats.

        Raises:
            MissingExtra: onnx or TensorBoard is not installed.
            UsageError: a name is not allowed or taken, or `std` is 0 or less.
            ModelError: the file is not a backbone, or has operations that cannot be translated.
        """
        require_node_names(input_name, output_name)
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise UsageError(
                f"`mean` must be finite and `std` above 0. Received: mean={mean}, std={std}"
            )
        network = OnnxNetwork(backbone_file)
        self.input_shape = network.shapes[network.input][1:]
        self.features = network.shapes.get(network.outputs[0], (0,))[-1]
        self._output_name = output_name
        nodes = NodeList(reserved=(input_name, output_name, *_FIXED_NAMES))
        nodes.add("Placeholder", input_name, dtype=FLOAT, shape=(None, *self.input_shape))
        last = translate_backbone(
            network, nodes, input_name, mean=mean, std=std, int8_weights=int8_weights
        )
        nodes.add("Identity", FEATURES, [last], T=FLOAT)
        self._backbone = nodes.to_bytes()

    def write(self, head: Head, file: Path, description: Mapping[str, Any] | None = None) -> None:
        """Write the graph, whole or not at all.

        Args:
            head: its weights are float32[D,C].
            description: JSON-ready values, for an attribute of the output node.

        Raises:
            ModelError: the head takes another number of features, or the graph is too large.
            EnvironmentFault: the file cannot be written.
        """
        if len(head.weights) != self.features:
            raise ModelError(
                f"the head takes {len(head.weights)} features, the backbone gives {self.features}"
            )
        # Protobuf reads two messages in a row as one, with the nodes of both.
        data = self._backbone + self._head_nodes(head, description)
        if len(data) > _MAX_GRAPH_BYTES:
            raise ModelError(f"the graph of {file} would be larger than 2 GiB")
        write_bytes(file, data)

    def outline(self, head: Head) -> bytes:
        """The graph without its weights, for TensorBoard to draw."""
        graph = new_graph_def()
        graph.ParseFromString(self._backbone + self._head_nodes(head, None))
        for node in graph.node:
            if node.op == "Const":
                node.attr["value"].tensor.ClearField("tensor_content")
        return bytes(graph.SerializeToString(deterministic=True))

    def _head_nodes(self, head: Head, description: Mapping[str, Any] | None) -> bytes:
        nodes, source, bias = NodeList(), FEATURES, head.bias
        if head.square_root:
            nodes.add("Const", _SMOOTH, dtype=FLOAT, value=np.array(SMOOTHING, np.float32))
            nodes.add("Add", _SMOOTHED, [FEATURES, _SMOOTH], T=FLOAT)
            source = nodes.add("Sqrt", _ROOT, [_SMOOTHED], T=FLOAT)
            # The head's input is the root minus its value at 0, which the bias absorbs.
            bias = bias - np.float32(SQUARE_ROOT_AT_ZERO) * head.weights.sum(axis=0)
        nodes.add("Const", _WEIGHTS, dtype=FLOAT, value=head.weights)
        nodes.add("Const", _BIASES, dtype=FLOAT, value=bias)
        nodes.add("MatMul", _PRODUCT, [source, _WEIGHTS], T=FLOAT)
        nodes.add("Add", _LOGITS, [_PRODUCT, _BIASES], T=FLOAT)
        attributes: dict[str, Any] = {"T": FLOAT}
        if description is not None:
            # TensorFlow ignores attributes with an underscore in front, on any node.
            attributes["_sharpeye"] = json.dumps(dict(description), ensure_ascii=False).encode()
        nodes.add("Softmax", self._output_name, [_LOGITS], **attributes)
        return nodes.to_bytes()


def require_node_names(input_name: str, output_name: str) -> None:
    """Raise UsageError unless a graph can have nodes of these names."""
    for argument, name, reserved in (
        ("input_name", input_name, _FIXED_NAMES),
        ("output_name", output_name, (*_FIXED_NAMES, input_name)),
    ):
        if not _LEGAL_NAME.fullmatch(name):
            raise UsageError(
                f"`{argument}` must be letters, digits and _ . - /, begin with a letter, a digit "
                f"or a dot, and not end with a slash. Received: {name!r}"
            )
        if name in reserved:
            raise UsageError(
                f"`{argument}` {name!r} is taken in this graph, as are {', '.join(reserved)}; "
                "choose another name"
            )
