"""Quantize `model.onnx` to 8 bits: a quarter of the bytes, faster where CPUs support it.

Static quantization (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html)
rounds each tensor within its range on calibration images, from the smallest to the largest value:
percentiles gave no better agreement with the float model, and keep all activations in memory.
Weights have a scale per channel, as depthwise convolutions with folded batch norms need. They use
all 8 bits, though x86 processors without VNNI may overflow then: with 7 bits (`reduce_range`),
top-1 agreement fell from 1.00 to 0.56 on noisy images.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.artefact.onnx_model import load_onnx, needed_values, save_onnx
from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.artefact.write_model import FEATURES
from sharpeye.core.arrays import Floats, Ints, Pixels
from sharpeye.core.storage import atomic_path
from sharpeye.core.types import InputSpec, Sample
from sharpeye.data.sample_image import load_sample
from sharpeye.errors import DataError, ImageReadError, MissingExtra, ModelError, one_line

if TYPE_CHECKING:
    import onnx

CALIBRATION_IMAGES = 100

# The operations between convolutions are quantized too: convolutions alone give no gain in speed.
# The pooled features and the head are few numbers, and stay float.
_QUANTIZED = ("Conv", "Clip", "Relu", "Add", "Mul", "MaxPool", "AveragePool", "Concat", "Pad")
_POOLING = ("GlobalAveragePool", "ReduceMean", "Flatten")


def quantize_model(model_file: Path, samples: Sequence[Sample], out: Path) -> None:
    """Write a model again, with its convolutions in 8 bits.

    Args:
        model_file: an `.onnx` file that SharpEye wrote: uint8[N,H,W,C] to `probs` float32[N,C].
        samples: images with digests, which give the ranges of activations. At most
            `CALIBRATION_IMAGES` are read, from each class in turn; unreadable ones are skipped.
            Measure the result on other images.

    Raises:
        MissingExtra: onnx is not installed.
        ModelError: the model is already quantized, or cannot be; or as `open_model`.
        DataError: no sample can be read.
    """
    try:
        from onnxruntime import quantization
    except ImportError:
        raise MissingExtra("onnx", "train", "quantizing a model") from None
    opened = open_model(model_file)
    model = load_onnx(model_file, "quantizing a model")
    node_names = _nodes_to_quantize(model.graph, model_file)
    calibration = _Calibration(samples, opened, model.graph.input[0].name)
    with atomic_path(out) as temporary:
        try:
            with _silent_root_logger():
                quantization.quantize_static(
                    model,
                    temporary,
                    calibration,
                    quant_format=quantization.QuantFormat.QDQ,
                    op_types_to_quantize=list(_QUANTIZED),
                    nodes_to_quantize=node_names,
                    per_channel=True,
                    activation_type=quantization.QuantType.QUInt8,
                    weight_type=quantization.QuantType.QInt8,
                    calibrate_method=quantization.CalibrationMethod.MinMax,
                )
            _copy_metadata(model, temporary)
        except OSError:
            raise
        except Exception as error:  # onnx and its quantizer have no common base for their errors
            raise ModelError(f"{model_file} cannot be quantized: {one_line(error)}") from None


def compare_accuracy(
    float_probs: Floats, int8_probs: Floats, targets: Ints, *, float_file: Path, int8_file: Path
) -> dict[str, Any]:
    """The cost and the gain of quantization.

    Args:
        float_probs, int8_probs: float[N,C], N >= 1, of the two models for the same images.
        targets: int[N], the right class of each.

    Returns:
        `float_accuracy`, `int8_accuracy` and `top1_agreement`, 0..1; `drop`, the first minus the
        second, negative if the int8 model is better; `float_bytes` and `int8_bytes`.
    """
    float_classes, int8_classes = float_probs.argmax(1), int8_probs.argmax(1)
    float_accuracy = float((float_classes == targets).mean())
    int8_accuracy = float((int8_classes == targets).mean())
    return {
        "float_accuracy": float_accuracy,
        "int8_accuracy": int8_accuracy,
        "drop": float_accuracy - int8_accuracy,
        "top1_agreement": float((float_classes == int8_classes).mean()),
        "float_bytes": float_file.stat().st_size,
        "int8_bytes": int8_file.stat().st_size,
    }


def _nodes_to_quantize(graph: "onnx.GraphProto", file: Path) -> list[str]:
    """Names of the nodes from the first convolution up to the pooled features."""
    if any(node.op_type == "DequantizeLinear" for node in graph.node):
        raise ModelError(f"{file} is quantized already; give the model that it was made from")
    needed = needed_values(graph, (FEATURES,))  # the other outputs are few numbers, like the head's
    unpooled: set[str] = set()  # values after a convolution and before pooling
    names: list[str] = []
    for node in graph.node:  # in the order of computation, as ONNX demands
        follows = node.op_type == "Conv" or not unpooled.isdisjoint(node.input)
        if not follows or node.op_type in _POOLING or needed.isdisjoint(node.output):
            continue
        unpooled.update(node.output)
        if node.op_type in _QUANTIZED:
            names.append(node.name)
    if not names:  # the quantizer would read an empty list as all nodes
        raise ModelError(f"{file} holds no convolution to quantize")
    return names


class _Calibration:
    """Hands images to the quantizer one at a time, by the one method that it calls."""

    def __init__(self, samples: Sequence[Sample], model: OpenModel, input_name: str) -> None:
        readable = _load_readable(_alternate_classes(samples), model.manifest.input)
        images = islice(readable, CALIBRATION_IMAGES)
        first = next(images, None)
        if first is None:
            raise DataError(
                f"none of the {len(samples)} images to calibrate with can be read; "
                "quantizing a model needs images it was trained on"
            )
        self._images, self._input, self._model = chain([first], images), input_name, model

    def get_next(self) -> dict[str, Pixels] | None:
        """uint8[1,H,W,C] under the input's name; None after the last."""
        image = next(self._images, None)
        return None if image is None else {self._input: self._model.as_input(image[None])}


def _alternate_classes(samples: Sequence[Sample]) -> list[Sample]:
    """The first sample of each class, then the second of each, by digest within a class."""
    counts: Counter[str] = Counter()
    ranked: list[tuple[int, str, Sample]] = []
    for sample in sorted(samples, key=lambda sample: sample.sha256):
        counts[sample.label] += 1
        ranked.append((counts[sample.label], sample.label, sample))
    return [sample for *_, sample in sorted(ranked, key=lambda entry: entry[:2])]


def _load_readable(samples: Sequence[Sample], spec: InputSpec) -> Iterator[Pixels]:
    for sample in samples:
        with suppress(ImageReadError):
            yield load_sample(sample, spec)


@contextmanager
def _silent_root_logger() -> Iterator[None]:
    """Drop the quantizer's messages to the root logger; other loggers are unchanged."""
    # The handler keeps `logging.warning` from setting up logging for the whole process.
    root, handler = logging.getLogger(), logging.NullHandler()
    drop_all = logging.Filter("no logger has this name")
    root.addHandler(handler)
    root.addFilter(drop_all)
    try:
        yield
    finally:
        root.removeFilter(drop_all)
        root.removeHandler(handler)


def _copy_metadata(model: "onnx.ModelProto", file: Path) -> None:
    """Give a file the metadata of a model, without the quantizer's own entries."""
    import onnx

    quantized = onnx.load(file)
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(model.metadata_props)
    save_onnx(quantized, file)
