"""A bundle: one `.sharpeye` file with a model and all its companion files.

It is a zip archive of uncompressed members with fixed dates in a fixed order: the same model gives
the same bytes, and reading cannot expand a member. `bundle.json` holds the digests of all other
members. Members are never unpacked to disk, and only these are allowed:

    model.onnx  bundle.json  labels.txt  README.md  predict.py  predict.mjs  predict.cpp
    samples/expected.json  samples/1.png  ...
"""

import hashlib
import io
import json
import re
import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from sharpeye.artefact.manifest import MANIFEST_FILE, MODEL_FILE, parse_json_text
from sharpeye.artefact.safe_read import MAX_MODEL_BYTES, read_bounded
from sharpeye.core.storage import atomic_path
from sharpeye.errors import ModelError

SUFFIX = ".sharpeye"
LABELS_FILE, CARD_FILE, EXPECTED_FILE = "labels.txt", "README.md", "samples/expected.json"

_ALLOWED_NAMES = re.compile(
    r"model\.onnx|bundle\.json|labels\.txt|README\.md|predict\.(py|mjs|cpp)"
    r"|samples/(expected\.json|[1-9][0-9]?\.png)"
)
_REQUIRED_NAMES = {MODEL_FILE, MANIFEST_FILE, LABELS_FILE}
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip archive

_MAX_MEMBERS = 120
_MAX_MEMBER_BYTES, _MAX_OTHER_BYTES = 16 * 2**20, 64 * 2**20  # one, and all, but the model
_PNG_HEADER = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_MAX_SIDE = 4096  # pixels, of a sample


class Archive(NamedTuple):
    """The members of a bundle, bytes by name, and separately the content of `bundle.json`."""

    members: Mapping[str, bytes]
    record: dict[str, Any]


def write_archive(file: Path, members: Mapping[str, bytes], record: Mapping[str, Any]) -> None:
    """Write a bundle, whole or not at all.

    Args:
        members: bytes by name, without `bundle.json`.
        record: the content of `bundle.json`; the digests of the members are added.
    """
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(members.items())}
    text = json.dumps(dict(record) | {"files": digests}, indent=2, ensure_ascii=False)
    all_members = {**members, MANIFEST_FILE: f"{text}\n".encode()}
    with atomic_path(file) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(all_members):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = 3  # Unix, on all systems
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, all_members[name], zipfile.ZIP_STORED)


def read_archive(file: Path) -> Archive:
    """Read a bundle into memory.

    The file must be, byte by byte, the archive that `zipfile` writes from its members: it has no
    gaps, and every program finds the same members in it.

    Raises:
        ModelError: not a bundle, damaged or changed, or with a forbidden member.
    """
    members = _read_members(read_bounded(file, MAX_MODEL_BYTES + _MAX_OTHER_BYTES), file)
    record = parse_json_text(members.pop(MANIFEST_FILE), f"{file}: its {MANIFEST_FILE}")
    if not isinstance(record, dict) or not isinstance(record.get("files"), dict):
        raise ModelError(f"{file}: its {MANIFEST_FILE} names no files; it is damaged")
    _check_digests(members, record["files"], file)
    _check_samples(members, file)
    return Archive(members, record)


def _read_members(data: bytes, file: Path) -> dict[str, bytes]:
    # `zipfile` would list a directory of any length: its entries' signatures are counted first.
    if data.count(b"PK\1\2") > _MAX_MEMBERS:
        _refuse(file, "it has too many members, or two of one name")
    try:
        entries = zipfile.ZipFile(io.BytesIO(data)).infolist()
    except Exception:  # damaged archives raise BadZipFile, ValueError, NotImplementedError...
        _refuse(file, "it is no zip archive, or holds more than one")
    for entry in entries:
        _check_entry(entry, file)
    sizes = {entry.filename: entry.file_size for entry in entries}
    if len(sizes) < len(entries):
        _refuse(file, "it has too many members, or two of one name")
    if sum(sizes.values()) - sizes.get(MODEL_FILE, 0) > _MAX_OTHER_BYTES:
        _refuse(file, f"its members are larger than {_MAX_OTHER_BYTES // 2**20} MiB together")
    members: dict[str, bytes] = {}
    rebuilt = io.BytesIO()
    with zipfile.ZipFile(rebuilt, "w") as copy:
        for entry in entries:
            start = entry.header_offset + len(entry.FileHeader(zip64=False))
            members[entry.filename] = data[start : start + entry.file_size]
            copy.writestr(entry, members[entry.filename])
    if rebuilt.getbuffer() != data:
        _refuse(file, "there is more in it than its members, they overlap, or a checksum differs")
    if not set(members) >= _REQUIRED_NAMES:
        _refuse(file, f"{', '.join(sorted(_REQUIRED_NAMES - set(members)))} is missing")
    return members


def _check_entry(entry: zipfile.ZipInfo, file: Path) -> None:
    name = entry.orig_filename
    if not _ALLOWED_NAMES.fullmatch(name):
        _refuse(file, f"{name[:60]!r} does not belong into a bundle")
    file_type = stat.S_IFMT(entry.external_attr >> 16) if entry.create_system == 3 else 0
    if file_type not in (0, stat.S_IFREG) or entry.flag_bits:
        _refuse(file, f"{name} is a link or encrypted")
    if entry.extra or entry.comment:
        _refuse(file, f"{name} has a comment or an extra field")
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        _refuse(file, f"{name} is compressed; bundles are not")
    max_bytes = MAX_MODEL_BYTES if name == MODEL_FILE else _MAX_MEMBER_BYTES
    if entry.file_size > max_bytes:
        _refuse(file, f"{name} is larger than {max_bytes // 2**20} MiB")


def _check_digests(members: Mapping[str, bytes], digests: dict[str, Any], file: Path) -> None:
    if set(digests) != set(members):
        raise ModelError(f"{file}: its {MANIFEST_FILE} names other files than it holds")
    for name, data in members.items():
        if hashlib.sha256(data).hexdigest() != digests[name]:
            raise ModelError(
                f"{file}: {name} is not what {MANIFEST_FILE} describes: its SHA-256 differs; "
                "copy the bundle again, or export it again"
            )


def _check_samples(members: Mapping[str, bytes], file: Path) -> None:
    """Require PNG headers of small images before a decoder reads them."""
    for name, data in members.items():
        if name.endswith(".png"):
            sides = struct.unpack_from(">2I", data.ljust(24, b"\0"), len(_PNG_HEADER))
            if not data.startswith(_PNG_HEADER) or not 1 <= min(sides) <= max(sides) <= _MAX_SIDE:
                _refuse(file, f"{name} is no PNG of up to {_MAX_SIDE} pixels a side")


def _refuse(file: Path, reason: str) -> NoReturn:
    raise ModelError(f"{file} is no bundle of SharpEye's, or it is damaged: {reason}")
