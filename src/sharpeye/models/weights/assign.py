"""Puts weights that Keras saved into a built model, layer by layer, and says what was found."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.errors import ModelError
from sharpeye.models.weights.formats import WeightFile, read_weight_file
from sharpeye.models.weights.hdf5 import LayerArrays, Scope, snake_case, split_number

if TYPE_CHECKING:
    import keras

# A file that holds fewer of the backbone's arrays was made from another network.
_SAME_NETWORK = 0.9
_SHOWN = 3

# From a layer of the model, by its name, to what a file has for it.
Pairs = dict[str, LayerArrays]


@dataclass(frozen=True)
class Matched:
    """What came of putting weights into a model.

    Attributes:
        matched: layers of the model that have the file's weights now.
        missing: layers of the model that the file has nothing for; they keep what they had.
        unused: layers in the file that the model has no place for.
        gaps: the names in `missing`, with both shapes where the file has others.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    gaps: tuple[str, ...]


def load_weight_file(model: "keras.Model", path: Path) -> str:
    """Fill a model from a file.

    Returns:
        one line that says what was found.

    Raises:
        UsageError: there is no such file.
        ModelError: it is damaged, holds what is not allowed, or does not fit the model.
        MissingExtra: h5py is not installed.
    """
    return describe(path, assign_weights(model, read_weight_file(path)))


def describe(path: Path, found: Matched) -> str:
    """One line: what of a file was used, and what of the model has no weights."""
    # A layer of the backbone is never missing: `assign_weights` refuses the file.
    gaps = f"{_some(found.gaps)} (the ImageNet classifier)" if found.missing else "none"
    return (
        f"weights from {path.name}: {len(found.matched)} layers matched, missing: "
        f"{gaps}, unused: {_some(found.unused)}"
    )


def assign_weights(model: "keras.Model", weights: WeightFile) -> Matched:
    """Put a file's arrays into the layers of a built model.

    Layers find each other by name. Names that Keras made itself (`conv2d_7`) say nothing: these
    find each other by class and order. Where that leaves gaps, all go by class and order, and in
    files of the older layout by order alone, as Keras itself loads them: the files of
    keras.applications for MobileNetV2 and Inception have other names than its layers.

    Args:
        model: with the output `features`; the layers that this depends on are the backbone.

    Raises:
        ModelError: a layer of the backbone is missing in the file or has other shapes; the model
            is unchanged then.
    """
    import keras

    targets = [layer for layer in model.layers if layer.weights]
    inner = {layer.name for layer in keras.Model(model.input, model.output["features"]).layers}
    backbone = [layer for layer in targets if layer.name in inner]
    choices = [pairs for scope in weights.scopes for pairs in _pairings(targets, scope, weights)]
    pairs = max(choices, key=lambda pairs: _arrays_that_fit(backbone, pairs))
    _require_backbone(model, backbone, pairs, weights.path)
    matched = [layer for layer in targets if _fits(layer, pairs)]
    for layer in matched:
        layer.set_weights(pairs[layer.name].arrays)
    missing = [layer for layer in targets if layer not in matched]
    used = {id(pairs[layer.name]) for layer in matched}
    return Matched(
        matched=tuple(layer.name for layer in matched),
        missing=tuple(layer.name for layer in missing),
        unused=tuple(
            part.name or part.place
            for scope in weights.scopes
            for part in scope
            if id(part) not in used
        ),
        gaps=tuple(
            _explain(layer, pairs) if layer.name in pairs else layer.name for layer in missing
        ),
    )


def _pairings(targets: Sequence[Any], scope: Scope, weights: WeightFile) -> Iterable[Pairs]:
    """The ways in which layers may belong together, the most trustworthy first."""
    named = {part.name: part for part in scope if part.name}
    by_name = {
        layer.name: named[layer.name]
        for layer in targets
        if layer.name in named and not _is_automatic(layer.name, _kind(layer))
    }
    taken = {id(part) for part in by_name.values()}
    nameless = [layer for layer in targets if _is_automatic(layer.name, _kind(layer))]
    parts = [part for part in scope if _is_automatic(part.name or part.kind, part.kind)]
    yield by_name | _by_kind(nameless, [part for part in parts if id(part) not in taken])
    yield _by_kind(targets, scope)
    if weights.in_order:
        yield {layer.name: part for layer, part in zip(targets, scope, strict=False)}


def _by_kind(targets: Sequence[Any], parts: Sequence[LayerArrays]) -> Pairs:
    queues: dict[str, list[LayerArrays]] = defaultdict(list)
    for part in reversed(parts):
        queues[part.kind].append(part)
    return {layer.name: queues[_kind(layer)].pop() for layer in targets if queues[_kind(layer)]}


def _kind(layer: Any) -> str:
    return snake_case(type(layer).__name__)


def _is_automatic(name: str, kind: str) -> bool:
    """Whether Keras made the name, from the class and a number."""
    return name == kind or split_number(name)[0] == kind


def _fits(layer: Any, pairs: Pairs) -> bool:
    return layer.name in pairs and pairs[layer.name].shapes == _shapes(layer)


def _shapes(layer: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(weight.shape) for weight in layer.weights)


def _arrays_that_fit(layers: Sequence[Any], pairs: Pairs) -> int:
    return sum(len(layer.weights) for layer in layers if _fits(layer, pairs))


def _require_backbone(
    model: "keras.Model", backbone: Sequence[Any], pairs: Pairs, path: Path
) -> None:
    gaps = [layer for layer in backbone if not _fits(layer, pairs)]
    if not gaps:
        return
    total, found = sum(len(layer.weights) for layer in backbone), _arrays_that_fit(backbone, pairs)
    verdict = "lacks a part of" if found >= _SAME_NETWORK * total else "is of another network than"
    raise ModelError(
        f"{path} {verdict} {model.name}: {found} of {total} weight arrays matched, missing: "
        f"{_some([_explain(layer, pairs) for layer in gaps])}; give the weights of this very "
        "network, or use --weights imagenet, or --weights none to train from scratch"
    )


def _explain(layer: Any, pairs: Pairs) -> str:
    """A layer with its shapes, and with those that the file has in its place."""
    wanted = f"{layer.name} {_sizes(_shapes(layer))}"
    if layer.name not in pairs:
        return wanted
    return f"{wanted} ({_sizes(pairs[layer.name].shapes)} in the file)"


def _sizes(shapes: Sequence[tuple[int, ...]]) -> str:
    return " + ".join("x".join(map(str, shape)) or "1" for shape in shapes) or "no floats"


def _some(words: Sequence[str]) -> str:
    rest = len(words) - _SHOWN
    return (", ".join(words[:_SHOWN]) or "none") + (f" and {rest} more" if rest > 0 else "")
