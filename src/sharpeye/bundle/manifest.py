"""The manifest: what a model file means. It lies in `bundle.json` and inside `model.onnx`.

Inside the graph's metadata, under the key `sharpeye`, is everything but the graph's own digest,
so that the `.onnx` file alone is enough to predict with.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharpeye.errors import ModelError
from sharpeye.types import InputSpec

# Since format 2 the graph itself brings pictures of any size to the network's input.
FORMAT = 2
# Of the graph's metadata: the manifest, its SHA-256, and the `InputSpec` alone, for other readers.
METADATA_KEY, DIGEST_KEY, INPUT_KEY = "sharpeye", "manifest_sha256", "input"
TASKS = ("classify", "localize")

_MAX_MANIFEST_BYTES = 16 * 2**20
_MAX_LABELS = 100_000


@dataclass(frozen=True)
class Manifest:
    """What a model file means.

    Attributes:
        labels: class names in the order of the outputs.
        input: how a picture becomes the graph's input.
        task: `classify` or `localize`.
        model: the zoo's name of the backbone.
        calibration: `{"temperature": T}`; it is already inside the graph.
        weights_license: of the pretrained weights that the model was made from.
        versions: of what made it.
        created: UTC time.
        data: about the pictures it was made from: counts, no paths.
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
    if not isinstance(raw["format"], int) or raw["format"] > FORMAT:
        raise ModelError(
            f"{where} was written in format {raw['format']!r}, this SharpEye reads up to {FORMAT}; "
            "run: pip install --upgrade sharpeye"
        )
    labels = raw.get("labels")
    if (
        not isinstance(labels, list)
        or not 2 <= len(labels) <= _MAX_LABELS
        or not all(isinstance(label, str) for label in labels)
        or len(set(labels)) != len(labels)
    ):
        raise ModelError(f"{where}: `labels` must be a list of two or more different names")
    if raw.get("task") not in TASKS:
        raise ModelError(f"{where}: unknown task {raw.get('task')!r}; allowed: {', '.join(TASKS)}")
    if not isinstance(raw.get("input"), dict):
        raise ModelError(f"{where}: `input` is missing")
    return Manifest(
        labels=tuple(labels),
        input=InputSpec.from_dict(raw["input"]),
        task=raw["task"],
        model=str(raw.get("model", "")),
        calibration=_mapping(raw, "calibration", where),
        weights_license=str(raw.get("weights_license", "")),
        versions=_mapping(raw, "versions", where),
        created=str(raw.get("created", "")),
        data=_mapping(raw, "data", where),
        unknown=_unknown(raw, where),
    )


def _unknown(raw: dict[str, Any], where: str) -> dict[str, Any]:
    found = _mapping(raw, "unknown", where)
    coverage = found.get("coverage", 1.0)
    if (
        isinstance(coverage, bool)
        or not isinstance(coverage, int | float)
        or not 0 <= coverage <= 1
    ):
        raise ModelError(f"{where}: `unknown.coverage` must be from 0 to 1")
    return found


def _mapping(raw: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = raw.get(key, {})
    if not isinstance(value, dict):
        raise ModelError(f"{where}: `{key}` must be an object")
    return value


def read_json(file: Path) -> Any:
    """A JSON file of bounded size.

    Raises:
        ModelError: not there, too large, or not JSON.
    """
    try:
        if file.stat().st_size > _MAX_MANIFEST_BYTES:
            raise ModelError(f"{file} is larger than {_MAX_MANIFEST_BYTES // 2**20} MiB")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(f"cannot open {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ModelError(f"{file} is not JSON; it is damaged") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ModelError(f"{file} is not JSON; it is damaged") from None
