"""Set the weights of a built model layer by layer from a file of Keras, and report the matches."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.core.formatting import name_list
from sharpeye.errors import ModelError
from sharpeye.models.weights.hdf5 import LayerArrays, Scope, snake_case, split_number
from sharpeye.models.weights.weight_file_check import check_weight_file
from sharpeye.models.weights.weight_files import WeightFile, read_weight_file

if TYPE_CHECKING:
    import keras

# The arrays of a file for each layer of the model, by the layer's name.
Pairs = dict[str, LayerArrays]


@dataclass(frozen=True)
class AssignReport:
    """Which layers of a model match which layers of a file.

    Attributes:
        matched: layers of the model that now have the file's weights.
        missing: layers of the model without weights in the file; they are unchanged.
        unused: layers of the file that the model does not have.
        mismatches: like `missing`, with both shapes if the shapes differ.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    mismatches: tuple[str, ...]


def load_weight_file(model: "keras.Model", path: Path) -> str:
    """Set the weights of a model from a file; returns a line that says which layers matched.

    Raises:
        UsageError: there is no such file.
        ModelError: the file is damaged, has forbidden content, or does not fit the model.
        MissingExtra: h5py is not installed.
    """
    check_weight_file(path)
    return describe(path, assign_weights(model, read_weight_file(path)))


def describe(path: Path, report: AssignReport) -> str:
    """One line: how many layers matched, and which are missing and unused."""
    # No layer of the backbone is missing: `assign_weights` refuses such a file.
    missing = f"{_join(report.mismatches)} (the ImageNet classifier)" if report.missing else "none"
    return (
        f"weights from {path.name}: {len(report.matched)} layers matched, missing: "
        f"{missing}, unused: {_join(report.unused)}"
    )


def assign_weights(model: "keras.Model", weights: WeightFile) -> AssignReport:
    """Set the weights of a built model's layers from a file's arrays.

    Layers are paired by name. Automatic names (`conv2d_7`) carry no meaning: these layers are
    paired by class and order. If that leaves gaps, all layers are paired by class and order, and in
    files of the older layout only by order, like in Keras: the files of keras.applications for
    MobileNetV2 and Inception do not have the names of its layers.

    Args:
        model: with the output `features`; the backbone is all layers that this depends on.

    Raises:
        ModelError: a layer of the backbone is missing in the file or has other shapes; then the
            model is unchanged.
    """
    import keras

    layers = [layer for layer in model.layers if layer.weights]
    inner = {layer.name for layer in keras.Model(model.input, model.output["features"]).layers}
    backbone = [layer for layer in layers if layer.name in inner]
    candidates = [pairs for scope in weights.scopes for pairs in _pairings(layers, scope, weights)]
    pairs = max(candidates, key=lambda pairs: _count_matched_arrays(backbone, pairs))
    gaps = [layer for layer in backbone if not _fits(layer, pairs)]
    if gaps:
        total = sum(len(layer.weights) for layer in backbone)
        matched_arrays = _count_matched_arrays(backbone, pairs)
        # A file with fewer of the backbone's arrays belongs to another network.
        is_same = matched_arrays >= 0.9 * total
        raise ModelError(
            f"{weights.path} {'lacks a part of' if is_same else 'is of another network than'} "
            f"{model.name}: {matched_arrays} of {total} weight arrays matched, missing: "
            f"{_join([_explain(layer, pairs) for layer in gaps])}; give the weights of this very "
            "network, or use --weights imagenet"
        )
    matched = [layer for layer in layers if _fits(layer, pairs)]
    for layer in matched:
        layer.set_weights(pairs[layer.name].arrays)
    missing = [layer for layer in layers if layer not in matched]
    used = {id(pairs[layer.name]) for layer in matched}
    return AssignReport(
        matched=tuple(layer.name for layer in matched),
        missing=tuple(layer.name for layer in missing),
        unused=tuple(
            stored.name or stored.path
            for scope in weights.scopes
            for stored in scope
            if id(stored) not in used
        ),
        mismatches=tuple(
            _explain(layer, pairs) if layer.name in pairs else layer.name for layer in missing
        ),
    )


def _pairings(layers: Sequence[Any], scope: Scope, weights: WeightFile) -> Iterable[Pairs]:
    """The possible pairings of layers, the most reliable first."""
    stored_by_name = {stored.name: stored for stored in scope if stored.name}
    automatic_layers = [layer for layer in layers if _is_automatic(layer.name, _kind(layer))]
    by_name = {
        layer.name: stored_by_name[layer.name]
        for layer in layers
        if layer.name in stored_by_name and layer not in automatic_layers
    }
    paired = {id(stored) for stored in by_name.values()}
    automatic_stored = [
        stored
        for stored in scope
        if id(stored) not in paired and _is_automatic(stored.name or stored.kind, stored.kind)
    ]
    yield by_name | _by_kind(automatic_layers, automatic_stored)
    yield _by_kind(layers, scope)
    if weights.in_order:
        yield {layer.name: stored for layer, stored in zip(layers, scope, strict=False)}


def _by_kind(layers: Sequence[Any], scope: Sequence[LayerArrays]) -> Pairs:
    """Pair the layers of each class in their order."""
    queues: dict[str, list[LayerArrays]] = defaultdict(list)
    for stored in reversed(scope):
        queues[stored.kind].append(stored)
    return {layer.name: queues[_kind(layer)].pop() for layer in layers if queues[_kind(layer)]}


def _kind(layer: Any) -> str:
    return snake_case(type(layer).__name__)


def _is_automatic(name: str, kind: str) -> bool:
    """Whether Keras generated the name from the class and a number."""
    return name == kind or split_number(name)[0] == kind


def _shapes(layer: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(weight.shape) for weight in layer.weights)


def _fits(layer: Any, pairs: Pairs) -> bool:
    return layer.name in pairs and pairs[layer.name].shapes == _shapes(layer)


def _count_matched_arrays(layers: Sequence[Any], pairs: Pairs) -> int:
    return sum(len(layer.weights) for layer in layers if _fits(layer, pairs))


def _explain(layer: Any, pairs: Pairs) -> str:
    """A layer with its shapes, and with those of its arrays in the file."""
    expected = f"{layer.name} {_format(_shapes(layer))}"
    if layer.name not in pairs:
        return expected
    return f"{expected} ({_format(pairs[layer.name].shapes)} in the file)"


def _format(shapes: Sequence[tuple[int, ...]]) -> str:
    return " + ".join("x".join(map(str, shape)) or "1" for shape in shapes) or "no floats"


def _join(names: Sequence[str]) -> str:
    return name_list(names, 3) or "none"
