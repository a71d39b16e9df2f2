"""A zoo model as a frozen ONNX backbone: made once per machine, then read from the cache.

Keras and TensorFlow run in a process of their own (`keras_to_onnx.py`): the caller never loads
them, and their memory is gone when the file is there.
"""

import contextlib
import hashlib
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sharpeye.errors import EnvironmentFault, MissingExtra, ModelError, SharpEyeError, UsageError
from sharpeye.inference import Backbone
from sharpeye.storage import (
    TEMPORARY_PREFIX,
    FileLock,
    atomic_path,
    cache_root,
    make_folder,
    sha256_file,
    write_text,
)
from sharpeye.types import Fit, InputSpec
from sharpeye.zoo.registry import get_spec
from sharpeye.zoo.spec import ModelSpec

log = logging.getLogger(__name__)

# Raised when the conversion itself changes what it writes.
_CONVERTER_VERSION = 2

# Every network of the zoo halves its input five times.
_LEAST_SIZE = 32
_STALE_SECONDS = 3600


def freeze(
    name: str,
    weights: str = "imagenet",
    fit: Fit = "pad",
    image_size: int = 0,
    announce: Callable[[str], None] | None = None,
    root: Path | None = None,
) -> Backbone:
    """The frozen backbone of a zoo model.

    Args:
        name: a model of the zoo.
        weights: `imagenet`, or `none` for random weights (seed 0).
        fit: how pictures are brought to its input.
        image_size: side of its input in pixels; 0 for the model's own.
        announce: told in one sentence when the conversion, some ten seconds, begins.
        root: the cache; by default `cache_root()`.

    Raises:
        UsageError: no such model, or an input too small for it.
        MissingExtra: the weights or Keras are not installed.
        ModelError: the weights are not those that are known, or the graph does not answer as
            Keras does.
        EnvironmentFault: the cache cannot be written.
    """
    spec = get_spec(name)
    if image_size and image_size < _LEAST_SIZE:
        raise UsageError(
            f"model.image_size must be 0 or at least {_LEAST_SIZE}. Received: {image_size}"
        )
    size = replace(spec.input, height=image_size, width=image_size) if image_size else spec.input
    made_from = f"{_CONVERTER_VERSION}:{_weights_digest(spec, weights)}:{size.height}x{size.width}"
    key = f"{name}-{size.width}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}"
    folder = (root or cache_root()) / "backbones"
    file, about = folder / f"{key}.onnx", folder / f"{key}.json"
    graph_sha256 = _valid_digest(file, about)
    if graph_sha256 is None:
        make_folder(folder)
        with FileLock(folder / f"{key}.lock"):
            graph_sha256 = _valid_digest(file, about)  # another process may have made it meanwhile
            if graph_sha256 is None:
                if announce:
                    announce(f"preparing {name} for ONNX Runtime, once on this machine")
                graph_sha256 = _convert(name, weights, size, file, about)
    return Backbone(name, file, graph_sha256, replace(size, fit=fit))


def _weights_digest(spec: ModelSpec, weights: str) -> str:
    if weights == "none":
        return "random-seed-0"
    file = spec.weights_file()
    if file is None:
        raise MissingExtra(
            "its weights' package", spec.weights_extra, f"{spec.name} with weights {weights}"
        )
    return sha256_file(file)


def _valid_digest(file: Path, about: Path) -> str | None:
    """The graph's digest, if the file is there and is what was written."""
    try:
        recorded = json.loads(about.read_text(encoding="utf-8"))["sha256"]
        actual = sha256_file(file)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if actual != recorded:
        log.warning("%s is damaged and made again", file)
        return None
    return actual


def _convert(name: str, weights: str, size: InputSpec, file: Path, about: Path) -> str:
    _remove_stale(file.parent)
    with atomic_path(file) as temporary:
        program = [sys.executable, "-m", "sharpeye.zoo.keras_to_onnx"]
        command = [*program, name, weights, str(size.height), str(size.width), str(temporary)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise _child_error(done)
        digest = sha256_file(temporary)
    versions = {package: _version(package) for package in ("keras", "tensorflow-cpu", "tf2onnx")}
    record = {"sha256": digest, "model": name, "weights": weights, "made_with": versions}
    write_text(about, json.dumps(record, indent=2) + "\n")
    return digest


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


def _child_error(done: "subprocess.CompletedProcess[str]") -> SharpEyeError:
    """The child's last line tells what went wrong; see `keras_to_onnx.main`."""
    lines = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
    kinds = {4: ModelError, 5: EnvironmentFault}
    kind = kinds.get(done.returncode, EnvironmentFault)
    return kind(lines[-1].strip())
