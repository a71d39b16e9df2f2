"""What the zoo knows of a model besides its layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.core.config import NetConfig
from sharpeye.core.types import InputSpec

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
class Network:
    """A network without ImageNet weights: all but its input and its last layer.

    Attributes:
        body: from images, float[N,H,W,C] scaled, to features float[N,D]; `NetConfig` says what
            the network leaves open. Raises UsageError if H or W is too small for it.
        head_bias: whether the last layer has a bias.
        one_unit: whether two classes are told apart by one unit, as with a sigmoid.
    """

    body: Callable[[Any, NetConfig], Any]
    head_bias: bool = True
    one_unit: bool = False


@dataclass(frozen=True)
class ModelSpec:
    """A model of the zoo. It is plain data: nothing heavy is loaded until it is built.

    It has either `build` and `imagenet`, a backbone that also can be frozen, or `net`, which is
    always learned from scratch. `models/classifier.py` makes classifiers of both.

    Attributes:
        name: as the command line takes it.
        input: the size and fit that serve best.
        build: makes the Keras model of a backbone for a height and width: float32[N,H,W,C] 0..255
            to `features` float32[N,D], 0 or more, and `logits` float32[N,1000]; random weights.
        imagenet: the pretrained weights; None if there are none.
        features: length D of the feature vector.
        parameters: number of weights of the whole ImageNet model; of a `net`, its moving averages
            too, with ten classes, three channels and the defaults of `NetConfig`.
        macs: multiply-accumulates an image of `input`'s size, in millions, of the same model.
        imagenet_top1: published accuracy of the weights, in percent; None without weights.
        paper: where the architecture comes from.
        least_size: least side of its input in pixels.
        net: the layers of a network that has no ImageNet weights.
        maps: layers whose outputs are the feature maps that a box is found on, from fine to coarse;
            none where it is found on the flat features.
        learning_rate: a good highest rate to learn the whole network from scratch: AdamW, one
            cycle, 64 images a step.
    """

    name: str
    input: InputSpec
    build: Callable[[int, int], keras.Model] | None
    imagenet: Pretrained | None
    features: int
    parameters: int
    macs: float
    imagenet_top1: float | None
    paper: str
    least_size: int = 32
    net: Network | None = None
    maps: tuple[str, ...] = ()
    learning_rate: float = 2e-3
