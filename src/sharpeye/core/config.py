"""Every knob on one page.

A `Config` is frozen. It is read from TOML, changed by options and `--set section.key=value`,
and written as resolved to `config.toml` in the run directory, so that
`sharpeye train --config runs/photos/config.toml` runs it again.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharpeye.core.knobs import (
    check_knob,
    flatten,
    iter_knobs,
    knob,
    literal,
    parse_value,
    toml_lines,
    with_changes,
)
from sharpeye.core.types import FILTERS, RESIZE_MODES
from sharpeye.errors import ConfigError

# The first line of every configuration that SharpEye writes: by it a run directory is known.
CONFIG_MARK = "# sharpeye train --config THIS_FILE runs it again"


@dataclass(frozen=True)
class DataConfig:
    folder: str = knob("", "the folder of pictures")
    added: tuple[str, ...] = knob((), "folders that were added to it; the last is new to add_to")
    add_to: str = knob(
        "", "an earlier run: its pictures are taken, keep their part, and its answers are compared"
    )
    strict: bool = knob(False, "a file that cannot be read ends the run with exit code 3")
    drop_small: bool = knob(False, "leave classes out that have too few pictures to be split")
    follow_links: bool = knob(False, "follow symbolic links that lead out of the folder")
    features_folder: str = knob("", "where features are kept; empty for the cache")
    balance: str = knob(
        "weights",
        "weights: each class counts the same, undersample: as many pictures of each as of the "
        "rarest, oversample: as many as of the largest, none: each picture counts the same",
        choices=("weights", "undersample", "oversample", "none"),
    )
    label_from: str = knob(
        "auto",
        "what names a picture's class; xml: the object in its Pascal VOC file, folder: the folder, "
        "prefix: the file's name up to the first _; auto: xml if boxes are learned, else folder",
        choices=("auto", "xml", "folder", "prefix"),
    )
    box_choice: str = knob(
        "largest",
        "of several objects in one Pascal VOC file: largest: take the largest, single-only: leave "
        "the picture out",
        choices=("largest", "single-only"),
    )

    @property
    def features_path(self) -> Path | None:
        """`features_folder` as a path; None for the cache."""
        return Path(self.features_folder) if self.features_folder else None


@dataclass(frozen=True)
class SplitConfig:
    validation: float = knob(0.15, "share of the pictures, 0..0.9", low=0.01, high=0.9)
    test: float = knob(0.15, "share of the pictures, 0..0.9", low=0.01, high=0.9)
    rule: str = knob(
        "content",
        "content: by the files' bytes, path: by their paths as typed, as TensorFlow-for-Poets did",
        choices=("content", "path"),
    )
    near_duplicates: bool = knob(
        True,
        "pictures that are nearly the same (bursts, resized or recompressed copies) stay in one "
        "part; not with rule = path, nor for rows of array files",
    )


@dataclass(frozen=True)
class ModelConfig:
    name: str = knob("efficientnet_lite0", "a name that `sharpeye models` lists")
    weights: str = knob(
        "auto",
        "imagenet or a file of weights: a head is learned on the frozen network; none: the whole "
        "network is learned from scratch; auto: imagenet if the model has such weights, else "
        "none; random: frozen random weights, for tests",
    )
    weights_folder: str = knob("", "a folder to look into for ImageNet weights first")
    image_size: int = knob(0, "side of the input, pixels; 0 for the model's own", low=0, high=1024)
    fit: str = knob(
        "auto",
        "how a picture is brought to the input's size; auto: stretch if boxes are learned, as "
        "padding would waste a part of the input, else pad",
        choices=("auto", *RESIZE_MODES),
    )
    filter: str = knob("bicubic", "how it is resampled", choices=FILTERS)
    int8: bool = knob(False, "ship an int8 model; what it loses is measured on the test pictures")


@dataclass(frozen=True)
class HeadConfig:
    solver: str = knob(
        "logistic",
        "logistic: to the optimum, L2 and temperature found; sgd: by steps, see [sgd]",
        choices=("logistic", "sgd"),
    )
    views: int = knob(
        1, "views of each training picture: itself, then flips and crops", low=1, high=32
    )
    refit: bool = knob(True, "fit the shipped head on training and validation pictures together")


@dataclass(frozen=True)
class SgdConfig:
    steps: int = knob(4000, "steps of plain gradient descent", low=1, high=10**7)
    learning_rate: float = knob(0.01, "constant", low=1e-9, high=1e3)
    batch_size: int = knob(100, "pictures a step", low=1, high=10**5)
    eval_every: int = knob(10, "steps between two looks at validation", low=1, high=10**7)
    validation_batch: int = knob(
        100, "validation pictures drawn for a look; 0 for all of them", low=0, high=10**6
    )


@dataclass(frozen=True)
class DistortConfig:
    flip: bool = knob(False, "mirror half of the training pictures (head.solver = sgd)")
    crop: int = knob(0, "margin that is cropped off at a random place, percent", low=0, high=900)
    scale: int = knob(0, "largest random enlargement, percent", low=0, high=900)
    brightness: int = knob(0, "largest random change of brightness, percent", low=0, high=100)
    views: int = knob(8, "most views that are made of one training picture", low=1, high=1000)

    @property
    def active(self) -> bool:
        return bool(self.flip or self.crop or self.scale or self.brightness)


@dataclass(frozen=True)
class NetConfig:
    """What the networks that are learned from scratch leave open; each takes what it has."""

    conv_layers: int = knob(3, "cnn: convolutions, each with a pooling", low=1, high=8)
    layer_size: int = knob(64, "cnn: channels of each, and units of each dense layer", 1, 4096)
    dense_layers: int = knob(0, "cnn: dense layers before the last", low=0, high=8)
    width: int = knob(64, "resnet_cifar: channels of the first layer", low=4, high=1024)
    dropout: float = knob(0.0, "share of units dropped before dense layers", low=0.0, high=0.95)
    color: str = knob("rgb", "what the network sees", choices=("rgb", "grey"))
    scaling: str = knob(
        "data",
        "how pixels become floats: data: mean 0 and deviation 1 over the training pictures, "
        "unit: 0..1, signed: -1..1, imagenet: ImageNet's mean and deviation, none: 0..255",
        choices=("data", "unit", "signed", "imagenet", "none"),
    )
    init_stddev: float = knob(
        0.0, "kernels from a truncated normal of this deviation; 0: each layer's own", 0.0, 1.0
    )


@dataclass(frozen=True)
class TrainConfig:
    """The loop that learns a network from scratch."""

    epochs: int = knob(30, "passes over the training pictures", low=1, high=100_000)
    batch_size: int = knob(64, "pictures a step", low=1, high=65_536)
    optimizer: str = knob(
        "adamw", "sgd is Nesterov's, with train.momentum", choices=("adamw", "adam", "sgd")
    )
    learning_rate: float = knob(
        0.0, "the highest; 0: the model's own for adam and adamw, 50 times that for sgd", 0.0, 100.0
    )
    momentum: float = knob(0.9, "of sgd", low=0.0, high=0.9999)
    epsilon: float = knob(1e-7, "of adam and adamw", low=1e-12, high=1.0)
    weight_decay: float = knob(
        0.01, "times the rate, what kernels shrink by in a step (not adam)", low=0.0, high=10.0
    )
    clip_norm: float = knob(0.0, "gradients longer than this are shortened; 0: none", 0.0, 1e6)
    schedule: str = knob(
        "onecycle",
        "onecycle: up, then down to 0 in straight lines, cosine: up, then down along a cosine, "
        "exponential: times train.decay every train.decay_steps steps, constant",
        choices=("onecycle", "cosine", "exponential", "constant"),
    )
    warmup: float = knob(0.2, "share of the steps on which the rate rises", low=0.0, high=0.9)
    decay: float = knob(0.95, "factor of the exponential schedule", low=0.01, high=1.0)
    decay_steps: int = knob(1000, "steps between two such factors", low=1, high=10**7)
    label_smoothing: float = knob(0.1, "share of the truth spread over all classes", 0.0, 0.9)
    patience: int = knob(0, "epochs without a better one before it stops; 0: never", 0, 10**6)
    time_limit: float = knob(0.0, "seconds; as many epochs as fit are run; 0: none", 0.0, 1e9)
    precision: str = knob(
        "auto",
        "mixed computes with 16 bits; auto: mixed on a GPU",
        choices=("auto", "float32", "mixed"),
    )


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of the training images, new ones in each epoch (training from scratch)."""

    flip: bool = knob(True, "mirror half of the pictures")
    shift: int = knob(10, "largest shift up, down and sideways, percent of the side", 0, 50)
    rotate: int = knob(0, "largest rotation, degrees", low=0, high=180)
    zoom: int = knob(0, "largest enlargement or reduction, percent", low=0, high=90)
    brightness: int = knob(0, "largest change of brightness, percent", low=0, high=100)
    noise: float = knob(0.0, "deviation of added noise, grey levels 0..255", low=0.0, high=255.0)
    cutout: int = knob(0, "side of a square that is blanked, percent of the side", 0, 100)
    mixup: float = knob(0.0, "alpha of the beta distribution by which pairs are mixed", 0.0, 10.0)


@dataclass(frozen=True)
class FineTuneConfig:
    """Epochs over a whole pretrained network, after its head was fitted."""

    epochs: int = knob(0, "passes over the training pictures; 0: the network stays frozen", 0, 1000)
    learning_rate: float = knob(1e-4, "the highest, of adamw", low=1e-9, high=1.0)
    batch_size: int = knob(16, "pictures a step", low=1, high=4096)


@dataclass(frozen=True)
class LocalizeConfig:
    """What is learned about boxes (task = localize)."""

    class_weight: float = knob(1.0, "factor of the classes' loss", low=0.0, high=1e4)
    box_weight: float = knob(2.0, "factor of the boxes' loss", low=0.0, high=1e4)
    box_loss: str = knob(
        "giou",
        "giou: 1 less the generalized overlap, l1: of the edges as shares of the picture, "
        "mse_pixels: mean squared error of the edges in pixels of the input",
        choices=("giou", "l1", "mse_pixels"),
    )
    box_views: int = knob(
        4, "views of each training picture for the box head on a frozen network", low=1, high=32
    )
    epochs: int = knob(30, "passes of the box head over them", low=1, high=100_000)
    batch_size: int = knob(32, "views a step of the box head", low=1, high=4096)
    learning_rate: float = knob(2e-3, "the highest of the box head, AdamW", low=1e-9, high=1.0)
    channels: int = knob(64, "channels of the box head", low=4, high=1024)


@dataclass(frozen=True)
class UnknownConfig:
    """When an image is answered with `unknown`."""

    coverage: float = knob(
        0.95,
        "share of known pictures that should not be called unknown; 1: nothing is",
        low=0.0,
        high=1.0,
    )


@dataclass(frozen=True)
class ReportConfig:
    max_pictures: int = knob(
        60, "mistakes shown with their picture in the report", low=0, high=2000
    )


@dataclass(frozen=True)
class Config:
    """All knobs of a run, resolved."""

    task: str = knob(
        "classify",
        "classify: what a picture shows, localize: also where",
        choices=("classify", "localize"),
    )
    seed: int = knob(0, "salts the split and every random choice", low=0, high=2**31 - 1)
    data: DataConfig = field(default_factory=DataConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    sgd: SgdConfig = field(default_factory=SgdConfig)
    distort: DistortConfig = field(default_factory=DistortConfig)
    net: NetConfig = field(default_factory=NetConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    finetune: FineTuneConfig = field(default_factory=FineTuneConfig)
    localize: LocalizeConfig = field(default_factory=LocalizeConfig)
    unknown: UnknownConfig = field(default_factory=UnknownConfig)
    report: ReportConfig = field(default_factory=ReportConfig)

    def __post_init__(self) -> None:
        for name, knob_field, value in iter_knobs(self):
            check_knob(name, knob_field, value)
        if self.split.validation + self.split.test > 0.9:
            raise ConfigError(
                "split.validation + split.test must be at most 0.9, so that something is left to "
                f"train on. Received: {self.split.validation} + {self.split.test}"
            )
        if self.task == "localize" and self.augment.mixup:
            raise ConfigError(
                "augment.mixup must be 0 with task = localize: boxes of two pictures cannot mix. "
                f"Received: augment.mixup = {self.augment.mixup}"
            )
        if self.distort.active and self.head.solver != "sgd":
            raise ConfigError(
                "distort.* needs head.solver = sgd; for other heads head.views makes flips and "
                f"crops. Received: head.solver = {self.head.solver}"
            )

    @property
    def from_scratch(self) -> bool:
        """Whether the whole network is trained, of a resolved configuration."""
        return self.model.weights == "none"

    def replace(self, changes: Mapping[str, Any]) -> "Config":
        """A copy with some knobs changed.

        Args:
            changes: values by dotted key, such as `{"split.test": 0.2, "seed": 1}`.

        Raises:
            ConfigError: a key is unknown, a value has the wrong type or is out of range.
        """
        changed: Config = with_changes(self, dict(changes), prefix="", where="")
        return changed

    def on_folder(self, folder: str) -> "Config":
        """The same knobs for the images of a folder; another one has nothing to add to."""
        if folder == self.data.folder:
            return self
        return self.replace({"data.folder": folder, "data.added": (), "data.add_to": ""})

    def to_toml(self) -> str:
        """The configuration as TOML, with each knob's meaning as a comment."""
        return "\n".join([CONFIG_MARK, "", *toml_lines(self)]) + "\n"


def load_toml(path: Path, base: Config | None = None) -> Config:
    """Read a TOML file over the defaults (or over `base`).

    Raises:
        ConfigError: not TOML, or a key or value that `Config` does not allow.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    changed: Config = with_changes(base or Config(), flatten(raw), "", f" in {path}")
    return changed


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """Turn `["split.test=0.2", ...]` (the `--set` option) into changes for `Config.replace`.

    A value is read as TOML; what is not TOML is taken as text.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key.strip():
            raise ConfigError(
                f"--set takes section.key=value, such as split.test=0.2. Received: {setting}"
            )
        changes[full_key(key.strip())] = parse_value(value)
    return changes


def full_key(name: str) -> str:
    """The dotted key that is meant: a name alone is that of the only knob that is called so.

    `epochs` and others that several sections have mean training from scratch: `train.epochs`.

    Raises:
        ConfigError: several other knobs have this name.
    """
    keys = [key for key, _, _ in iter_knobs(Config())]
    found = [key for key in keys if key.rpartition(".")[2] == name]
    if name in keys or not found:
        return name
    if f"train.{name}" in found:
        return f"train.{name}"
    if len(found) > 1:
        raise ConfigError(f"{name} is not clear: write one of {', '.join(found)}")
    return found[0]


def describe() -> list[tuple[str, str, str]]:
    """Each knob as (dotted key, default as TOML, meaning): the documentation's table."""
    return [
        (name, literal(value), knob_field.metadata["help"])
        for name, knob_field, value in iter_knobs(Config())
    ]
