"""Make a frozen ONNX backbone of a model once per machine, and then read it from the cache.

Keras and TensorFlow run in their own process (`keras_to_onnx.py`): the caller never loads them, and
their memory is released when the file is written.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sharpeye.core.config import Config
from sharpeye.core.config_paths import locate, weights_path
from sharpeye.core.inference import Backbone, Shape
from sharpeye.core.keras_import import CHILD_ENVIRONMENT
from sharpeye.core.paths import user_path
from sharpeye.core.processes import run_module
from sharpeye.core.storage import (
    FileLock,
    atomic_path,
    cache_root,
    make_folder,
    sha256_file,
    write_text,
)
from sharpeye.core.types import Filter, InputSpec, ResizeMode
from sharpeye.errors import NetworkError, UsageError
from sharpeye.models.keras_to_onnx import set_weights
from sharpeye.models.registry import get_spec, list_models
from sharpeye.models.spec import ModelSpec
from sharpeye.models.weights.frozen_graph_file import is_frozen_graph

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

_CONVERTER_VERSION = 3  # Raise it whenever the conversion writes different files.


@dataclass(frozen=True)
class BackboneConfig:
    """The inputs of a conversion to a backbone.

    Attributes:
        weights: `imagenet`, `random` (seed 0), or the path of a weights file.
        image_size: side of the input in pixels; 0 for the model's default.
        fit, filter: how images are brought to the input; see `InputSpec`.
        weights_folder: the first folder to search for ImageNet weights, which receives downloads.
        maps: whether the backbone also outputs its feature maps.
    """

    name: str
    weights: str = "imagenet"
    image_size: int = 0
    fit: ResizeMode = "pad"
    filter: Filter = "bicubic"
    weights_folder: Path | None = None
    maps: bool = False

    @classmethod
    def from_config(cls, config: Config, *, maps: bool | None = None) -> "BackboneConfig":
        """The backbone of a configuration; by default it has `maps` if boxes are trained."""
        model = config.model
        return cls(
            name=model.name,
            weights=weights_path(config),
            image_size=model.image_size,
            fit=cast(ResizeMode, model.fit),  # `Config` allows no other values.
            filter=cast(Filter, model.filter),
            weights_folder=locate(config, model.weights_folder) if model.weights_folder else None,
            maps=config.task == "localize" if maps is None else maps,
        )


def load_backbone(
    config: BackboneConfig, announce: Callable[[str], None] | None = None, root: Path | None = None
) -> Backbone:
    """The frozen backbone of a model.

    Args:
        announce: called with a sentence when a conversion starts, which takes seconds, and with the
            report on a weights file.
        root: the cache; by default `cache_root()`.

    Raises:
        UsageError: there is no such model or file, or the input is too small.
        MissingExtra, NetworkError: the weights or Keras are missing and cannot be downloaded.
        ModelError: the weights are not the known ones or do not fit, or Keras and the graph differ.
        EnvironmentFault: the cache cannot be written.
    """
    announce = announce or (lambda _: None)
    spec = _backbone_spec(config)
    side = config.image_size
    if side:
        spec.require_size(side)
    sized = replace(spec.input, height=side, width=side) if side else spec.input
    size = replace(sized, fit=config.fit, filter=config.filter)
    weights = _weights_file(spec, config)
    if weights and config.maps:
        _require_trainable(weights, "a box head")
    digest = sha256_file(weights) if weights else "random-seed-0"
    made_from = f"{_CONVERTER_VERSION}:{digest}:{size.height}x{size.width}{':maps' * config.maps}"
    key = f"{spec.name}-{size.width}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}"
    folder = (root or cache_root()) / "backbones"
    graph_file = folder / f"{key}.onnx"
    record = _valid_record(graph_file)
    if record is None:
        make_folder(folder)
        with FileLock(folder / f"{key}.lock"):
            record = _valid_record(graph_file)  # Another process may have made it meanwhile.
            if record is None:
                announce(f"preparing {spec.name} for ONNX Runtime, once on this machine")
                record = _convert(spec, config, weights, size=size, graph_file=graph_file)
    if _weights_kind(config) == "file":
        announce(record.report)
    return Backbone(spec.name, graph_file, record.sha256, size, record.maps)


def weight_loader(config: BackboneConfig) -> Callable[["keras.Model"], str]:
    """A function that sets the weights of `load_backbone(config)` in a model of `ModelSpec.build`.

    It returns a line that says which layers matched, and raises ModelError if they do not fit.
    """
    spec = _backbone_spec(config)
    file = _weights_file(spec, config) or Path()
    _require_trainable(file, "fine-tuning")
    return partial(set_weights, spec=spec, kind=_weights_kind(config), weights=file)


def local_models(folder: Path | None = None) -> list[str]:
    """The models whose ImageNet weights are on this machine, in `folder` or where they are kept."""
    specs = (spec for spec in list_models() if spec.imagenet)
    return [spec.name for spec in specs if spec.imagenet and spec.imagenet.find(folder)]


def _backbone_spec(config: BackboneConfig) -> ModelSpec:
    spec = get_spec(config.name)
    if spec.imagenet is None:
        raise UsageError(
            f"{spec.name} has no ImageNet weights that could be frozen: model.weights must be auto "
            f"or none, which learn it from scratch. Received: {config.weights}"
        )
    return spec


def _require_trainable(file: Path, purpose: str) -> None:
    """Raise UsageError for a frozen graph, which has features but no layers of Keras."""
    if is_frozen_graph(file):
        raise UsageError(
            f"{purpose} needs weights of Keras, or imagenet. Received: {file}, a frozen graph"
        )


def _weights_kind(config: BackboneConfig) -> str:
    return config.weights if config.weights in ("imagenet", "random") else "file"


def _weights_file(spec: ModelSpec, config: BackboneConfig) -> Path | None:
    """The weights file; None for random weights."""
    if config.weights == "random":
        return None
    if config.weights == "imagenet" and spec.imagenet:
        try:
            return spec.imagenet.ensure(config.weights_folder)
        except NetworkError as error:
            names = local_models(config.weights_folder)
            local = f"; no download is needed for {', '.join(names)}" if names else ""
            raise NetworkError(f"{error}{local}") from None
    file = user_path(config.weights)
    if not file.is_file():
        raise UsageError(
            "weights must be imagenet, random, or a file of weights. There is no such file: "
            f"{config.weights}"
        )
    return file


@dataclass(frozen=True)
class _Record:
    """The record beside a graph: its digest, a line about its weights, the shapes of its maps."""

    sha256: str
    report: str
    maps: tuple[Shape, ...]

    def checksum(self) -> str:
        """The SHA-256 of the record, which earlier versions did not write."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()


def _valid_record(graph_file: Path) -> _Record | None:
    """The record of a graph; None if the graph is missing or differs from its record."""
    try:
        content = json.loads(graph_file.with_suffix(".json").read_text(encoding="utf-8"))
        maps = tuple((int(h), int(w), int(c)) for h, w, c in content.get("maps", ()))
        record = _Record(str(content["sha256"]), str(content["report"]), maps)
        is_intact = content.get("checksum", record.checksum()) == record.checksum()
        actual = sha256_file(graph_file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if actual != record.sha256 or not is_intact:
        log.warning("%s is damaged and made again", graph_file)
        return None
    return record


def _convert(
    spec: ModelSpec,
    config: BackboneConfig,
    weights: Path | None,
    *,
    size: InputSpec,
    graph_file: Path,
) -> _Record:
    with atomic_path(graph_file) as temporary:
        target = (f"{size.height}x{size.width}", str(temporary), *(["maps"] if config.maps else []))
        if weights and is_frozen_graph(weights):
            output = run_module(
                "sharpeye.models.frozen_graph_to_onnx", spec.name, str(weights), *target
            )
        else:
            source = (spec.name, _weights_kind(config), str(weights or ""))
            output = run_module(
                "sharpeye.models.keras_to_onnx", *source, *target, environment=CHILD_ENVIRONMENT
            )
        digest = sha256_file(temporary)
    shapes, report = output.strip().splitlines()[-2:]
    record = _Record(digest, report, tuple((h, w, c) for h, w, c in json.loads(shapes)))
    versions: dict[str, str | None] = dict.fromkeys(("keras", "tensorflow-cpu", "onnx"))
    for package in versions:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    content = asdict(record) | {"checksum": record.checksum()}
    content |= {"model": spec.name, "made_with": versions}
    write_text(graph_file.with_suffix(".json"), json.dumps(content, indent=2) + "\n")
    return record
