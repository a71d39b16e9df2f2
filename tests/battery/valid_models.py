"""Small valid models of all kinds, and the generators of hostile ones in tests/artefact."""

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "artefact"))

from good_model import GoodModel, make_good_model, set_metadata, with_digest

__all__ = ("GoodModel", "make_good_model", "set_metadata", "with_digest")


def frozen_graph(side: int = 32, *, record: dict[str, Any] | None = None) -> Any:
    """A GraphDef of one convolution, a pooling, a dense layer and a softmax, four classes."""
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    graph, random = GraphDef(), np.random.default_rng(0)

    def add(name: str, op: str, *inputs: str) -> Any:
        node = graph.node.add(name=name, op=op, input=inputs)
        node.attr["T" if op not in ("Const", "Placeholder") else "dtype"].type = 1
        return node

    def constant(name: str, values: Any) -> None:
        tensor = add(name, "Const").attr["value"].tensor
        tensor.dtype, tensor.tensor_content = 1, np.asarray(values, np.float32).tobytes()
        for size in np.shape(values):
            tensor.tensor_shape.dim.add(size=size)

    def spatial(name: str, op: str, *inputs: str, **sizes: int) -> None:
        node = add(name, op, *inputs)
        node.attr["padding"].s = b"VALID"
        for key, size in sizes.items():
            node.attr[key].list.i.extend([1, size, size, 1])

    image = add("input", "Placeholder").attr["shape"].shape
    for size in (-1, side, side, 3):
        image.dim.add(size=size)
    constant("kernel", random.normal(0, 0.1, (3, 3, 3, 8)))
    constant("bias", np.zeros(8))
    spatial("conv", "Conv2D", "input", "kernel", strides=2)
    add("biased", "BiasAdd", "conv", "bias")
    add("relu", "Relu6", "biased")
    last = (side - 3) // 2 + 1
    spatial("pool", "AvgPool", "relu", strides=1, ksize=last)
    constant("weights", random.normal(0, 1, (8, 4)))
    shape = add("shape", "Const")
    shape.attr["dtype"].type = 3
    tensor = shape.attr["value"].tensor
    tensor.dtype, tensor.tensor_content = 3, np.array([-1, 8], np.int32).tobytes()
    tensor.tensor_shape.dim.add(size=2)
    add("flat", "Reshape", "pool", "shape").attr["Tshape"].type = 3
    add("logits", "MatMul", "flat", "weights")
    output = add("final_result", "Softmax", "logits")
    if record is not None:
        output.attr["_sharpeye"].s = json.dumps(record).encode()
    return graph


def graph_record(**changes: Any) -> dict[str, Any]:
    """The record that SharpEye writes into the output node of a graph."""
    return {
        "labels": ["ash", "birch", "cedar", "oak"],
        "input": {"height": 32, "width": 32, "fit": "stretch", "channels": 3},
        "graph": {"input_layer": "input", "output_layer": "final_result", "mean": 128, "std": 128},
        **changes,
    }


def hdf5(layout: str = "legacy") -> bytes:
    """A weights file with one layer, in the older layout of Keras or in that of Keras 3."""
    import h5py

    values, buffer = np.arange(6, dtype="float32").reshape(2, 3), io.BytesIO()
    with h5py.File(buffer, "w") as file:
        if layout == "legacy":
            file.attrs["layer_names"] = ["conv"]
            group = file.create_group("conv")
            group.attrs["weight_names"] = ["conv/kernel:0"]
            group["conv/kernel:0"] = values
        else:
            file["layers/conv2d/vars/0"] = values
            file["layers/dense/vars/0"] = values
    return buffer.getvalue()


def keras_archive(arrays: bytes | None = None, config: str | None = None, method: int = 0) -> bytes:
    """A `.keras` archive; by default of two layers with names."""
    layers = [
        {"class_name": kind, "config": {"name": name}}
        for kind, name in (("Conv2D", "first"), ("Dense", "last"))
    ]
    text = json.dumps({"class_name": "Functional", "config": {"name": "m", "layers": layers}})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo("config.json"), text if config is None else config, method)
        archive.writestr(
            zipfile.ZipInfo("model.weights.h5"),
            hdf5("keras3") if arrays is None else arrays,
            method,
        )
    return buffer.getvalue()
