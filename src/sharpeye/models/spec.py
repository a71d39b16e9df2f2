"""The description of a model besides its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpeye.core.config import NetConfig
from sharpeye.core.types import InputSpec
from sharpeye.errors import UsageError
from sharpeye.models.weights.keras_downloads import RemoteWeights

if TYPE_CHECKING:
    import keras

_BATCH_NORM_KNOB = "batch_norm_momentum"


@dataclass(frozen=True)
class PretrainedWeights:
    """A model's ImageNet weights.

    Attributes:
        find: returns the file if it is on this machine; takes a folder to search first.
        ensure: returns the file and downloads it if necessary; raises MissingExtra, NetworkError,
            or ModelError if its digest is not the known one.
        load: sets the weights of a built model from that file; returns a line that says which
            layers matched.
        source: the origin of the file, for people: a command or a site.
        remote: the file's name, with its URL and the digests that are known.
    """

    find: Callable[[Path | None], Path | None]
    ensure: Callable[[Path | None], Path]
    load: Callable[[Any, Path], str]
    source: str
    license: str
    remote: RemoteWeights


@dataclass(frozen=True)
class NetworkBody:
    """A network without ImageNet weights: all layers between its input and its last layer.

    Attributes:
        build: makes features float[N,D] from scaled images float[N,H,W,C]; `NetConfig` sets its
            parameters. Raises UsageError if H or W is too small.
        knobs: the keys of `[net]` that this network has beside those of all networks.
        head_bias: whether the last layer has a bias.
        sigmoid_if_binary: whether two classes have one output unit, as with a sigmoid.
    """

    build: Callable[[Any, NetConfig], Any]
    knobs: tuple[str, ...] = ()
    head_bias: bool = True
    sigmoid_if_binary: bool = False


@dataclass(frozen=True)
class ModelSpec:
    """A model that `sharpeye models` lists, as plain data; building it loads Keras.

    A model has either `build` and `imagenet`: a backbone that can be frozen; or `body`: a network
    that is always trained from scratch. `models/classifier.py` builds classifiers from both.

    Attributes:
        input: the best size and fit.
        features: length D of the feature vector.
        parameters: number of weights of the complete ImageNet model; for a `body` including its
            moving averages, with ten classes, three channels and the defaults of `NetConfig`.
        macs: multiply-accumulates of the same model per image of size `input`, in millions.
        build: makes the Keras model of a backbone with random weights, for a height and width:
            float32[N,H,W,C] 0..255 to `features` float32[N,D], 0 or more, and `logits`
            float32[N,1000].
        imagenet_top1: published accuracy of the pretrained weights, in percent.
        map_layers: the layers whose outputs are the feature maps of a box head, from fine to
            coarse; empty if the box head takes the feature vector.
        min_size: smallest side of the input in pixels.
        learning_rate: a good peak rate for training from scratch with AdamW, one cycle, 64
            images per step.
    """

    name: str
    input: InputSpec
    features: int
    parameters: int
    macs: float
    paper: str
    build: Callable[[int, int], keras.Model] | None = None
    imagenet: PretrainedWeights | None = None
    imagenet_top1: float | None = None
    body: NetworkBody | None = None
    map_layers: tuple[str, ...] = ()
    min_size: int = 32
    learning_rate: float = 2e-3

    @property
    def net_knobs(self) -> tuple[str, ...]:
        """The keys of `[net]` that have an effect when the network is trained from scratch."""
        own = (*self.body.knobs, "flip_tta") if self.body else (_BATCH_NORM_KNOB,)
        return (*own, "dropout", "color", "scaling", "init_stddev")

    def require_net_knobs(self, keys: Iterable[str]) -> None:
        """Raise UsageError if one of the dotted keys is a knob that the network lacks."""
        known = [f"net.{name}" for name in self.net_knobs]
        missing = [key for key in keys if key.startswith("net.") and key not in known]
        if missing:
            raise UsageError(
                f"{self.name} has the knobs {', '.join(known)}. Received: {', '.join(missing)}"
            )

    def require_size(self, side: int) -> None:
        """Raise UsageError if images with this shorter side are too small for the model."""
        if side < self.min_size:
            raise UsageError(
                f"model.image_size of {self.name} must be 0 or at least {self.min_size}. "
                f"Received: {side}"
            )
