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
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from sharpeye.artefact.manifest import json_of
from sharpeye.artefact.safe_read import MAX_MODEL_BYTES, read_bounded
from sharpeye.core.storage import atomic_path
from sharpeye.errors import ModelError

SUFFIX = ".sharpeye"
MODEL, MANIFEST, LABELS, CARD = "model.onnx", "bundle.json", "labels.txt", "README.md"
EXPECTED = "samples/expected.json"

_ALLOWED = re.compile(
    r"model\.onnx|bundle\.json|labels\.txt|README\.md|predict\.(py|mjs|cpp)"
    r"|samples/(expected\.json|[1-9][0-9]?\.png)"
)
_NEEDED = {MODEL, MANIFEST, LABELS}
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip archive knows

# The three records of a zip archive; see https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")

# Of one member that is not the model, of all of them, and their number.
_MAX_BYTES, _MAX_OTHER_BYTES = 16 * 2**20, 64 * 2**20
_MAX_MEMBERS = 120
_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_MAX_SIDE = 4096  # pixels, of a sample


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
    """Where the sample image of that number lies, from 1."""
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

    Only what `write_archive` writes is taken: members without gaps between them, each said twice
    in the same words. So no other program can find other members in it.

    Raises:
        ModelError: not a bundle; damaged or changed; with a member that does not belong there.
    """
    data = read_bounded(file, MAX_MODEL_BYTES + _MAX_OTHER_BYTES)
    try:
        members = _members(data, file)
    except struct.error:
        _refuse(file, "it is cut off")
    record = json_of(members.pop(MANIFEST), f"{file}: its {MANIFEST}")
    if not isinstance(record, dict) or not isinstance(record.get("files"), dict):
        raise ModelError(f"{file}: its {MANIFEST} names no files; it is damaged")
    _check_digests(members, record, file)
    _check_samples(members, file)
    return Archive(members, record)


def _members(data: bytes, file: Path) -> dict[str, bytes]:
    end = max(0, len(data) - _END.size)
    mark, disk, first_disk, here, count, size, start, comment = _END.unpack_from(data, end)
    if mark != b"PK\5\6" or start + size != end or comment or disk or first_disk:
        _refuse(file, "it is no zip archive, or holds more than one")
    if here != count or count > _MAX_MEMBERS:
        _refuse(file, "it has too many members, or two of one name")
    members: dict[str, bytes] = {}
    at, directory, others = 0, start, 0
    for _ in range(count):
        name, length, directory = _entry(data, at, directory, file)
        if name in members:
            _refuse(file, "it has too many members, or two of one name")
        at += _LOCAL.size + len(name)
        members[name] = data[at : at + length]
        at += length
        others += 0 if name == MODEL else length
    if at != start or directory != end or others > _MAX_OTHER_BYTES:
        _refuse(file, "there is more in it than its members, or too much")
    if not set(members) >= _NEEDED:
        _refuse(file, f"{', '.join(sorted(_NEEDED - set(members)))} is missing")
    return members


def _entry(data: bytes, at: int, directory: int, file: Path) -> tuple[str, int, int]:
    """Name and length of the member at a place, and where the directory goes on."""
    mark, made_by, _, *said, extra, comment, disk, _, kind, offset = _CENTRAL.unpack_from(
        data, directory
    )
    flags, method, _, _, checksum, length, whole, name_length = said
    directory += _CENTRAL.size
    name = data[directory : directory + name_length].decode("ascii", "backslashreplace")
    if mark != b"PK\1\2" or not _ALLOWED.fullmatch(name):
        _refuse(file, f"{name[:60]!r} does not belong into a bundle")
    mode = stat.S_IFMT(kind >> 16) if made_by >> 8 == 3 else 0
    if mode not in (0, stat.S_IFREG) or flags:
        _refuse(file, f"{name} is a link or encrypted")
    if method != zipfile.ZIP_STORED or length != whole:
        _refuse(file, f"{name} is compressed; bundles are not")
    most = MAX_MODEL_BYTES if name == MODEL else _MAX_BYTES
    if length > most:
        _refuse(file, f"{name} is larger than {most // 2**20} MiB")
    local, _, *again, more = _LOCAL.unpack_from(data, at)
    behind = at + _LOCAL.size
    same = again == said and data[behind : behind + name_length] == name.encode()
    if offset != at or local != b"PK\3\4" or not same or more or extra or comment or disk:
        _refuse(file, f"{name} is not where it should be, or lies over another member")
    behind += name_length
    if zlib.crc32(memoryview(data)[behind : behind + length]) != checksum:
        _refuse(file, f"{name} is not what was written: its checksum differs")
    return name, length, directory + name_length


def _check_samples(members: Mapping[str, bytes], file: Path) -> None:
    for name, data in members.items():
        if name.endswith(".png"):
            sides = struct.unpack_from(">2I", data.ljust(24, b"\0"), len(_PNG))
            if not data.startswith(_PNG) or not 1 <= min(sides) <= max(sides) <= _MAX_SIDE:
                _refuse(file, f"{name} is no PNG of up to {_MAX_SIDE} pixels a side")


def _refuse(file: Path, reason: str) -> NoReturn:
    raise ModelError(f"{file} is no bundle of SharpEye's, or it is damaged: {reason}")


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
