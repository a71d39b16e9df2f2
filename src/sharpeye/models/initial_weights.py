"""Begin the training of a network with the weights of an earlier one. Needs Keras."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.formatting import name_list
from sharpeye.errors import ModelError
from sharpeye.models.classifier import LAST_LAYER
from sharpeye.models.weights.hdf5 import LayerArrays
from sharpeye.models.weights.weight_file_check import check_weight_file
from sharpeye.models.weights.weight_files import WeightFile, read_weight_file

if TYPE_CHECKING:
    import keras

_BIAS_SUFFIX = "_bias"


@dataclass(frozen=True)
class InitialWeights:
    """The weights of a trained network.

    Attributes:
        file: a `model.keras` that a run wrote, or another file of Keras with the same layer names.
        class_names: of the outputs of its last layer, in order; empty if they are not known.
        complete: whether every layer must take its weights.
    """

    file: Path
    class_names: tuple[str, ...] = ()
    complete: bool = False

    @cached_property
    def content(self) -> WeightFile:
        """The file's content; raises as `read_weight_file`."""
        check_weight_file(self.file)
        return read_weight_file(self.file)

    def scaling(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """The factor and offset of each channel with which the network was trained; None if the
        file does not tell, or has other channels.
        """
        values = []
        for constants in self.content.scaling or ():
            numbers = constants if isinstance(constants, list) else [constants] * channels
            if len(numbers) != channels or not all(map(_is_finite, numbers)):
                return None
            values.append(tuple(map(float, numbers)))
        return (values[0], values[1]) if values else None


def set_initial_weights(
    model: "keras.Model", initial: InitialWeights, class_names: Sequence[str]
) -> str:
    """Set the weights of all layers that have the same name and shapes in the file.

    The last layer takes the outputs of the classes that both have; if the class names of the file
    are not known, all of them or none.

    Args:
        model: from `build_classifier`.
        class_names: in the order of the model's outputs.

    Returns:
        a line that says which layers begin anew.

    Raises:
        UsageError: there is no such file.
        ModelError: the file is damaged, no layer fits, or one does not although all must.
    """
    scopes = reversed(initial.content.scopes)
    stored = {layer.name: layer for scope in scopes for layer in scope if layer.name}
    layers = [layer for layer in model.layers if layer.weights]
    new, known = [], initial.class_names
    for layer in layers:
        arrays = _arrays_for(layer, stored)
        if layer.name == LAST_LAYER and known and known != tuple(class_names):
            arrays = _outputs_of(class_names, arrays, known, current=layer.get_weights())
        if [array.shape for array in arrays] == [tuple(weight.shape) for weight in layer.weights]:
            layer.set_weights(arrays)
        else:
            new.append(layer.name)
    if len(new) == len(layers):
        raise ModelError(
            f"{initial.file} is of another network than {model.name}: no layer has the same name "
            "and shape; give its --model, or another --weights"
        )
    if new and initial.complete:
        raise ModelError(
            f"{initial.file} is of another network than {model.name}: its layers do not fit "
            f"{name_list(new)}, so that the training cannot go on"
        )
    begin = f"{name_list(new)} begin anew" if new else "all fit"
    return f"weights of {initial.file}: {len(layers) - len(new)} of {len(layers)} layers, {begin}"


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _arrays_for(layer: Any, stored: dict[str, LayerArrays]) -> list[npt.NDArray[np.float32]]:
    """The arrays of a layer; a plain network has the bias of a convolution in that layer."""
    if layer.name in stored:
        return [*stored[layer.name].arrays[: len(layer.weights)]]
    convolution = stored.get(layer.name.removesuffix(_BIAS_SUFFIX))
    return [*convolution.arrays[1:]] if convolution and _BIAS_SUFFIX in layer.name else []


def _outputs_of(
    class_names: Sequence[str],
    arrays: Sequence[npt.NDArray[np.float32]],
    stored_names: Sequence[str],
    *,
    current: Sequence[npt.NDArray[np.float32]],
) -> list[npt.NDArray[np.float32]]:
    """The arrays of a last layer, with the stored values of the classes that both have."""
    columns = [array.shape[-1] for array in arrays]
    if columns != [len(stored_names)] * len(current) or arrays[0].shape[0] != current[0].shape[0]:
        return []  # One unit for two classes, or other features.
    known = {name: i for i, name in enumerate(stored_names)}
    result = []
    for old, new in zip(arrays, current, strict=True):
        merged = np.array(new)
        for i, name in enumerate(class_names):
            if name in known:
                merged[..., i] = old[..., known[name]]
        result.append(merged)
    return result
