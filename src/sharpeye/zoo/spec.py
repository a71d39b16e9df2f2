"""What the zoo knows of a model besides its layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.types import InputSpec

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class ModelSpec:
    """A model of the zoo. It is plain data: nothing heavy is loaded until `build` is called.

    Attributes:
        name: as the command line takes it.
        input: the size and fit that serve best for features.
        build: makes the Keras model for a height and width: float32[N,H,W,C] 0..255 to `features`
            float32[N,D] and `logits` float32[N,1000]; random weights.
        load_imagenet: fills a built model with the pretrained weights; None if there are none.
        weights_file: where these weights lie on this machine, None if they are not there.
        features: length D of the feature vector.
        parameters: number of weights of the whole ImageNet model.
        macs: multiply-accumulates a picture of `input`'s size, in millions.
        imagenet_top1: published accuracy of the weights, in percent; None without weights.
        license, paper: of the weights, and where the architecture comes from.
        weights_extra: what to install when the weights are not there.
    """

    name: str
    input: InputSpec
    build: Callable[[int, int], keras.Model]
    load_imagenet: Callable[[Any], None] | None
    weights_file: Callable[[], Path | None]
    features: int
    parameters: int
    macs: int
    imagenet_top1: float | None
    license: str
    paper: str
    weights_extra: str = "train"
