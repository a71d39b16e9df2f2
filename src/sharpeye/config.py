"""Every knob on one page.

A `Config` is frozen. It is read from TOML, changed by options and `--set section.key=value`,
and written as resolved to `config.toml` in the run directory, so that
`sharpeye train --config runs/photos/config.toml` runs it again.
"""

import dataclasses
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sharpeye.errors import ConfigError, near_match
from sharpeye.types import FILTERS, FITS

T = TypeVar("T")

# The first line of every configuration that SharpEye writes: by it a run directory is known.
CONFIG_MARK = "# sharpeye train --config THIS_FILE runs it again"


def knob(
    default: T,
    text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Iterable[str] = (),
) -> T:
    """A dataclass field with its meaning, and its range or choices."""
    about = {"help": text, "low": low, "high": high, "choices": tuple(choices)}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class DataConfig:
    folder: str = knob("", "the folder of pictures")
    strict: bool = knob(False, "a file that cannot be read ends the run with exit code 3")
    drop_small: bool = knob(False, "leave classes out that have too few pictures to be split")
    follow_links: bool = knob(False, "follow symbolic links that lead out of the folder")
    features_folder: str = knob("", "where features are kept; empty for the cache")


@dataclass(frozen=True)
class SplitConfig:
    validation: float = knob(0.15, "share of the pictures, 0..0.9", low=0.01, high=0.9)
    test: float = knob(0.15, "share of the pictures, 0..0.9", low=0.01, high=0.9)
    rule: str = knob(
        "content",
        "content: by the files' bytes, path: by their paths as typed, as TensorFlow-for-Poets did",
        choices=("content", "path"),
    )


@dataclass(frozen=True)
class ModelConfig:
    name: str = knob("efficientnet_lite0", "a name that `sharpeye models` lists")
    weights: str = knob("imagenet", "imagenet, a file of weights, or none for random ones (tests)")
    weights_folder: str = knob("", "a folder to look into for ImageNet weights first")
    image_size: int = knob(0, "side of the input, pixels; 0 for the model's own", low=0, high=1024)
    fit: str = knob("pad", "how a picture is brought to the input's size", choices=FITS)
    filter: str = knob("bicubic", "how it is resampled", choices=FILTERS)
    int8: bool = knob(False, "ship an int8 model; what it loses is measured on the test pictures")


@dataclass(frozen=True)
class HeadConfig:
    solver: str = knob(
        "logistic",
        "logistic: to the optimum, L2 and temperature found; sgd: by steps, see [sgd]",
        choices=("logistic", "sgd"),
    )
    balance: str = knob(
        "weights",
        "weights: each class counts the same, none: each picture does",
        choices=("weights", "none"),
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
class ReportConfig:
    max_pictures: int = knob(
        60, "mistakes shown with their picture in the report", low=0, high=2000
    )


@dataclass(frozen=True)
class Config:
    """All knobs of a run, resolved."""

    task: str = knob("classify", "what is learned", choices=("classify",))
    seed: int = knob(0, "salts the split and every random choice", low=0, high=2**31 - 1)
    data: DataConfig = field(default_factory=DataConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    sgd: SgdConfig = field(default_factory=SgdConfig)
    distort: DistortConfig = field(default_factory=DistortConfig)
    report: ReportConfig = field(default_factory=ReportConfig)

    def __post_init__(self) -> None:
        for name, knob_field, value in _walk(self):
            _check(name, knob_field, value)
        if self.split.validation + self.split.test > 0.9:
            raise ConfigError(
                "split.validation + split.test must be at most 0.9, so that something is left to "
                f"train on. Received: {self.split.validation} + {self.split.test}"
            )
        if self.distort.active and self.head.solver != "sgd":
            raise ConfigError(
                "distort.* needs head.solver = sgd; for other heads head.views makes flips and "
                f"crops. Received: head.solver = {self.head.solver}"
            )

    def replace(self, changes: Mapping[str, Any]) -> "Config":
        """A copy with some knobs changed.

        Args:
            changes: values by dotted key, such as `{"split.test": 0.2, "seed": 1}`.

        Raises:
            ConfigError: a key is unknown, a value has the wrong type or is out of range.
        """
        changed: Config = _with_changes(self, dict(changes), prefix="", where="")
        return changed

    def to_toml(self) -> str:
        """The configuration as TOML, with each knob's meaning as a comment."""
        return _to_toml(self)


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
    changed: Config = _with_changes(base or Config(), _flatten(raw), "", f" in {path}")
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
        try:
            changes[key.strip()] = tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError:
            changes[key.strip()] = value.strip()
    return changes


def describe() -> list[tuple[str, str, str]]:
    """Each knob as (dotted key, default as TOML, meaning): the documentation's table."""
    return [
        (name, _literal(value), knob_field.metadata["help"])
        for name, knob_field, value in _walk(Config())
    ]


def _walk(config: Any, prefix: str = "") -> list[tuple[str, dataclasses.Field[Any], Any]]:
    found = []
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            found += _walk(value, f"{prefix}{item.name}.")
        else:
            found.append((prefix + item.name, item, value))
    return found


def _flatten(raw: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in raw.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _with_changes(config: Any, changes: dict[str, Any], prefix: str, where: str) -> Any:
    if not prefix:
        known = [name for name, _, _ in _walk(config)]
        for key in changes:
            if key not in known:
                raise ConfigError(f"unknown key {key}{where}. {near_match(key, known)}")
    updates: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        name, value = prefix + item.name, getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            inner = {k: v for k, v in changes.items() if k.startswith(f"{name}.")}
            if inner:
                updates[item.name] = _with_changes(value, inner, f"{name}.", where)
        elif name in changes:
            received = changes[name]
            if isinstance(value, float) and type(received) is int:
                received = float(received)
            if type(received) is not type(value):
                raise ConfigError(
                    f"{name}{where} must be {_type_name(value)}. Received: {received!r}"
                )
            updates[item.name] = received
    return dataclasses.replace(config, **updates)


def _type_name(value: object) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return names[type(value)]


def _check(name: str, item: dataclasses.Field[Any], value: Any) -> None:
    about = item.metadata
    if about["choices"] and value not in about["choices"]:
        raise ConfigError(
            f"{name} must be one of {', '.join(about['choices'])}. Received: {value!r}. "
            f"{near_match(str(value), about['choices'])}"
        )
    low, high = about["low"], about["high"]
    if low is not None and not low <= value <= high:
        raise ConfigError(f"{name} must be from {low:g} to {high:g}. Received: {value}")


def _literal(value: Any) -> str:
    # TOML's basic strings are JSON's but for two things: there are no surrogates, neither escaped
    # (pairs) nor alone (undecodable bytes of a path), and DEL must be escaped.
    if isinstance(value, str):
        value = value.encode("utf-8", "backslashreplace").decode("utf-8")
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _to_toml(config: Config) -> str:
    lines, section = [CONFIG_MARK, ""], ""
    for name, item, value in _walk(config):
        parent, _, key = name.rpartition(".")
        if parent != section:
            section = parent
            lines += ["", f"[{section}]"]
        text = item.metadata["help"]
        if item.metadata["choices"]:
            text += f" ({' | '.join(item.metadata['choices'])})"
        lines.append(f"{key} = {_literal(value)}  # {text}")
    return "\n".join(lines) + "\n"
