"""The configuration: every knob on one page.

A `Config` is frozen. It is read from TOML, changed by options and `--set section.key=value`, and
written as resolved to `config.toml` in the run directory: `train --config` repeats the run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharpeye.core import knobs
from sharpeye.core.knobs import iter_knobs, knob
from sharpeye.core.toml_files import FORMAT_LINE, read_toml
from sharpeye.core.types import FILTERS, RESIZE_MODES
from sharpeye.errors import ConfigError

# The first line of every configuration that SharpEye writes: a run directory is recognized by it.
CONFIG_MARK = "# sharpeye train --config THIS_FILE runs it again"


@dataclass(frozen=True)
class DataConfig:
    folder: str = knob("", "the folder of images")
    relative_to: str = knob(
        "", "the folder at which relative paths of this file begin; empty: the current folder"
    )
    added: tuple[str, ...] = knob(
        (), "folders added to it; the last is the one that is new to add_to"
    )
    add_to: str = knob(
        "", "a run to extend: its images keep their split, and its predictions are compared"
    )
    strict: bool = knob(False, "end with exit code 3 if a file cannot be read")
    drop_small: bool = knob(False, "leave out classes with too few images to split")
    follow_links: bool = knob(False, "follow symbolic links that lead out of the folder")
    splits: tuple[str, ...] = knob(
        (),
        'which folders are splits: ["train=Training", "test=Testing"]; ["none"]: no folder is, all '
        "are classes; empty: their names tell",
    )
    features_folder: str = knob("", "the folder of the feature store; empty for the cache")
    balance: str = knob(
        "weights",
        "weights: each class has the same weight, undersample: as many images of each class as of "
        "the rarest, oversample: as many as of the largest, none: each image has the same weight",
        choices=("weights", "undersample", "oversample", "none"),
    )
    label_from: str = knob(
        "auto",
        "where the class of an image is read; xml: the object in its Pascal VOC file, folder: the "
        "folder, prefix: the file's name up to the first _ (else ., else its number), auto: xml to "
        "localize, else folder",
        choices=("auto", "xml", "folder", "prefix"),
    )
    box_choice: str = knob(
        "largest",
        "with several objects in one Pascal VOC file; largest: use the largest, single-only: leave "
        "the image out",
        choices=("largest", "single-only"),
    )


@dataclass(frozen=True)
class ImagesConfig:
    """Limits on one image; for 0 see `images.decode_limits`."""

    max_megapixels: float = knob(0.0, "largest image, megapixels; 0: 178.9", (0, 10_000))
    max_decode_memory: int = knob(
        0, "most memory that decoding an image may take, MB; 0: 400", (0, 1_000_000)
    )
    max_file_size: float = knob(0.0, "largest file, MB; 0: 67.1", (0, 2_000))
    max_decode_seconds: float = knob(0.0, "most processor time of a decode; 0: 10", (0, 3_600))


@dataclass(frozen=True)
class SplitConfig:
    validation: float = knob(0.15, "share of the images, 0..0.9", (0.01, 0.9))
    test: float = knob(0.15, "share of the images, 0..0.9", (0.01, 0.9))
    rule: str = knob(
        "content",
        "content: by the files' bytes, path: by their paths as typed, as TensorFlow-for-Poets does",
        choices=("content", "path"),
    )
    near_duplicates: bool = knob(
        True,
        "keep near-duplicates (bursts, resized or recompressed copies) in one split; not with rule "
        "= path, nor for array files",
    )


@dataclass(frozen=True)
class ModelConfig:
    name: str = knob("efficientnet_lite0", "a name that `sharpeye models` lists")
    weights: str = knob(
        "auto",
        "imagenet or a weights file: fit a head on the frozen network; none: train the whole "
        "network from scratch; auto: imagenet if the model has such weights, else none; random: "
        "frozen random weights, for tests",
    )
    weights_folder: str = knob(
        "", "a folder that is searched first for ImageNet weights, and receives downloads"
    )
    image_size: int = knob(0, "side of the input, pixels; 0: the model's default", (0, 1024))
    fit: str = knob(
        "auto",
        "how an image is resized to the input; auto: stretch to localize, since padding would "
        "waste a part of the input, else pad",
        choices=("auto", *RESIZE_MODES),
    )
    filter: str = knob("bicubic", "interpolation of the resizing", choices=FILTERS)
    int8: bool = knob(
        False, "write an int8 model; its loss of accuracy is measured on the test images"
    )


@dataclass(frozen=True)
class HeadConfig:
    solver: str = knob(
        "logistic",
        "logistic: logistic regression, L2 chosen by validation; sgd: gradient descent, see [sgd]",
        choices=("logistic", "sgd"),
    )
    views: int = knob(1, "views of each training image: itself, then flips and crops", (1, 32))
    refit: bool = knob(True, "fit the final head on training and validation images together")


@dataclass(frozen=True)
class SgdConfig:
    steps: int = knob(4000, "steps of plain gradient descent", (1, 10**7))
    learning_rate: float = knob(0.01, "learning rate, constant", (1e-9, 1e3))
    batch_size: int = knob(100, "images a step", (1, 10**5))
    eval_every: int = knob(10, "steps between two evaluations on validation images", (1, 10**7))
    validation_batch: int = knob(
        100, "validation images drawn for an evaluation; 0: all of them", (0, 10**6)
    )


@dataclass(frozen=True)
class DistortConfig:
    flip: bool = knob(False, "mirror half of the training images (head.solver = sgd)")
    crop: int = knob(0, "largest margin of a random crop, percent", (0, 900))
    scale: int = knob(0, "largest random enlargement, percent", (0, 900))
    brightness: int = knob(0, "largest random change of brightness, percent", (0, 100))
    views: int = knob(8, "largest number of views of a training image", (1, 1000))

    @property
    def active(self) -> bool:
        return bool(self.flip or self.crop or self.scale or self.brightness)


@dataclass(frozen=True)
class NetConfig:
    """The architecture of networks trained from scratch; each uses the knobs that it has."""

    conv_layers: int = knob(3, "cnn: convolutions, each followed by pooling", (1, 8))
    layer_size: int = knob(
        64, "cnn: channels of each convolution, units of each dense layer", (1, 4096)
    )
    dense_layers: int = knob(0, "cnn: dense layers before the last", (0, 8))
    width: int = knob(64, "resnet_cifar: channels of the first layer", (4, 1024))
    dropout: float = knob(0.0, "dropout rate before dense layers", (0, 0.95))
    color: str = knob("rgb", "channels of the input", choices=("rgb", "grey"))
    scaling: str = knob(
        "data",
        "how pixels are scaled; data: mean 0 and deviation 1 over the training images, unit: 0..1, "
        "signed: -1..1, imagenet: by ImageNet's mean and deviation, none: 0..255",
        choices=("data", "unit", "signed", "imagenet", "none"),
    )
    init_stddev: float = knob(
        0.0,
        "deviation of the truncated normal that kernels begin with; 0: the layer's default",
        (0, 1.0),
    )


@dataclass(frozen=True)
class TrainConfig:
    """The loop that trains a network from scratch."""

    epochs: int = knob(30, "passes over the training images", (1, 100_000))
    batch_size: int = knob(64, "images a step", (1, 65_536))
    optimizer: str = knob(
        "adamw", "sgd has Nesterov momentum, see train.momentum", choices=("adamw", "adam", "sgd")
    )
    learning_rate: float = knob(
        0.0,
        "the peak; 0: the model's default for adam and adamw, 50 times that for sgd",
        (0, 100.0),
    )
    momentum: float = knob(0.9, "of sgd", (0, 0.9999))
    epsilon: float = knob(1e-7, "of adam and adamw", (1e-12, 1.0))
    weight_decay: float = knob(
        0.01, "decoupled weight decay of kernels, times the learning rate (not adam)", (0, 10.0)
    )
    clip_norm: float = knob(0.0, "norm to which longer gradients are clipped; 0: none", (0, 1e6))
    schedule: str = knob(
        "onecycle",
        "onecycle: linear warmup, then linear decay to 0, cosine: linear warmup, then cosine "
        "decay, exponential: times train.decay every train.decay_steps steps, constant",
        choices=("onecycle", "cosine", "exponential", "constant"),
    )
    warmup: float = knob(0.2, "share of the steps with a rising learning rate", (0, 0.9))
    decay: float = knob(0.95, "factor of the exponential schedule", (0.01, 1.0))
    decay_steps: int = knob(1000, "steps between two factors", (1, 10**7))
    label_smoothing: float = knob(
        0.1, "share of the target probability that is spread over all classes", (0, 0.9)
    )
    patience: int = knob(
        0, "epochs without improvement before training stops; 0: never", (0, 10**6)
    )
    time_limit: float = knob(
        0.0, "seconds, which decide how many epochs run; 0: no limit", (0, 1e9)
    )
    precision: str = knob(
        "auto",
        "mixed: computes in 16 bits; auto: mixed on a GPU",
        choices=("auto", "float32", "mixed"),
    )


@dataclass(frozen=True)
class AugmentConfig:
    """Random augmentation of the training images, drawn anew in each epoch."""

    flip: bool = knob(True, "mirror half of the images")
    shift: int = knob(10, "largest shift up, down and sideways, percent of the side", (0, 50))
    rotate: int = knob(0, "largest rotation, degrees", (0, 180))
    zoom: int = knob(0, "largest enlargement or reduction, percent", (0, 90))
    brightness: int = knob(0, "largest change of brightness, percent", (0, 100))
    noise: float = knob(0.0, "standard deviation of added noise, grey levels 0..255", (0, 255.0))
    cutout: int = knob(0, "side of a blanked square, percent of the image's side", (0, 100))
    mixup: float = knob(0.0, "alpha of the beta distribution of mixup", (0, 10.0))


@dataclass(frozen=True)
class FineTuneConfig:
    """Training of the whole pretrained network after its head was fitted."""

    epochs: int = knob(0, "passes over the training images; 0: the network stays frozen", (0, 1000))
    learning_rate: float = knob(1e-4, "the peak, AdamW", (1e-9, 1.0))
    batch_size: int = knob(16, "images a step", (1, 4096))


@dataclass(frozen=True)
class LocalizeConfig:
    """The loss and the head of boxes (task = localize)."""

    class_weight: float = knob(1.0, "weight of the class loss", (0, 1e4))
    box_weight: float = knob(2.0, "weight of the box loss", (0, 1e4))
    box_loss: str = knob(
        "giou",
        "giou: 1 minus the generalized IoU, l1: mean absolute error of the edges as shares of the "
        "image, mse_pixels: mean squared error of the edges in pixels of the input",
        choices=("giou", "l1", "mse_pixels"),
    )
    box_views: int = knob(
        4, "views of each training image for the box head on a frozen network", (1, 32)
    )
    epochs: int = knob(30, "passes of the box head over these views", (1, 100_000))
    batch_size: int = knob(32, "views a step of the box head", (1, 4096))
    learning_rate: float = knob(2e-3, "the peak of the box head, AdamW", (1e-9, 1.0))
    channels: int = knob(64, "channels of the box head", (4, 1024))


@dataclass(frozen=True)
class UnknownConfig:
    """When an image is called `unknown`."""

    coverage: float = knob(
        0.95,
        "share of known images that are not called unknown; 1: no image is called unknown",
        (0, 1.0),
    )


@dataclass(frozen=True)
class ReportConfig:
    max_pictures: int = knob(60, "mistakes shown with their image in the report", (0, 2000))


@dataclass(frozen=True)
class Config:
    """All knobs of a run, resolved."""

    task: str = knob(
        "classify",
        "classify: the class of an image, localize: also its box",
        choices=("classify", "localize"),
    )
    seed: int = knob(0, "the seed of the split and of every random choice", (0, 2**31 - 1))
    data: DataConfig = field(default_factory=DataConfig)
    images: ImagesConfig = field(default_factory=ImagesConfig)
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
            knobs.check_knob(name, knob_field, value)
        if self.split.validation + self.split.test > 0.9:
            raise ConfigError(
                "split.validation + split.test must be at most 0.9, so that something is left to "
                f"train on. Received: {self.split.validation} + {self.split.test}"
            )
        if self.task == "localize" and self.augment.mixup:
            raise ConfigError(
                "augment.mixup must be 0 with task = localize: boxes of two images cannot mix. "
                f"Received: augment.mixup = {self.augment.mixup}"
            )
        if self.distort.active and self.head.solver != "sgd":
            raise ConfigError(
                "distort.* needs head.solver = sgd; for other heads head.views makes flips and "
                f"crops. Received: head.solver = {self.head.solver}"
            )

    @property
    def from_scratch(self) -> bool:
        """Whether a resolved configuration trains the whole network."""
        return self.model.weights == "none"

    def replace(self, changes: Mapping[str, Any], *, where: str = "") -> "Config":
        """A copy with some knobs changed.

        Args:
            changes: values by dotted key, such as `{"split.test": 0.2, "seed": 1}`.
            where: names the origin of the changes in errors: " in FILE".

        Raises:
            ConfigError: a key is unknown, a value has the wrong type or is out of range.
        """
        changed: Config = knobs.with_changes(self, changes, where=where)
        return changed

    def to_toml(self) -> str:
        """The configuration as TOML, with each knob's meaning as a comment."""
        return "\n".join([CONFIG_MARK, FORMAT_LINE, "", *knobs.toml_lines(self)]) + "\n"


def load_toml(path: Path, base: Config | None = None) -> Config:
    """Read a TOML file over the defaults or over `base`; ConfigError if it is not valid."""
    try:
        raw = read_toml(path)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    return (base or Config()).replace(knobs.flatten(raw), where=f" in {path}")


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """Turn `["split.test=0.2", ...]` (the `--set` option) into changes for `Config.replace`."""
    changes: dict[str, Any] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key.strip():
            raise ConfigError(
                f"--set takes section.key=value, such as split.test=0.2. Received: {setting}"
            )
        changes[full_key(key.strip())] = knobs.parse_value(value)
    return changes


def full_key(name: str) -> str:
    """The dotted key of a knob that may be named without its section.

    If several sections have such a knob, that of [train] counts; ConfigError if [train] has none.
    """
    keys = [key for key, _, _ in iter_knobs(Config())]
    matches = [key for key in keys if key.rpartition(".")[2] == name]
    if name in keys or not matches:
        return name
    if f"train.{name}" in matches:
        return f"train.{name}"
    if len(matches) > 1:
        raise ConfigError(f"{name} is not clear: write one of {', '.join(matches)}")
    return matches[0]


def describe() -> list[tuple[str, str, str]]:
    """Each knob as (dotted key, default as TOML, meaning), for the documentation."""
    return [
        (name, knobs.literal(value), knob_field.metadata["help"])
        for name, knob_field, value in iter_knobs(Config())
    ]
