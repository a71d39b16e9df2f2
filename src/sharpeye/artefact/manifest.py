"""The manifest: the meaning of a model file. It lies in `bundle.json` and inside `model.onnx`.

The graph's metadata holds all of it but the graph's own digest under the key `sharpeye`: the
`.onnx` file alone is enough for prediction.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sharpeye.artefact.file_digest import EMPTY_DIGEST, FILE_DIGEST_KEY
from sharpeye.artefact.safe_read import read_bounded
from sharpeye.core.safe_parse import MAX_JSON_BYTES, parse_json
from sharpeye.core.types import InputSpec
from sharpeye.errors import ModelError

MODEL_FILE, MANIFEST_FILE = "model.onnx", "bundle.json"

# Since format 2 the graph itself fits images of any size to the network's input.
FORMAT = 2
# Keys of the graph's metadata: the manifest, its SHA-256, and parts of it for other readers.
METADATA_KEY, DIGEST_KEY, INPUT_KEY, LABELS_KEY = "sharpeye", "manifest_sha256", "input", "labels"
# In the embedded manifest: the file must hold its digest. Earlier files have none.
_HAS_DIGEST = "file_digest"
TASKS = ("classify", "localize")

_MAX_LABELS = 100_000
_MAX_LABEL_CHARACTERS, _MAX_TEXT_CHARACTERS = 1000, 10_000


@dataclass(frozen=True)
class Manifest:
    """The meaning of a model file.

    Attributes:
        labels: class names in the order of the outputs.
        input: how an image becomes the graph's input.
        task: `classify` or `localize`.
        model: name of the backbone in the registry.
        calibration: `{"temperature": T}`; the graph applies it already.
        weights_license: license of the pretrained weights under the model.
        versions: versions of the packages that made it.
        data: counts of the training images, without paths.
        unknown: settings of the OOD detector; empty if the model has none.
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
        """A JSON-ready dict, which `parse_manifest` reads."""
        raw = asdict(self) | {"labels": list(self.labels), "input": self.input.to_dict()}
        return {"format": FORMAT, "task": self.task} | raw

    def to_metadata(self) -> dict[str, str]:
        """Entries for the graph's metadata, which `parse_embedded_manifest` reads."""
        text = json.dumps(self.to_dict() | {_HAS_DIGEST: True}, ensure_ascii=False)
        return {
            METADATA_KEY: text,
            DIGEST_KEY: hashlib.sha256(text.encode()).hexdigest(),
            FILE_DIGEST_KEY: EMPTY_DIGEST,
            LABELS_KEY: json.dumps(list(self.labels), ensure_ascii=False),
            INPUT_KEY: json.dumps(self.input.to_dict()),
            "version": self.versions.get("sharpeye", ""),
            "license": self.weights_license,
        }


def parse_embedded_manifest(metadata: Mapping[str, str], where: str) -> Manifest:
    """The manifest in a graph's metadata; raises `ModelError` as `parse_manifest`."""
    text = metadata.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{where} is an ONNX model, but not one that SharpEye wrote")
    digest = hashlib.sha256(text.encode()).hexdigest()
    if metadata.get(DIGEST_KEY, digest) != digest:
        raise ModelError(f"{where} holds a manifest that was changed: its SHA-256 differs")
    return parse_manifest(parse_json_text(text, f"{where}: its manifest"), where)


def requires_digest(metadata: Mapping[str, str]) -> bool:
    """Whether a graph's metadata, which `parse_embedded_manifest` accepts, promise a digest."""
    return FILE_DIGEST_KEY in metadata or _HAS_DIGEST in parse_json(metadata[METADATA_KEY])


def parse_manifest(raw: Any, where: str) -> Manifest:
    """Parse and check the output of `Manifest.to_dict` from an untrusted file.

    Raises:
        ModelError: another format, incomplete, or with values out of range.
    """
    if not isinstance(raw, dict) or raw.get("format") is None:
        raise ModelError(f"{where} holds no SharpEye manifest")
    if type(raw["format"]) is not int or not 1 <= raw["format"] <= FORMAT:
        raise ModelError(
            f"{where} was written in format {_shown(raw['format'])}, this SharpEye reads up to "
            f"{FORMAT}; run: pip install --upgrade sharpeye"
        )
    labels = _parse_labels(raw.get("labels"), where)
    if raw.get("task") not in TASKS:
        raise ModelError(
            f"{where}: unknown task {_shown(raw.get('task'))}; allowed: {', '.join(TASKS)}"
        )
    return Manifest(
        labels=labels,
        input=parse_input_spec(raw.get("input"), where),
        task=raw["task"],
        model=_parse_text(raw, "model", where),
        calibration=_parse_calibration(raw, where),
        weights_license=_parse_text(raw, "weights_license", where),
        versions=_parse_object(raw, "versions", where),
        created=_parse_text(raw, "created", where),
        data=_parse_object(raw, "data", where),
        unknown=_parse_unknown(raw, where),
    )


def _parse_labels(labels: Any, where: str) -> tuple[str, ...]:
    if (
        not isinstance(labels, list)
        or not 2 <= len(labels) <= _MAX_LABELS
        or not all(isinstance(label, str) for label in labels)
        or len(set(labels)) != len(labels)
    ):
        raise ModelError(f"{where}: `labels` must be a list of two or more different names")
    for label in labels:
        # A control character would forge lines of output; training refuses such class folders.
        if not 1 <= len(label) <= _MAX_LABEL_CHARACTERS or any(ord(c) < 32 for c in label):
            raise ModelError(
                f"{where}: a label must have 1 to {_MAX_LABEL_CHARACTERS} characters, and no "
                f"control character. Received: {_shown(label)}"
            )
    return tuple(labels)


def _shown(value: Any) -> str:
    """An untrusted value, for a message."""
    return repr(value)[:60]


def _parse_text(raw: dict[str, Any], key: str, where: str) -> str:
    value = raw.get(key, "")
    if not isinstance(value, str) or len(value) > _MAX_TEXT_CHARACTERS:
        raise ModelError(f"{where}: `{key}` must be a text")
    return value


def _parse_object(raw: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = raw.get(key, {})
    if not isinstance(value, dict):
        raise ModelError(f"{where}: `{key}` must be an object")
    return value


def _parse_calibration(raw: dict[str, Any], where: str) -> dict[str, Any]:
    calibration = _parse_object(raw, "calibration", where)
    for value in calibration.values():
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ModelError(f"{where}: `calibration` must hold numbers. Received: {_shown(value)}")
    return calibration


def _parse_unknown(raw: dict[str, Any], where: str) -> dict[str, Any]:
    unknown = _parse_object(raw, "unknown", where)
    coverage, count = unknown.get("coverage", 1.0), unknown.get("calibrated_on", 0)
    if type(coverage) not in (int, float) or not 0 <= coverage <= 1:
        raise ModelError(f"{where}: `unknown.coverage` must be from 0 to 1")
    if type(count) is not int or count < 0:
        raise ModelError(f"{where}: `unknown.calibrated_on` must be a number of images")
    return unknown


def parse_input_spec(raw: Any, where: str) -> InputSpec:
    """Read what `InputSpec.to_dict` wrote; raises `ModelError` as `parse_manifest`."""
    if not isinstance(raw, dict):
        raise ModelError(f"{where}: `input` is missing")
    try:
        return InputSpec.from_dict(raw)
    except ModelError as error:
        raise ModelError(f"{where}: {str(error)[:300]}") from None


def labels_text(labels: Sequence[str]) -> str:
    """The content of `labels.txt`: a class per line, in the order of the outputs."""
    return "".join(f"{label}\n" for label in labels)


def read_json_file(file: Path) -> Any:
    """Read an untrusted JSON file of bounded size.

    Raises:
        ModelError: missing, too large, a link out of its folder, or not strict JSON.
    """
    return parse_json_text(read_bounded(file, MAX_JSON_BYTES, file.parent), str(file))


def parse_json_text(text: str | bytes, where: str) -> Any:
    """Parse untrusted JSON.

    Raises:
        ModelError: it is not JSON, or has NaN or a duplicate key.
    """
    try:
        return parse_json(text)
    except ValueError as error:
        is_syntax_error = isinstance(error, json.JSONDecodeError | UnicodeDecodeError)
        reason = "" if is_syntax_error else f" ({str(error)[:80]})"
        raise ModelError(f"{where} is not JSON{reason}; it is damaged") from None
