"""Hostile run directories and `.sharpeye` files."""

import hashlib
import io
import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from good_model import GoodModel, set_metadata

Change = Callable[[GoodModel, Path], None]

CASES: dict[str, Change] = {}


# --- run directories -----------------------------------------------------------------------------


def _run(name: str, change: Change, **values: Any) -> None:
    """Register a case: a run directory with right digests, which is then changed."""

    def make(good: GoodModel, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.onnx").write_bytes(good.model)
        files = {"model.onnx": hashlib.sha256(good.model).hexdigest()}
        record = good.record | {"files": files} | values
        (folder / "bundle.json").write_text(json.dumps(record), encoding="utf-8")
        change(good, folder)

    CASES[f"run_{name}"] = make


def _unchanged(good: GoodModel, folder: Path) -> None:
    pass


def _text(content: str) -> Change:
    return lambda good, folder: (folder / "bundle.json").write_text(content) and None


def _without_file(name: str) -> Change:
    return lambda good, folder: (folder / name).unlink()


def _replaced(name: str, write: Callable[[GoodModel, Path], Any]) -> Change:
    def change(good: GoodModel, folder: Path) -> None:
        (folder / name).unlink()
        write(good, folder / name)

    return change


def _link_to_a_valid_model(good: GoodModel, file: Path) -> None:
    valid = file.parent.parent / "elsewhere.onnx"
    valid.write_bytes(good.model)
    file.symlink_to(valid)


def _sparse(good: GoodModel, file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(2**36)


def _other_model(good: GoodModel, folder: Path) -> None:
    """A valid model of other classes, with its right digest."""
    model = onnx.load_from_string(good.model)
    raw = json.loads(set_metadata(model)["sharpeye"]) | {"labels": ["x", "y", "z"]}
    set_metadata(model, sharpeye=json.dumps(raw), labels='["x", "y", "z"]')
    data = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    record = good.record | {"files": {"model.onnx": hashlib.sha256(data).hexdigest()}}
    (folder / "bundle.json").write_text(json.dumps(record))


_run("digest_wrong", _unchanged, files={"model.onnx": "0" * 64})
_run("digest_missing", _unchanged, files={})
_run("digest_no_text", _unchanged, files={"model.onnx": 0})
_run("files_list", _unchanged, files=["model.onnx"])
_run("files_elsewhere", _unchanged, files={"../model.onnx": "0" * 64})
_run("newer", _unchanged, format=3)
_run("labels_turned", _unchanged, labels=["cedar", "birch", "ash"])
_run("task_other", _unchanged, task="localize")
_run("input_other", _unchanged, input={"height": 32, "width": 32})
_run("of_another_model", _other_model)
_run("json_empty", _text(""))
_run("json_deep", _text('{"a":' * 100_000))
_run("json_nan", _text('{"format": NaN}'))
_run("json_no_object", _text("[1, 2]"))
_run("json_number", _text("7"))
_run("json_missing", _without_file("bundle.json"))
_run("json_folder", _replaced("bundle.json", lambda good, file: file.mkdir()))
_run("json_pipe", _replaced("bundle.json", lambda good, file: os.mkfifo(file)))
_run("json_link_outside", _replaced("bundle.json", lambda good, file: file.symlink_to(good.canary)))
_run("json_link_to_itself", _replaced("bundle.json", lambda good, file: file.symlink_to(file)))
_run("json_huge", _replaced("bundle.json", _sparse))
_run("json_bytes", _replaced("bundle.json", lambda good, file: file.write_bytes(b"\x80\x05\xff")))
_run("model_missing", _without_file("model.onnx"))
_run("model_folder", _replaced("model.onnx", lambda good, file: file.mkdir()))
_run("model_pipe", _replaced("model.onnx", lambda good, file: os.mkfifo(file)))
_run("model_link_outside", _replaced("model.onnx", lambda good, file: file.symlink_to(good.canary)))
_run("model_link_to_a_valid_model", _replaced("model.onnx", _link_to_a_valid_model))
_run("model_huge", _replaced("model.onnx", _sparse))
_run("model_empty", _replaced("model.onnx", lambda good, file: file.touch()))


# --- archives ------------------------------------------------------------------------------------


def _archive(name: str, make: Callable[[GoodModel], bytes]) -> None:
    CASES[f"{name}.sharpeye"] = lambda good, file: file.write_bytes(make(good)) and None


def _zipped(
    good: GoodModel,
    change: Callable[[dict[str, bytes]], Any] = lambda members: None,
    add: Callable[[zipfile.ZipFile], Any] = lambda archive: None,
    record: dict[str, Any] | None = None,
    method: int = zipfile.ZIP_STORED,
) -> bytes:
    """A bundle with right digests after a change of its members."""
    members = dict(good.members)
    change(members)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    text = json.dumps(good.record | {"files": digests} | (record or {}))
    members.setdefault("bundle.json", text.encode())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
        add(archive)
    return file.getvalue()


def _with(name: str, data: bytes = b"x") -> Callable[[GoodModel], bytes]:
    """A bundle with one more member, whose digest is right."""
    return lambda good: _zipped(good, lambda members: members.update({name: data}))


def _without(name: str) -> Callable[[GoodModel], bytes]:
    return lambda good: _zipped(good, lambda members: members.pop(name))


def _duplicate_member(good: GoodModel) -> bytes:
    """Two members of one name: two programs could read different ones."""
    data = _zipped(good, lambda members: members.update({"labels.tx_": b"x\ny\nz\n"}))
    return data.replace(b"labels.tx_", b"labels.txt")


def _link(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("samples/9.png")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, "/etc/passwd")


def _folder(archive: zipfile.ZipFile) -> None:
    archive.writestr(zipfile.ZipInfo("samples/"), b"")


def _many(archive: zipfile.ZipFile) -> None:
    for number in range(1000):
        archive.writestr(f"samples/{number}.txt", b"")


def _patch_directory(
    good: GoodModel, offset: int, form: str, value: int, local: int | None = None
) -> bytes:
    """A bundle with another number in the directory's first entry, and in the member's header."""
    data = bytearray(good.archive)
    entry = data.index(b"PK\x01\x02")
    struct.pack_into(form, data, entry + offset, value)
    if local is not None:
        struct.pack_into(form, data, local, value)
    return bytes(data)


def _patch_end(good: GoodModel, offset: int, form: str, value: int) -> bytes:
    data = bytearray(good.archive)
    struct.pack_into(form, data, len(data) - 22 + offset, value)
    return bytes(data)


def _overlapping(good: GoodModel) -> bytes:
    """A member whose bytes contain all the others."""
    data = bytearray(good.archive)
    entry = data.index(b"PK\x01\x02")
    start = 30 + len("bundle.json")
    size = entry - start
    for offset in (entry + 20, entry + 24, 18, 22):
        struct.pack_into("<I", data, offset, size)
    # The checksum is outside of the bytes that it covers.
    for offset in (entry + 16, 14):
        struct.pack_into("<I", data, offset, zlib.crc32(data[start:entry]))
    return bytes(data)


def _wrong_checksum(good: GoodModel) -> bytes:
    at = good.archive.index(b'"ash"')  # in `bundle.json`, which has no digest
    return good.archive[:at] + b'"oak"' + good.archive[at + 5 :]


def _hidden_comment(good: GoodModel) -> bytes:
    """A comment that is itself the end record of an archive."""
    file = io.BytesIO(good.archive)
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = good.archive[-22:]
    return file.getvalue()


def _zip64(good: GoodModel) -> bytes:
    """An archive whose directory can also be found by Zip64 records."""
    *_, count, size, start, _ = struct.unpack("<4s4H2IH", good.archive[-22:])
    end = len(good.archive) - 22
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    return good.archive[:end] + record + locator + good.archive[end:]


def _image(width: int, height: int) -> bytes:
    """A PNG file of a few bytes whose header claims this size."""
    head = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunk + bytes(100)


def _evil_model(members: dict[str, bytes]) -> None:
    model = onnx.load_from_string(members["model.onnx"])
    model.graph.node[0].domain = "my.operations"
    members["model.onnx"] = model.SerializeToString()


_archive("zip_empty", lambda good: b"")
_archive("zip_text", lambda good: b"hello\n" * 100)
_archive("zip_random", lambda good: os.urandom(3000))
_archive("zip_truncated", lambda good: good.archive[:-10])
_archive("zip_half", lambda good: good.archive[: len(good.archive) // 2])
_archive("zip_nothing_in_it", lambda good: good.archive[-22:-18] + bytes(18))
_archive("zip_before", lambda good: b"<!DOCTYPE html>" + good.archive)
_archive("zip_behind", lambda good: good.archive + b"<!-- more -->")
_archive("zip_compressed", lambda good: _zipped(good, method=zipfile.ZIP_DEFLATED))
_archive(
    "zip_bomb",
    lambda good: _zipped(
        good,
        add=lambda archive: archive.writestr("samples/9.png", bytes(2**25), zipfile.ZIP_DEFLATED),
    ),
)
_archive("zip_many", lambda good: _zipped(good, add=_many))
_archive("zip_link", lambda good: _zipped(good, add=_link))
_archive("zip_folder", lambda good: _zipped(good, add=_folder))
_archive("zip_twins", _duplicate_member)
_archive("zip_absolute", _with("/etc/passwd"))
_archive("zip_parent", _with("../evil.py"))
_archive("zip_parent_within", _with("samples/../../evil.py"))
_archive("zip_backslash", _with("samples\\..\\..\\evil.py"))
_archive("zip_drive", _with("C:evil.py"))
_archive("zip_upper_case", _with("MODEL.ONNX"))
_archive("zip_nul", lambda good: _zipped(good).replace(b"labels.txt", b"labels\0txt"))
_archive("zip_module", _with("sharpeye.py"))
_archive("zip_pickle", _with("weights.pkl"))
_archive("zip_nested", _with("samples/inner.sharpeye"))
_archive(
    "zip_as_model",
    lambda good: _zipped(good, lambda members: members.update({"model.onnx": good.archive})),
)
_archive("zip_without_model", _without("model.onnx"))
_archive("zip_without_labels", _without("labels.txt"))
_archive("zip_without_manifest", lambda good: good.archive.replace(b"bundle.json", b"README.md__"))
_archive("zip_digest_missing", lambda good: _zipped(good, record={"files": {}}))
_archive(
    "zip_digest_wrong",
    lambda good: _zipped(good, record={"files": dict.fromkeys(good.members, "0" * 64)}),
)
_archive("zip_files_none", lambda good: _zipped(good, record={"files": None}))
_archive("zip_newer", lambda good: _zipped(good, record={"format": 3}))
_archive(
    "zip_labels_turned", lambda good: _zipped(good, record={"labels": ["cedar", "birch", "ash"]})
)
_archive(
    "zip_labels_other",
    lambda good: _zipped(good, lambda members: members.update({"labels.txt": b"x\ny\nz\n"})),
)
_archive(
    "zip_manifest_deep",
    lambda good: _zipped(good, lambda members: members.update({"bundle.json": b"[" * 10**6})),
)
_archive(
    "zip_manifest_twice",
    lambda good: _zipped(
        good, lambda members: members.update({"bundle.json": b'{"files": {}, "files": {}}'})
    ),
)
_archive("zip_model_of_others", lambda good: _zipped(good, _evil_model))
_archive("zip_checksum", _wrong_checksum)
_archive("zip_quoted", _overlapping)
_archive("zip_encrypted", lambda good: _patch_directory(good, 8, "<H", 1, local=6))
_archive("zip_method", lambda good: _patch_directory(good, 10, "<H", 99, local=8))
_archive("zip_size_64", lambda good: _patch_directory(good, 24, "<I", 2**32 - 1, local=22))
_archive("zip_sizes_64", lambda good: _patch_directory(good, 20, "<Q", 2**64 - 1, local=18))
_archive("zip_offset", lambda good: _patch_directory(good, 42, "<I", 2**31))
_archive("zip_names_differ", lambda good: good.archive.replace(b"bundle.json", b"labels.json", 1))
_archive("zip_extra", lambda good: _patch_directory(good, 30, "<H", 4))
_archive("zip_disk", lambda good: _patch_end(good, 4, "<H", 1))
_archive("zip_count", lambda good: _patch_end(good, 10, "<H", 65535))
_archive("zip_count_less", lambda good: _patch_end(good, 8, "<I", 0x00010001))
_archive("zip_directory_far", lambda good: _patch_end(good, 16, "<I", 2**32 - 1))
_archive("zip_comment", _hidden_comment)
_archive("zip_64_records", _zip64)
_archive("zip_picture_huge", _with("samples/9.png", _image(2**31 - 1, 2**31 - 1)))
_archive("zip_picture_wide", _with("samples/9.png", _image(5000, 1)))
_archive("zip_picture_none", _with("samples/9.png", b"GIF89a" + bytes(100)))
_archive("zip_picture_cut", _with("samples/9.png", b"\x89PNG\r\n\x1a\n"))


def _archive_pipe(good: GoodModel, file: Path) -> None:
    os.mkfifo(file)


def _archive_link(good: GoodModel, file: Path) -> None:
    file.symlink_to(good.canary)


CASES["zip_pipe.sharpeye"] = _archive_pipe
CASES["zip_link_outside.sharpeye"] = _archive_link
CASES["zip_sparse.sharpeye"] = _sparse
