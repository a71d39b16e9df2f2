"""A zoo model as a frozen ONNX backbone: made once per machine, then read from the cache.

Keras and TensorFlow run in a process of their own (`keras_to_onnx.py`): the caller never loads
them, and their memory is gone when the file is there.
"""

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sharpeye.core.config import Config
from sharpeye.core.inference import Backbone, Shape
from sharpeye.core.processes import run_module
from sharpeye.core.storage import (
    TEMPORARY_PREFIX,
    FileLock,
    atomic_path,
    cache_root,
    make_folder,
    sha256_file,
    write_text,
)
from sharpeye.core.types import Filter, InputSpec, ResizeMode
from sharpeye.errors import UsageError
from sharpeye.models.keras_to_onnx import fill
from sharpeye.models.registry import get_spec
from sharpeye.models.spec import ModelSpec

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

# Raised when the conversion itself changes what it writes.
_CONVERTER_VERSION = 3

_STALE_SECONDS = 3600


@dataclass(frozen=True)
class BackboneConfig:
    """What a backbone is made from.

    Attributes:
        name: a model of the zoo.
        weights: `imagenet`, `random` for random ones (seed 0), or a file of weights.
        image_size: side of the input in pixels; 0 for the model's own.
        fit, filter: how images are brought to the input; see `InputSpec`.
        folder: looked into for pretrained weights before all other places.
        maps: whether the backbone gives its feature maps too.
    """

    name: str
    weights: str = "imagenet"
    image_size: int = 0
    fit: ResizeMode = "pad"
    filter: Filter = "bicubic"
    folder: Path | None = None
    maps: bool = False

    @classmethod
    def from_config(cls, config: Config, *, maps: bool | None = None) -> "BackboneConfig":
        """The backbone that a resolved configuration names.

        Args:
            maps: by default, whether boxes are learned.
        """
        model = config.model
        return cls(
            model.name,
            model.weights,
            model.image_size,
            cast(ResizeMode, model.fit),  # `Config` allows no other values.
            cast(Filter, model.filter),
            Path(model.weights_folder) if model.weights_folder else None,
            maps=config.task == "localize" if maps is None else maps,
        )


def load_backbone(
    source: BackboneConfig, announce: Callable[[str], None] | None = None, root: Path | None = None
) -> Backbone:
    """The frozen backbone of a zoo model.

    Args:
        announce: told in one sentence when the conversion, some seconds, begins, and what was
            found in a file of weights.
        root: the cache; by default `cache_root()`.

    Raises:
        UsageError: no such model or file, a model that is no backbone, or an input too small
            for it.
        MissingExtra: the weights or Keras are not installed.
        NetworkError: the weights are not on this machine and cannot be downloaded.
        ModelError: the weights are not those that are known, or do not fit, or the graph does not
            answer as Keras does.
        EnvironmentFault: the cache cannot be written.
    """
    announce = announce or (lambda _: None)
    spec = _backbone_spec(source)
    size = _input(spec, source)
    weights = _weights_file(spec, source)
    digest = sha256_file(weights) if weights else "random-seed-0"
    made_from = f"{_CONVERTER_VERSION}:{digest}:{size.height}x{size.width}{':maps' * source.maps}"
    key = f"{spec.name}-{size.width}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}"
    folder = (root or cache_root()) / "backbones"
    file, about = folder / f"{key}.onnx", folder / f"{key}.json"
    record = _valid_record(file, about)
    if record is None:
        make_folder(folder)
        with FileLock(folder / f"{key}.lock"):
            record = _valid_record(file, about)  # another process may have made it meanwhile
            if record is None:
                announce(f"preparing {spec.name} for ONNX Runtime, once on this machine")
                record = _convert(spec, source, weights, size, file, about)
    if _kind(source) == "file":
        announce(record.report)
    return Backbone(spec.name, file, record.sha256, size, record.maps)


def weight_loader(source: BackboneConfig) -> Callable[["keras.Model"], str]:
    """What puts the weights of a source into the whole model, as `ModelSpec.build` makes it.

    They are those of the frozen backbone. The function returns a line that says what was found,
    and raises ModelError if they do not fit.

    Raises:
        the errors of `freeze` for what cannot be found.
    """
    spec = _backbone_spec(source)
    load = spec.imagenet.load if spec.imagenet else None
    file = _weights_file(spec, source)
    return partial(fill, load=load, kind=_kind(source), weights=file or Path())


def _backbone_spec(source: BackboneConfig) -> ModelSpec:
    spec = get_spec(source.name)
    if spec.imagenet is None:
        raise UsageError(
            f"{spec.name} has no ImageNet weights that could be frozen: model.weights must be auto "
            f"or none, which learn it from scratch. Received: {source.weights}"
        )
    return spec


def _kind(source: BackboneConfig) -> str:
    return source.weights if source.weights in ("imagenet", "random") else "file"


def _input(spec: ModelSpec, source: BackboneConfig) -> InputSpec:
    side = source.image_size
    if side and side < spec.least_size:
        raise UsageError(
            f"model.image_size of {spec.name} must be 0 or at least {spec.least_size}. "
            f"Received: {side}"
        )
    sized = replace(spec.input, height=side, width=side) if side else spec.input
    return replace(sized, fit=source.fit, filter=source.filter)


def _weights_file(spec: ModelSpec, source: BackboneConfig) -> Path | None:
    """The file of weights, or None for random ones."""
    if source.weights == "random":
        return None
    if source.weights == "imagenet" and spec.imagenet:
        return spec.imagenet.ensure(source.folder)
    file = Path(source.weights).expanduser()
    if not file.is_file():
        raise UsageError(
            "weights must be imagenet, random, or a file of weights. There is no such file: "
            f"{source.weights}"
        )
    return file


@dataclass(frozen=True)
class _Record:
    """What is known of a graph: its digest, how its weights were found, the shapes of its maps."""

    sha256: str
    report: str
    maps: tuple[Shape, ...]


def _valid_record(file: Path, about: Path) -> _Record | None:
    """What is recorded of a graph, if the file is there and is what was written."""
    try:
        record = json.loads(about.read_text(encoding="utf-8"))
        maps = tuple((int(h), int(w), int(c)) for h, w, c in record.get("maps", ()))
        found = _Record(str(record["sha256"]), str(record["report"]), maps)
        actual = sha256_file(file)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if actual != found.sha256:
        log.warning("%s is damaged and made again", file)
        return None
    return found


def _convert(
    spec: ModelSpec,
    source: BackboneConfig,
    weights: Path | None,
    size: InputSpec,
    file: Path,
    about: Path,
) -> _Record:
    _remove_stale(file.parent)
    with atomic_path(file) as temporary:
        output = run_module(
            "sharpeye.models.keras_to_onnx",
            spec.name,
            _kind(source),
            str(weights or ""),
            f"{size.height}x{size.width}",
            str(temporary),
            *(["maps"] if source.maps else []),
        )
        digest = sha256_file(temporary)
    shapes, report = output.strip().splitlines()[-2:]
    maps = tuple((h, w, c) for h, w, c in json.loads(shapes))
    record = _Record(digest, report, maps)
    versions = {package: _version(package) for package in ("keras", "tensorflow-cpu", "onnx")}
    everything = asdict(record) | {"model": spec.name, "made_with": versions}
    write_text(about, json.dumps(everything, indent=2) + "\n")
    return record


def _remove_stale(folder: Path) -> None:
    """Delete what killed conversions left: a conversion takes seconds, never an hour."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
