"""The manifest: what a model file means. It lies in `bundle.json` and inside `model.onnx`.

Inside the graph's metadata, under the key `sharpeye`, is everything but the graph's own digest,
so that the `.onnx` file alone is enough to predict with.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharpeye.artefact.safe_read import parse_json, read_bounded
from sharpeye.core.types import InputSpec
from sharpeye.errors import ModelError

# Since format 2 the graph itself brings images of any size to the network's input.
FORMAT = 2
# Of the graph's metadata: the manifest, its SHA-256, and parts of it alone, for other readers.
METADATA_KEY, DIGEST_KEY, INPUT_KEY, LABELS_KEY = "sharpeye", "manifest_sha256", "input", "labels"
TASKS = ("classify", "localize")

_MAX_MANIFEST_BYTES = 16 * 2**20
_MAX_LABELS = 100_000
_MAX_LABEL, _MAX_TEXT = 1000, 10_000  # characters


@dataclass(frozen=True)
class Manifest:
    """What a model file means.

    Attributes:
        labels: class names in the order of the outputs.
        input: how an image becomes the graph's input.
        task: `classify` or `localize`.
        model: the zoo's name of the backbone.
        calibration: `{"temperature": T}`; it is already inside the graph.
        weights_license: of the pretrained weights that the model was made from.
        versions: of what made it.
        created: UTC time.
        data: about the images it was made from: counts, no paths.
        unknown: how answers for what is like nothing learned are told; empty if they are not.
    """

    labels: tuple[str, ...]
    input: InputSpec
    task: str = "classify"
    model: str = ""
    calibration: dict[str, float] = field(default_factory=dict)
    weights_license: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "task": self.task,
            "labels": list(self.labels),
            "input": self.input.to_dict(),
            "model": self.model,
            "calibration": self.calibration,
            "weights_license": self.weights_license,
            "versions": self.versions,
            "created": self.created,
            "data": self.data,
            "unknown": self.unknown,
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False)


def parse_manifest(raw: Any, where: str) -> Manifest:
    """Read what `to_dict` wrote, trusting nothing in it.

    Raises:
        ModelError: of another format, incomplete, or with values out of range.
    """
    if not isinstance(raw, dict) or raw.get("format") is None:
        raise ModelError(f"{where} holds no SharpEye manifest")
    if type(raw["format"]) is not int or not 1 <= raw["format"] <= FORMAT:
        raise ModelError(
            f"{where} was written in format {_shown(raw['format'])}, this SharpEye reads up to "
            f"{FORMAT}; run: pip install --upgrade sharpeye"
        )
    labels = _labels(raw.get("labels"), where)
    if raw.get("task") not in TASKS:
        raise ModelError(
            f"{where}: unknown task {_shown(raw.get('task'))}; allowed: {', '.join(TASKS)}"
        )
    return Manifest(
        labels=labels,
        input=input_of(raw.get("input"), where),
        task=raw["task"],
        model=_text(raw, "model", where),
        calibration=_numbers(raw, "calibration", where),
        weights_license=_text(raw, "weights_license", where),
        versions=_mapping(raw, "versions", where),
        created=_text(raw, "created", where),
        data=_mapping(raw, "data", where),
        unknown=_unknown(raw, where),
    )


def _labels(found: Any, where: str) -> tuple[str, ...]:
    if (
        not isinstance(found, list)
        or not 2 <= len(found) <= _MAX_LABELS
        or not all(isinstance(label, str) for label in found)
        or len(set(found)) != len(found)
    ):
        raise ModelError(f"{where}: `labels` must be a list of two or more different names")
    for label in found:
        # Others would forge lines of output; no class folder is taken that has one either.
        if not 1 <= len(label) <= _MAX_LABEL or any(ord(c) < 32 for c in label):
            raise ModelError(
                f"{where}: a label must have 1 to {_MAX_LABEL} characters, and no control "
                f"character. Received: {_shown(label)}"
            )
    return tuple(found)


def _shown(value: Any) -> str:
    """A value of a stranger's, for a message."""
    return repr(value)[:60]


def _text(raw: dict[str, Any], key: str, where: str) -> str:
    value = raw.get(key, "")
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise ModelError(f"{where}: `{key}` must be a text")
    return value


def _numbers(raw: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    found = _mapping(raw, key, where)
    for value in found.values():
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ModelError(f"{where}: `{key}` must hold numbers. Received: {_shown(value)}")
    return found


def _unknown(raw: dict[str, Any], where: str) -> dict[str, Any]:
    found = _mapping(raw, "unknown", where)
    coverage = found.get("coverage", 1.0)
    if (
        isinstance(coverage, bool)
        or not isinstance(coverage, int | float)
        or not 0 <= coverage <= 1
    ):
        raise ModelError(f"{where}: `unknown.coverage` must be from 0 to 1")
    count = found.get("calibrated_on", 0)
    if type(count) is not int or count < 0:
        raise ModelError(f"{where}: `unknown.calibrated_on` must be a number of pictures")
    return found


def _mapping(raw: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = raw.get(key, {})
    if not isinstance(value, dict):
        raise ModelError(f"{where}: `{key}` must be an object")
    return value


def input_of(raw: Any, where: str) -> InputSpec:
    """What `InputSpec.to_dict` wrote.

    Raises:
        ModelError: it is missing, incomplete, or with values out of range.
    """
    if not isinstance(raw, dict):
        raise ModelError(f"{where}: `input` is missing")
    try:
        return InputSpec.from_dict(raw)
    except ModelError as error:
        raise ModelError(f"{where}: {str(error)[:300]}") from None


def read_json(file: Path) -> Any:
    """A JSON file of bounded size.

    Raises:
        ModelError: not there, too large, a link to another place, or not JSON.
    """
    return json_of(read_bounded(file, _MAX_MANIFEST_BYTES, file.parent), str(file))


def json_of(text: str | bytes, where: str) -> Any:
    """JSON that a stranger may have written.

    Raises:
        ModelError: it is not JSON, or has NaN or a key twice.
    """
    try:
        return parse_json(text)
    except ValueError as error:
        plain = isinstance(error, json.JSONDecodeError | UnicodeDecodeError)
        reason = "" if plain else f" ({str(error)[:80]})"
        raise ModelError(f"{where} is not JSON{reason}; it is damaged") from None
