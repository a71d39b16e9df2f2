"""Judges a graph before a runtime opens it: what it needs, and what it gives.

A graph is a program. It is let in if it has only operations that SharpEye writes, and if the sizes
of all values are known from the size of the image: so it ends, and how much memory and work it
needs is known beforehand. The bounds are several times what the largest networks need.
"""

import math

import numpy as np

from sharpeye.artefact.verify.inferred_value import GraphError, Shape, Value, constant, made
from sharpeye.artefact.verify.onnx_parser import UINT8, OnnxFile, Port
from sharpeye.artefact.verify.shape_inference import Step

# What SharpEye has written is of IR 8 and 9 and of opsets 15 to 18; a little more is let in.
_IR_VERSIONS, _OPSETS = range(7, 12), range(13, 22)

_MAX_NODES = 20_000

# For one image: what any network may need, what it may need more a pixel of its input, and the
# most in all. EfficientNet-Lite0 needs 450 and 8,000 a pixel, Inception v3 260 and 64,000.
_NUMBERS = (2**26, 1_500, 2**32)  # of all values together: up to four bytes each, mostly
_WORK = (10**10, 500_000, 10**12)  # multiplications


def check_graph(model: OnnxFile, image: Shape) -> dict[str, Value]:
    """The outputs of a graph that is let in, in order.

    Args:
        image: height, width and channels of the images that it will be given.

    Raises:
        GraphError: anything about it is not as SharpEye writes it, or it needs too much.
    """
    if model.ir_version not in _IR_VERSIONS or model.opset not in _OPSETS:
        raise GraphError(
            f"it is ONNX of IR {model.ir_version} and opset {model.opset}; allowed are IR "
            f"{_span(_IR_VERSIONS)} and opset {_span(_OPSETS)}"
        )
    if len(model.nodes) > _MAX_NODES:
        raise GraphError(f"it has {len(model.nodes)} operations; allowed are {_MAX_NODES}")
    with np.errstate(all="ignore"):
        return _walked(model, image)


def _walked(model: OnnxFile, image: Shape) -> dict[str, Value]:
    values = _constants(model)
    _add(values, _input(model, image))
    numbers_left, work_left = (
        min(most, any_size + a_pixel * image[0] * image[1])
        for any_size, a_pixel, most in (_NUMBERS, _WORK)
    )
    for node in model.nodes:
        try:
            inputs = [values[name] if name else None for name in node.inputs]
        except KeyError as error:
            raise GraphError(f"{node.op[:40]!r} takes {error}, which is not there") from None
        try:
            step = Step(node, inputs)
            found = step.result()
            work_left -= step.work
            numbers_left -= found.size
            if min(numbers_left - step.room, work_left) < 0:
                raise GraphError("it needs more memory or time than any network of SharpEye's")
            _add(values, (node.output, found))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            reason = error if isinstance(error, GraphError) else "SharpEye does not write it so"
            raise GraphError(f"{node.op[:40]!r} ({node.output[:60]!r}): {reason}") from None
    for port in model.outputs:
        if port.name not in values:
            raise GraphError(f"its output {port.name[:60]!r} is not there")
    # A quantizer leaves notes behind of values that it took out.
    _check_notes([*model.outputs, *(n for n in model.notes if n.name in values)], values)
    return {port.name: values[port.name] for port in model.outputs}


def _span(versions: range) -> str:
    return f"{versions[0]} to {versions[-1]}"


def _add(values: dict[str, Value], item: tuple[str, Value]) -> None:
    name, value = item
    if not name or name in values:
        raise GraphError(f"two values have the name {name[:60]!r}")
    values[name] = value


def _constants(model: OnnxFile) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for tensor in model.tensors:
        found = tensor.values
        # The sum is quick, and no number if one of them is none; large ones add up to infinity.
        suspect = found.dtype.kind == "f" and not math.isfinite(np.add.reduce(found, None))
        if suspect and not np.isfinite(found).all():
            raise GraphError(f"the constant {tensor.name[:60]!r} is not finite")
        _add(values, (tensor.name, constant(found, tensor.kind)))
    return values


def _input(model: OnnxFile, image: Shape) -> tuple[str, Value]:
    if len(model.inputs) != 1:
        raise GraphError(f"it has {len(model.inputs)} inputs; a model takes pictures only")
    port = model.inputs[0]
    sides = port.shape or ()
    fits = len(sides) == 4 and all(s in (None, p) for s, p in zip(sides[1:], image, strict=True))
    if port.kind != UINT8 or not fits or sides[0] not in (None, 1):
        shown = ["N" if side is None else side for side in sides]
        raise GraphError(
            f"its input {port.name[:60]!r} is {'' if port.kind == UINT8 else 'not '}uint8"
            f"{shown}; it must be uint8[N,{','.join(map(str, image))}]"
        )
    return port.name, made((1, *image), UINT8, batched=True)


def _check_notes(ports: list[Port], values: dict[str, Value]) -> None:
    """What a file says of its values must be so: a runtime may plan its memory by it."""
    for port in ports:
        found = values[port.name]
        said = port.shape if port.shape is not None else found.shape
        fits = len(said) == len(found.shape) and port.kind in (0, found.kind)
        if not fits or any(s not in (None, f) for s, f in zip(said, found.shape, strict=True)):
            raise GraphError(
                f"it says {list(said)} of {port.name[:60]!r}, which is {list(found.shape)}"
            )
