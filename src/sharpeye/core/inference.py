"""Run frozen graphs in ONNX Runtime. No other module does."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sharpeye.core.arrays import Floats, Pixels
from sharpeye.core.types import InputSpec
from sharpeye.errors import ModelError, one_line

# ONNX Runtime's packages since 1.32 report their use to Microsoft by default, on Linux, too. It
# reads this variable when it is loaded; a value that the user has set stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def available_cores() -> int:
    """Number of processors that this process may use; `$SHARPEYE_CORES` lowers it."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    limit = os.environ.get("SHARPEYE_CORES", "")
    return min(cores, max(1, int(limit))) if limit.isdecimal() else cores


Shape = tuple[int, int, int]  # height, width, channels of a feature map

# `run` returns these outputs only if they are named. ONNX Runtime computes them in any case: its
# option `only_execute_path_to_fetches` works only in its training builds (1.31).
_ON_DEMAND = ("heat",)


@dataclass(frozen=True)
class Backbone:
    """A frozen network up to its pooled features.

    The graph is ONNX, uint8[N,H,W,C] to `features` float32[N,D] and, with maps, to `maps`
    float32[N,M]: all maps flattened, one after the other, each with its channels first.
    """

    name: str  # as `sharpeye models` lists it
    graph_file: Path
    graph_sha256: str  # of that file; it is part of every cache key
    input: InputSpec  # how an image is resized to the graph's input
    maps: tuple[Shape, ...] = ()  # shapes of the feature maps, from fine to coarse

    def with_bit_depth(self, bit_depth: int) -> "Backbone":
        """The network with an input that is read by so many significant bits."""
        return replace(self, input=replace(self.input, bit_depth=bit_depth))


class Graph:
    """A frozen graph: uint8 images in, named float32 arrays out.

    Safe to run from several threads at once.

    Args:
        model: the file, or its bytes.
        threads: threads within one `run`; 1 where the caller runs several at once.
        name: of the model in messages; by default the path.

    Raises:
        ModelError: not an ONNX model that ONNX Runtime can open.
    """

    def __init__(self, model: Path | bytes, threads: int = 1, name: str = "") -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        source = os.fspath(model) if isinstance(model, Path) else model
        name = name or (str(model) if isinstance(model, Path) else "the model")
        try:
            providers = ["CPUExecutionProvider"]
            self._session = onnxruntime.InferenceSession(source, options, providers=providers)
        except Exception as error:  # ONNX Runtime's errors have no common base.
            reason = one_line(error)
            raise ModelError(f"{name} is not a model that ONNX Runtime opens: {reason}") from None
        if not self._session.get_inputs():
            raise ModelError(f"{name} takes no input")
        self._input: str = self._session.get_inputs()[0].name
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())
        self._default_outputs = tuple(name for name in self.outputs if name not in _ON_DEMAND)

    @property
    def metadata(self) -> dict[str, str]:
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def input_shape(self) -> tuple[Any, ...]:
        """Shape of one image: (height, width, channels); a dynamic axis is None or a text."""
        return tuple(self._session.get_inputs()[0].shape[1:])

    def output_width(self, index: int = 0) -> int:
        """Length of an output's last axis (features, classes, edges); 0 if it is dynamic."""
        last = [None, *self._session.get_outputs()[index].shape][-1]
        return last if isinstance(last, int) else 0

    def run(self, pixels: Pixels, names: Sequence[str] = ()) -> dict[str, Floats]:
        """Run a batch: uint8[N, height, width, channels], 0..255, to float32[N, ...] by output.

        `names` are those of the outputs; by default all but "heat".
        """
        names = tuple(names) or self._default_outputs
        values: list[Any] = self._session.run(names, {self._input: pixels})
        return dict(zip(names, values, strict=True))
