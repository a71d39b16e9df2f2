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
class Pretrained:
    """A model's ImageNet weights: where they lie and how they come here.

    Attributes:
        find: the file if it is on this machine; given a folder to look into before all others.
        ensure: the file, brought here if it must be; raises MissingExtra or NetworkError, and
            ModelError if it is not the file that is known.
        load: fills a built model from that file; returns a line that says what was matched.
        source: where they come from, for people: a command or a site.
        license: of the weights.
    """

    find: Callable[[Path | None], Path | None]
    ensure: Callable[[Path | None], Path]
    load: Callable[[Any, Path], str]
    source: str
    license: str


@dataclass(frozen=True)
class ModelSpec:
    """A model of the zoo. It is plain data: nothing heavy is loaded until `build` is called.

    Attributes:
        name: as the command line takes it.
        input: the size and fit that serve best for features.
        build: makes the Keras model for a height and width: float32[N,H,W,C] 0..255 to `features`
            float32[N,D], 0 or more, and `logits` float32[N,1000]; random weights.
        imagenet: the pretrained weights; None if there are none.
        features: length D of the feature vector.
        parameters: number of weights of the whole ImageNet model.
        macs: multiply-accumulates a picture of `input`'s size, in millions.
        imagenet_top1: published accuracy of the weights, in percent; None without weights.
        paper: where the architecture comes from.
        least_size: least side of its input in pixels.
    """

    name: str
    input: InputSpec
    build: Callable[[int, int], keras.Model]
    imagenet: Pretrained | None
    features: int
    parameters: int
    macs: int
    imagenet_top1: float | None
    paper: str
    least_size: int = 32
