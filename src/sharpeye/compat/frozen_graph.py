"""Needs TensorFlow, which is imported when a graph is opened: runs a frozen GraphDef (`.pb`).

Source of what is assumed where a graph is silent: scripts/label_image.py of
TensorFlow-for-Poets, and inception-2015-12-05, which takes 299 pixels at its node `Mul`.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.compat.graph_reader import (
    INCEPTION_INPUT,
    Record,
    find_nodes,
    parse_graph_def,
    read_graph_bytes,
    read_record,
)
from sharpeye.core.types import InputSpec
from sharpeye.errors import MissingExtra, ModelError, UsageError

Floats = npt.NDArray[np.float32]

_INCEPTION_SIDE, _SIDE = 299, 224  # pixels
_MEAN, _STD = 128.0, 128.0
_STRETCHED = {"channels": 3, "fit": "stretch", "filter": "bilinear_asymmetric"}


@dataclass(frozen=True, slots=True)
class GraphFlags:
    """What the caller says about a graph; None leaves it to the graph.

    Attributes:
        input_height, input_width: pixels, 1..4096.
        input_mean, input_std: the graph takes (grey level 0..255 - mean) / std.
        input_layer, output_layer: names of nodes.
    """

    input_height: int | None = None
    input_width: int | None = None
    input_mean: float | None = None
    input_std: float | None = None
    input_layer: str | None = None
    output_layer: str | None = None


@dataclass(frozen=True)
class FrozenGraph:
    """A graph that is ready to run.

    Attributes:
        file: where it came from.
        input: how an image becomes its input.
        labels: class names that the graph carries itself, in the order of its scores.
        classes: how many scores it gives; None if only a run can tell.
        mean, std: see `GraphFlags`.
    """

    file: Path
    input: InputSpec
    labels: tuple[str, ...] | None
    classes: int | None
    mean: float
    std: float
    _session: Any
    _fed: Any
    _fetched: Any

    def scale(self, pixels: Floats) -> npt.NDArray[Any]:
        """float32[H,W,C] 0..255 to what `run` takes: [1,H,W,C] in the graph's own float type."""
        scaled = (pixels - np.float32(self.mean)) / np.float32(self.std)
        return scaled[None].astype(self._fed.dtype.as_numpy_dtype, copy=False)

    def decode_jpeg(self, data: bytes) -> npt.NDArray[np.uint8]:
        """uint8[H,W,3], by TensorFlow's own quick arithmetic."""
        import tensorflow as tf

        decoded = tf.io.decode_jpeg(
            data, channels=3, dct_method="INTEGER_FAST", try_recover_truncated=True
        )
        pixels: npt.NDArray[np.uint8] = decoded.numpy()
        return pixels

    def run(self, batch: npt.NDArray[Any]) -> Floats:
        """The scores of one image, float32[C].

        Raises:
            ModelError: the graph fails on it, or gives something else than a score a class.
        """
        try:
            found = np.asarray(self._session.run(self._fetched, {self._fed: batch}))
        except MemoryError:
            raise
        except Exception as error:  # what an unknown graph ends with has no common base
            raise ModelError(f"{self.file} does not run: {_one_line(error)}") from None
        if found.size != max(found.shape, default=1):
            raise ModelError(
                f"{self.file}: {self._fetched.op.name} gives {list(found.shape)}, not one score a "
                "class; name another node with --output_layer"
            )
        return found.reshape(-1).astype(np.float32)


def open_frozen_graph(file: Path, flags: GraphFlags) -> FrozenGraph:
    """Open a frozen GraphDef.

    What the flags leave open is what a graph of SharpEye's says of itself, else the nodes are
    those of `find_nodes`, the size is that of the input's shape, or 299 pixels for `Mul` and 224
    for others, mean and std are 128.

    Raises:
        UsageError: no such file; a flag is out of range, or contradicts the input's shape.
        ModelError: damaged, refused, without the nodes, or not made for images.
        MissingExtra: TensorFlow is not installed.
    """
    data = read_graph_bytes(file)  # before TensorFlow, which takes seconds to import
    tf = _tensorflow(file)
    definition = parse_graph_def(data, file)
    record = read_record(definition, file)
    input_name, output_name = find_nodes(
        definition,
        flags.input_layer or (record.input_layer if record else None),
        flags.output_layer or (record.output_layer if record else None),
        file,
    )
    for node in definition.node:
        node.device = ""  # of the machine that trained it
    graph = tf.Graph()
    try:
        with graph.as_default():
            tf.import_graph_def(definition, name="")
        fed = graph.get_operation_by_name(input_name).outputs[0]
        fetched = graph.get_operation_by_name(output_name).outputs[0]
    except Exception as error:  # ValueError, KeyError, IndexError or any of TensorFlow's own
        raise ModelError(f"{file} is not a graph that runs: {_one_line(error)}") from None
    mean, std = _find_scale(flags, record)
    return FrozenGraph(
        file=file,
        input=_find_input_spec(fed, flags, record, file),
        labels=record.labels if record else None,
        classes=fetched.shape.as_list()[-1] if fetched.shape.rank == 2 else None,
        mean=mean,
        std=std,
        _session=tf.Session(graph=graph),
        _fed=fed,
        _fetched=fetched,
    )


def _tensorflow(file: Path) -> Any:
    # TensorFlow tells of oneDNN on stderr whatever the level. Without oneDNN it is silent, and
    # rounds as it did when such graphs were made.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        import tensorflow
    except ImportError:
        raise MissingExtra("TensorFlow", "train", f"running {file}") from None
    return tensorflow.compat.v1


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _find_scale(flags: GraphFlags, record: Record | None) -> tuple[float, float]:
    mean, std = (record.mean, record.std) if record else (_MEAN, _STD)
    mean = mean if flags.input_mean is None else flags.input_mean
    std = std if flags.input_std is None else flags.input_std
    if not (math.isfinite(mean) and math.isfinite(std)) or std == 0:
        raise UsageError(
            "--input_mean and --input_std must be finite, and std not 0. "
            f"Received: mean {mean:g}, std {std:g}"
        )
    return mean, std


def _find_input_spec(fed: Any, flags: GraphFlags, record: Record | None, file: Path) -> InputSpec:
    shape = [None] * 4 if fed.shape.rank is None else fed.shape.as_list()
    fits = len(shape) == 4 and shape[0] in (None, 1) and shape[3] in (None, 1, 3)
    if not fits or not fed.dtype.is_floating:
        raise ModelError(
            f"{file}: {fed.op.name} takes {fed.dtype.name}{shape}, not pictures as "
            "float32[1,height,width,3]; name another node with --input_layer"
        )
    _, high, wide, channels = shape
    for flag, asked, taken in (
        ("--input_height", flags.input_height, high),
        ("--input_width", flags.input_width, wide),
    ):
        if asked and taken and asked != taken:
            raise UsageError(
                f"{flag} {asked} contradicts {file}, which takes pictures of "
                f"{wide or 'any'} x {high or 'any'} pixels; leave the flag out"
            )
    side = _INCEPTION_SIDE if fed.op.name == INCEPTION_INPUT else _SIDE
    said = record.input.to_dict() if record else _STRETCHED | {"height": side, "width": side}
    known = {
        "height": flags.input_height or high or said["height"],
        "width": flags.input_width or wide or said["width"],
        "channels": channels or said["channels"],
    }
    return InputSpec.from_dict(said | known)
