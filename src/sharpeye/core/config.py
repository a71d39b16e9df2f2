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
from sharpeye.core.network_config import AugmentConfig as AugmentConfig
from sharpeye.core.network_config import DistillConfig as DistillConfig
from sharpeye.core.network_config import FineTuneConfig as FineTuneConfig
from sharpeye.core.network_config import LocalizeConfig as LocalizeConfig
from sharpeye.core.network_config import NetConfig as NetConfig
from sharpeye.core.network_config import TrainConfig as TrainConfig
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
        "weights: each class has the same weight, effective: by the effective number of its "
        "images, undersample: as many images of each class as of the rarest, oversample: as many "
        "as of the largest, none: each image has the same weight",
        choices=("weights", "effective", "undersample", "oversample", "none"),
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
    seed: int = knob(-1, "the seed of the split; -1: that of the run", (-1, 2**31 - 1))
    fold: int = knob(
        0,
        "which part of the size split.test is the test, from 0: those of different folds have no "
        "image in common (rule = content)",
        (0, 99),
    )
    near_duplicates: bool = knob(
        True,
        "keep near-duplicates (bursts, resized or recompressed copies) in one split; not with rule "
        "= path, nor for array files",
    )


@dataclass(frozen=True)
class ModelConfig:
    name: str = knob(
        "efficientnet_lite0",
        "a name that `sharpeye models` lists, or own code: FILE.py:FUNCTION or MODULE:FUNCTION",
    )
    code_sha256: str = knob("", "SHA-256 of the file of own code; SharpEye writes it")
    weights: str = knob(
        "auto",
        "imagenet or a weights file: fit a head on the frozen network; none: train the whole "
        "network from scratch; a run: from its weights; auto: imagenet if the model has such "
        "weights, else none; random: frozen random weights, for tests",
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
    seed: int = knob(
        0, "the seed of every random choice, and of the split (see split.seed)", (0, 2**31 - 1)
    )
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
    distill: DistillConfig = field(default_factory=DistillConfig)
    finetune: FineTuneConfig = field(default_factory=FineTuneConfig)
    localize: LocalizeConfig = field(default_factory=LocalizeConfig)
    unknown: UnknownConfig = field(default_factory=UnknownConfig)
    report: ReportConfig = field(default_factory=ReportConfig)

    def __post_init__(self) -> None:
        for name, knob_field, value in iter_knobs(self):
            knobs.check_knob(name, knob_field, value)
        if self.split.fold and (self.split.fold + 1) * self.split.test > 1 + 1e-9:
            raise ConfigError(
                f"split.fold must be below 1 / split.test. Received: split.fold = "
                f"{self.split.fold}, split.test = {self.split.test}"
            )
        if self.split.validation + self.split.test > 0.9:
            raise ConfigError(
                "split.validation + split.test must be at most 0.9, so that something is left to "
                f"train on. Received: {self.split.validation} + {self.split.test}"
            )
        for name in ("mixup", "cutmix"):
            alpha = getattr(self.augment, name)
            if self.task == "localize" and alpha:
                raise ConfigError(
                    f"augment.{name} must be 0 with task = localize: boxes of two images cannot "
                    f"mix. Received: augment.{name} = {alpha}"
                )
        if self.task == "localize" and self.augment.function:
            raise ConfigError(
                "augment.function must be empty with task = localize: boxes would not move with "
                f"the pixels. Received: {self.augment.function}"
            )
        if self.distort.active and self.head.solver != "sgd":
            raise ConfigError(
                "distort.* needs head.solver = sgd; for other heads head.views makes flips and "
                f"crops. Received: head.solver = {self.head.solver}"
            )

    @property
    def split_seed(self) -> int:
        return self.seed if self.split.seed < 0 else self.split.seed

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


def changed_knobs(config: Config) -> list[str]:
    """The dotted keys whose values are not the defaults."""
    pairs = zip(iter_knobs(config), iter_knobs(Config()), strict=True)
    return [key for (key, _, value), (_, _, default) in pairs if value != default]


def describe() -> list[tuple[str, str, str]]:
    """Each knob as (dotted key, default as TOML, meaning), for the documentation."""
    return [
        (name, knobs.literal(value), knob_field.metadata["help"])
        for name, knob_field, value in iter_knobs(Config())
    ]
