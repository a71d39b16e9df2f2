"""Run a frozen GraphDef (`.pb`) in TensorFlow, which is imported when a graph is opened.

Source of the defaults for missing information: scripts/label_image.py of TensorFlow-for-Poets, and
inception-2015-12-05, which takes 299 pixels at its node `Mul`.
"""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.compat.graph_reader import (
    INCEPTION_INPUT,
    MEAN,
    STD,
    GraphRecord,
    find_nodes,
    parse_graph_def,
    read_graph_bytes,
    read_record,
)
from sharpeye.core.arrays import Array, Floats, Pixels
from sharpeye.core.types import InputSpec
from sharpeye.errors import MissingExtra, ModelError, UsageError, one_line

# Inception v3 takes 0.3 GB with its weights.
_MAX_VALUE_BYTES = 2**30
_INCEPTION_SIDE, _SIDE = 299, 224  # pixels
_INPUT_DEFAULTS = {"channels": 3, "fit": "stretch", "filter": "bilinear_asymmetric"}


def _flag(text: str, default: str = "", **settings: Any) -> Any:
    default = f" [the graph's own, else {default}]" if default else ""
    return field(default=None, metadata={"help": f"{text}{default}.", **settings})


@dataclass(frozen=True, slots=True)
class GraphFlags:
    """The caller's facts about a graph; None takes the graph's own."""

    input_height: int | None = _flag("Pixels", "299 for Mul, else 224", min=1, max=4096)
    input_width: int | None = _flag("Pixels, likewise", min=1, max=4096)
    input_mean: float | None = _flag("It takes (grey level 0..255 - mean) / std", "128")
    input_std: float | None = _flag("See --input_mean", "128")
    input_layer: str | None = _flag("A node", "input, Mul or the only placeholder", metavar="NODE")
    output_layer: str | None = _flag("A node", "final_result or the last Softmax", metavar="NODE")


@dataclass(frozen=True)
class FrozenGraph:
    """A graph that is ready to run.

    Attributes:
        labels: class names in the graph itself, in the order of its scores.
        classes: number of scores; None if it is unknown before a run.
        mean, std: see `GraphFlags`.
    """

    file: Path
    input: InputSpec
    labels: tuple[str, ...] | None
    classes: int | None
    mean: float
    std: float
    _session: Any
    _input_tensor: Any
    _output_tensor: Any

    def scale(self, pixels: Floats) -> Array:
        """float32[H,W,C] 0..255 to a batch for `run`: [1,H,W,C] in the graph's own float type."""
        scaled = (pixels - np.float32(self.mean)) / np.float32(self.std)
        return scaled[None].astype(self._input_tensor.dtype.as_numpy_dtype, copy=False)

    def decode_jpeg(self, data: bytes) -> Pixels:
        """uint8[H,W,3], by TensorFlow's own fast arithmetic."""
        import tensorflow as tf

        pixels: Pixels = tf.io.decode_jpeg(
            data, channels=3, dct_method="INTEGER_FAST", try_recover_truncated=True
        ).numpy()
        return pixels

    def run(self, batch: Array) -> Floats:
        """The scores of one image, float32[C].

        Raises:
            ModelError: the graph fails on the image, or does not return one score per class.
        """
        try:
            output = self._session.run(self._output_tensor, {self._input_tensor: batch})
        except MemoryError:
            raise
        except Exception as error:  # TensorFlow's errors have no common base
            reason = one_line(error) or type(error).__name__
            raise ModelError(f"{self.file} does not run: {reason}") from None
        scores = np.asarray(output)
        if scores.size != max(scores.shape, default=1):
            raise ModelError(
                f"{self.file}: {self._output_tensor.op.name} gives {list(scores.shape)}, not one "
                "score a class; name another node with --output_layer"
            )
        return scores.reshape(-1).astype(np.float32)


def open_frozen_graph(file: Path, flags: GraphFlags) -> FrozenGraph:
    """Open a frozen GraphDef.

    Flags that are None come from the record in a graph that SharpEye wrote. Without a record the
    nodes are those of `find_nodes`, the size is the input's shape, or 299 pixels for `Mul` and 224
    for other inputs, and mean and std are 128.

    Raises:
        UsageError: no such file, or a flag is out of range or contradicts the input's shape.
        ModelError: the graph is damaged or refused, lacks the nodes, or does not take images.
        MissingExtra: TensorFlow is not installed.
    """
    data = read_graph_bytes(file)  # before importing TensorFlow, which takes seconds
    tf = _import_tensorflow(file)
    definition = parse_graph_def(data, file)
    record = read_record(definition, file)
    input_name, output_name = find_nodes(
        definition,
        file,
        input_layer=flags.input_layer or (record.input_layer if record else None),
        output_layer=flags.output_layer or (record.output_layer if record else None),
    )
    for node in definition.node:
        node.device = ""  # the placement on the machine that trained it
    graph = tf.Graph()
    try:
        with graph.as_default():
            tf.import_graph_def(definition, name="")
        input_tensor = graph.get_operation_by_name(input_name).outputs[0]
        output_tensor = graph.get_operation_by_name(output_name).outputs[0]
    except Exception as error:  # ValueError, KeyError, IndexError or any of TensorFlow's own
        reason = one_line(error) or type(error).__name__
        raise ModelError(f"{file} is not a graph that runs: {reason}") from None
    _check_memory(graph, file)
    mean, std = _find_scale(flags, record)
    return FrozenGraph(
        file=file,
        input=_find_input_spec(input_tensor, flags, record, file=file),
        labels=record.labels if record else None,
        classes=output_tensor.shape.as_list()[-1] if output_tensor.shape.rank == 2 else None,
        mean=mean,
        std=std,
        _session=tf.Session(graph=graph),
        _input_tensor=input_tensor,
        _output_tensor=output_tensor,
    )


def _check_memory(graph: Any, file: Path) -> None:
    """Refuse a graph whose values for one image take too much memory, before any is computed.

    A node of a few bytes can fill terabytes. TensorFlow infers the shapes from the constants.
    """
    count = 0
    for operation in graph.get_operations():
        for tensor in operation.outputs:
            sides = tensor.shape.as_list() if tensor.shape.rank is not None else ()
            count += math.prod(side or 1 for side in sides) * tensor.dtype.size
            if count > _MAX_VALUE_BYTES:
                raise ModelError(
                    f"{file} is refused: its values for one image take more than "
                    f"{_MAX_VALUE_BYTES >> 30} GiB, up to its node {operation.name}"
                )


def _import_tensorflow(file: Path) -> Any:
    # TensorFlow announces oneDNN on stderr at any log level. Without oneDNN it is silent, and
    # rounds like the versions that wrote such graphs.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        import tensorflow
    except ImportError:
        raise MissingExtra("TensorFlow", "train", f"running {file}") from None
    return tensorflow.compat.v1


def _find_scale(flags: GraphFlags, record: GraphRecord | None) -> tuple[float, float]:
    mean, std = (record.mean, record.std) if record else (MEAN, STD)
    mean = mean if flags.input_mean is None else flags.input_mean
    std = std if flags.input_std is None else flags.input_std
    if not (math.isfinite(mean) and math.isfinite(std)) or std == 0:
        raise UsageError(
            "--input_mean and --input_std must be finite, and std not 0. "
            f"Received: mean {mean:g}, std {std:g}"
        )
    return mean, std


def _find_input_spec(
    tensor: Any, flags: GraphFlags, record: GraphRecord | None, *, file: Path
) -> InputSpec:
    shape = [None] * 4 if tensor.shape.rank is None else tensor.shape.as_list()
    is_image = len(shape) == 4 and shape[0] in (None, 1) and shape[3] in (None, 1, 3)
    if not is_image or not tensor.dtype.is_floating:
        raise ModelError(
            f"{file}: {tensor.op.name} takes {tensor.dtype.name}{shape}, not images as "
            "float32[1,height,width,3]; name another node with --input_layer"
        )
    _, height, width, channels = shape
    for flag, requested, fixed in (
        ("--input_height", flags.input_height, height),
        ("--input_width", flags.input_width, width),
    ):
        if requested and fixed and requested != fixed:
            raise UsageError(
                f"{flag} {requested} contradicts {file}, which takes images of "
                f"{width or 'any'} x {height or 'any'} pixels; leave the flag out"
            )
    side = _INCEPTION_SIDE if tensor.op.name == INCEPTION_INPUT else _SIDE
    spec = record.input.to_dict() if record else _INPUT_DEFAULTS | {"height": side, "width": side}
    sizes = {
        "height": flags.input_height or height or spec["height"],
        "width": flags.input_width or width or spec["width"],
        "channels": channels or spec["channels"],
    }
    return InputSpec.from_dict(spec | sizes)
