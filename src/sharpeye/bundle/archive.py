"""A bundle: one `.sharpeye` file with a model and all that belongs to it.

It is a zip archive of stored (not compressed) members with fixed dates in a fixed order, so that
the same model makes the same bytes, and nothing can grow when it is read. `bundle.json` holds the
digests of all other members. Nothing of it is ever unpacked to disk, and nothing else than what is
listed here may be inside.

    model.onnx  bundle.json  labels.txt  README.md  predict.py  predict.mjs  predict.cpp
    samples/expected.json  samples/1.png  ...
"""

import hashlib
import json
import re
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpeye.errors import ModelError
from sharpeye.storage import atomic_path

SUFFIX = ".sharpeye"
MODEL, MANIFEST, LABELS, CARD = "model.onnx", "bundle.json", "labels.txt", "README.md"
EXPECTED = "samples/expected.json"

_ALLOWED = re.compile(
    r"model\.onnx|bundle\.json|labels\.txt|README\.md|predict\.(py|mjs|cpp)"
    r"|samples/(expected\.json|[1-9][0-9]?\.png)"
)
_NEEDED = {MODEL, MANIFEST, LABELS}
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip archive knows
_LOCAL_HEADER = 30  # bytes, before the name

# Of all members but the model.
_MOST_BYTES = 16 * 2**20
_MOST_MODEL_BYTES = 2 * 2**30
_MOST_MEMBERS = 120


@dataclass(frozen=True)
class Archive:
    """What a bundle holds; names, sizes and digests are checked.

    Attributes:
        members: bytes by name, without `bundle.json`.
        record: what `bundle.json` holds.
    """

    members: Mapping[str, bytes]
    record: dict[str, Any]


def sample_name(number: int) -> str:
    """Where the sample picture of that number lies, from 1."""
    return f"samples/{number}.png"


def write_archive(file: Path, members: Mapping[str, bytes], record: Mapping[str, Any]) -> None:
    """Write a bundle, whole or not at all.

    Args:
        members: bytes by name, without `bundle.json`.
        record: for `bundle.json`; the digests of the members are put in.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(members.items())}
    text = json.dumps(dict(record) | {"files": digests}, indent=2, ensure_ascii=False)
    everything = {**members, MANIFEST: f"{text}\n".encode()}
    with atomic_path(file) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(everything):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = 3  # Unix, on all systems
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, everything[name], zipfile.ZIP_STORED)


def read_archive(file: Path) -> Archive:
    """Read a bundle into memory.

    Raises:
        ModelError: not a bundle; damaged or changed; with a member that does not belong there.
    """
    try:
        size = file.stat().st_size
        with zipfile.ZipFile(file) as archive:
            _check(archive, size, file)
            members = {info.filename: archive.read(info) for info in archive.infolist()}
    except OSError as error:
        raise ModelError(f"cannot open {file}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        reason = " ".join(str(error).split())[:100]
        raise ModelError(f"{file} is no bundle of SharpEye's, or it is damaged: {reason}") from None
    record = _read_record(members.pop(MANIFEST), file)
    _check_digests(members, record, file)
    return Archive(members, record)


def _check(archive: zipfile.ZipFile, size: int, file: Path) -> None:
    """Look at the directory of an archive, before a member is read."""
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if len(infos) > _MOST_MEMBERS or len(set(names)) != len(names):
        _refuse(file, "it has too many members, or two of one name")
    for info in infos:
        if not _ALLOWED.fullmatch(info.filename) or info.orig_filename != info.filename:
            _refuse(file, f"{info.filename[:60]!r} does not belong into a bundle")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or info.flag_bits & 0x1:
            _refuse(file, f"{info.filename} is a link or encrypted")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            _refuse(file, f"{info.filename} is compressed; bundles are not")
        most = _MOST_MODEL_BYTES if info.filename == MODEL else _MOST_BYTES
        if info.file_size > most:
            _refuse(file, f"{info.filename} is larger than {most // 2**20} MiB")
    if not set(names) >= _NEEDED:
        _refuse(file, f"{', '.join(sorted(_NEEDED - set(names)))} is missing")
    # Members that share bytes would hold more than the file does.
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            _refuse(file, f"{info.filename} lies over another member")
        end = info.header_offset + _LOCAL_HEADER + len(info.filename) + info.file_size
    if end > size:
        _refuse(file, "it is cut off")


def _refuse(file: Path, reason: str) -> None:
    raise ModelError(f"{file} is no bundle of SharpEye's, or it is damaged: {reason}")


def _read_record(data: bytes, file: Path) -> dict[str, Any]:
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        raise ModelError(f"{file}: its {MANIFEST} is not JSON; it is damaged") from None
    if not isinstance(record, dict) or not isinstance(record.get("files"), dict):
        raise ModelError(f"{file}: its {MANIFEST} names no files; it is damaged")
    return record


def _check_digests(members: Mapping[str, bytes], record: dict[str, Any], file: Path) -> None:
    listed = record["files"]
    if set(listed) != set(members):
        raise ModelError(f"{file}: its {MANIFEST} names other files than it holds")
    for name, data in members.items():
        if hashlib.sha256(data).hexdigest() != listed[name]:
            raise ModelError(
                f"{file}: {name} is not what {MANIFEST} describes: its SHA-256 differs; "
                "copy the bundle again, or export it again"
            )
