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
from good_model import Kit, inside

CASES: dict[str, Callable[[Kit, Path], None]] = {}


# --- run directories -----------------------------------------------------------------------------


def _run(name: str, change: Callable[[Kit, Path], None], **values: Any) -> None:
    """A case that is a run directory with right digests, of which something is changed then."""

    def make(kit: Kit, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.onnx").write_bytes(kit.model)
        files = {"model.onnx": hashlib.sha256(kit.model).hexdigest()}
        record = kit.record | {"files": files} | values
        (folder / "bundle.json").write_text(json.dumps(record), encoding="utf-8")
        change(kit, folder)

    CASES[f"run_{name}"] = make


def _unchanged(kit: Kit, folder: Path) -> None:
    pass


def _text(content: str) -> Callable[[Kit, Path], None]:
    return lambda kit, folder: (folder / "bundle.json").write_text(content) and None


def _gone(name: str) -> Callable[[Kit, Path], None]:
    return lambda kit, folder: (folder / name).unlink()


def _instead(name: str, put: Callable[[Kit, Path], Any]) -> Callable[[Kit, Path], None]:
    def change(kit: Kit, folder: Path) -> None:
        (folder / name).unlink()
        put(kit, folder / name)

    return change


def _link_to_a_good_one(kit: Kit, file: Path) -> None:
    other = file.parent.parent / "elsewhere.onnx"
    other.write_bytes(kit.model)
    file.symlink_to(other)


def _sparse(kit: Kit, file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(2**36)


def _other_model(kit: Kit, folder: Path) -> None:
    """A model that is good, of other classes, with its right digest."""
    model = onnx.load_from_string(kit.model)
    raw = json.loads(inside(model)["sharpeye"]) | {"labels": ["x", "y", "z"]}
    inside(model, sharpeye=json.dumps(raw), labels='["x", "y", "z"]')
    data = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    record = kit.record | {"files": {"model.onnx": hashlib.sha256(data).hexdigest()}}
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
_run("json_missing", _gone("bundle.json"))
_run("json_folder", _instead("bundle.json", lambda kit, file: file.mkdir()))
_run("json_pipe", _instead("bundle.json", lambda kit, file: os.mkfifo(file)))
_run("json_link_outside", _instead("bundle.json", lambda kit, file: file.symlink_to(kit.canary)))
_run("json_link_to_itself", _instead("bundle.json", lambda kit, file: file.symlink_to(file)))
_run("json_huge", _instead("bundle.json", _sparse))
_run("json_bytes", _instead("bundle.json", lambda kit, file: file.write_bytes(b"\x80\x05\xff")))
_run("model_missing", _gone("model.onnx"))
_run("model_folder", _instead("model.onnx", lambda kit, file: file.mkdir()))
_run("model_pipe", _instead("model.onnx", lambda kit, file: os.mkfifo(file)))
_run("model_link_outside", _instead("model.onnx", lambda kit, file: file.symlink_to(kit.canary)))
_run("model_link_to_a_good_one", _instead("model.onnx", _link_to_a_good_one))
_run("model_huge", _instead("model.onnx", _sparse))
_run("model_empty", _instead("model.onnx", lambda kit, file: file.touch()))


# --- archives ------------------------------------------------------------------------------------


def _archive(name: str, make: Callable[[Kit], bytes]) -> None:
    CASES[f"{name}.sharpeye"] = lambda kit, file: file.write_bytes(make(kit)) and None


def _zipped(
    kit: Kit,
    change: Callable[[dict[str, bytes]], Any] = lambda members: None,
    add: Callable[[zipfile.ZipFile], Any] = lambda archive: None,
    record: dict[str, Any] | None = None,
    method: int = zipfile.ZIP_STORED,
) -> bytes:
    """A bundle with right digests, after a change of its members."""
    members = dict(kit.members)
    change(members)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    text = json.dumps(kit.record | {"files": digests} | (record or {}))
    members.setdefault("bundle.json", text.encode())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
        add(archive)
    return file.getvalue()


def _with(name: str, data: bytes = b"x") -> Callable[[Kit], bytes]:
    """A bundle with one more member, whose digest is right."""
    return lambda kit: _zipped(kit, lambda members: members.update({name: data}))


def _without(name: str) -> Callable[[Kit], bytes]:
    return lambda kit: _zipped(kit, lambda members: members.pop(name))


def _twins(kit: Kit) -> bytes:
    """Two members of one name: two programs may read different ones."""
    data = _zipped(kit, lambda members: members.update({"labels.tx_": b"x\ny\nz\n"}))
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


def _central(kit: Kit, offset: int, form: str, value: int, local: int | None = None) -> bytes:
    """A bundle with another number in the directory's first entry, and in the member's own."""
    data = bytearray(kit.archive)
    entry = data.index(b"PK\x01\x02")
    struct.pack_into(form, data, entry + offset, value)
    if local is not None:
        struct.pack_into(form, data, local, value)
    return bytes(data)


def _end(kit: Kit, offset: int, form: str, value: int) -> bytes:
    data = bytearray(kit.archive)
    struct.pack_into(form, data, len(data) - 22 + offset, value)
    return bytes(data)


def _quoted(kit: Kit) -> bytes:
    """A member whose bytes hold all the others: it is read twice."""
    data = bytearray(kit.archive)
    entry = data.index(b"PK\x01\x02")
    start = 30 + len("bundle.json")
    size = entry - start
    for place in (entry + 20, entry + 24, 18, 22):
        struct.pack_into("<I", data, place, size)
    # The checksum of bytes that do not hold the number itself.
    for place in (entry + 16, 14):
        struct.pack_into("<I", data, place, zlib.crc32(data[start:entry]))
    return bytes(data)


def _wrong_checksum(kit: Kit) -> bytes:
    place = kit.archive.index(b'"ash"')  # within `bundle.json`, which has no other digest
    return kit.archive[:place] + b'"oak"' + kit.archive[place + 5 :]


def _hidden_comment(kit: Kit) -> bytes:
    """A comment that is an archive's end itself."""
    file = io.BytesIO(kit.archive)
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = kit.archive[-22:]
    return file.getvalue()


def _image(width: int, height: int) -> bytes:
    """A PNG file of a few bytes that says it is so large."""
    head = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunk + bytes(100)


def _evil_model(members: dict[str, bytes]) -> None:
    model = onnx.load_from_string(members["model.onnx"])
    model.graph.node[0].domain = "my.operations"
    members["model.onnx"] = model.SerializeToString()


_archive("zip_empty", lambda kit: b"")
_archive("zip_text", lambda kit: b"hello\n" * 100)
_archive("zip_random", lambda kit: os.urandom(3000))
_archive("zip_truncated", lambda kit: kit.archive[:-10])
_archive("zip_half", lambda kit: kit.archive[: len(kit.archive) // 2])
_archive("zip_nothing_in_it", lambda kit: kit.archive[-22:-18] + bytes(18))
_archive("zip_before", lambda kit: b"<!DOCTYPE html>" + kit.archive)
_archive("zip_behind", lambda kit: kit.archive + b"<!-- more -->")
_archive("zip_compressed", lambda kit: _zipped(kit, method=zipfile.ZIP_DEFLATED))
_archive(
    "zip_bomb",
    lambda kit: _zipped(
        kit,
        add=lambda archive: archive.writestr("samples/9.png", bytes(2**25), zipfile.ZIP_DEFLATED),
    ),
)
_archive("zip_many", lambda kit: _zipped(kit, add=_many))
_archive("zip_link", lambda kit: _zipped(kit, add=_link))
_archive("zip_folder", lambda kit: _zipped(kit, add=_folder))
_archive("zip_twins", _twins)
_archive("zip_absolute", _with("/etc/passwd"))
_archive("zip_parent", _with("../evil.py"))
_archive("zip_parent_within", _with("samples/../../evil.py"))
_archive("zip_backslash", _with("samples\\..\\..\\evil.py"))
_archive("zip_drive", _with("C:evil.py"))
_archive("zip_upper_case", _with("MODEL.ONNX"))
_archive("zip_nul", lambda kit: _zipped(kit).replace(b"labels.txt", b"labels\0txt"))
_archive("zip_module", _with("sharpeye.py"))
_archive("zip_pickle", _with("weights.pkl"))
_archive("zip_nested", _with("samples/inner.sharpeye"))
_archive(
    "zip_as_model",
    lambda kit: _zipped(kit, lambda members: members.update({"model.onnx": kit.archive})),
)
_archive("zip_without_model", _without("model.onnx"))
_archive("zip_without_labels", _without("labels.txt"))
_archive("zip_without_manifest", lambda kit: kit.archive.replace(b"bundle.json", b"README.md__"))
_archive("zip_digest_missing", lambda kit: _zipped(kit, record={"files": {}}))
_archive(
    "zip_digest_wrong",
    lambda kit: _zipped(kit, record={"files": dict.fromkeys(kit.members, "0" * 64)}),
)
_archive("zip_files_none", lambda kit: _zipped(kit, record={"files": None}))
_archive("zip_newer", lambda kit: _zipped(kit, record={"format": 3}))
_archive(
    "zip_labels_turned", lambda kit: _zipped(kit, record={"labels": ["cedar", "birch", "ash"]})
)
_archive(
    "zip_labels_other",
    lambda kit: _zipped(kit, lambda members: members.update({"labels.txt": b"x\ny\nz\n"})),
)
_archive(
    "zip_manifest_deep",
    lambda kit: _zipped(kit, lambda members: members.update({"bundle.json": b"[" * 10**6})),
)
_archive(
    "zip_manifest_twice",
    lambda kit: _zipped(
        kit, lambda members: members.update({"bundle.json": b'{"files": {}, "files": {}}'})
    ),
)
_archive("zip_model_of_others", lambda kit: _zipped(kit, _evil_model))
_archive("zip_checksum", _wrong_checksum)
_archive("zip_quoted", _quoted)
_archive("zip_encrypted", lambda kit: _central(kit, 8, "<H", 1, local=6))
_archive("zip_method", lambda kit: _central(kit, 10, "<H", 99, local=8))
_archive("zip_size_64", lambda kit: _central(kit, 24, "<I", 2**32 - 1, local=22))
_archive("zip_sizes_64", lambda kit: _central(kit, 20, "<Q", 2**64 - 1, local=18))
_archive("zip_offset", lambda kit: _central(kit, 42, "<I", 2**31))
_archive("zip_names_differ", lambda kit: kit.archive.replace(b"bundle.json", b"labels.json", 1))
_archive("zip_extra", lambda kit: _central(kit, 30, "<H", 4))
_archive("zip_disk", lambda kit: _end(kit, 4, "<H", 1))
_archive("zip_count", lambda kit: _end(kit, 10, "<H", 65535))
_archive("zip_count_less", lambda kit: _end(kit, 8, "<I", 0x00010001))
_archive("zip_directory_far", lambda kit: _end(kit, 16, "<I", 2**32 - 1))
_archive("zip_comment", _hidden_comment)
_archive("zip_picture_huge", _with("samples/9.png", _image(2**31 - 1, 2**31 - 1)))
_archive("zip_picture_wide", _with("samples/9.png", _image(5000, 1)))
_archive("zip_picture_none", _with("samples/9.png", b"GIF89a" + bytes(100)))
_archive("zip_picture_cut", _with("samples/9.png", b"\x89PNG\r\n\x1a\n"))


def _archive_pipe(kit: Kit, file: Path) -> None:
    os.mkfifo(file)


def _archive_link(kit: Kit, file: Path) -> None:
    file.symlink_to(kit.canary)


CASES["zip_pipe.sharpeye"] = _archive_pipe
CASES["zip_link_outside.sharpeye"] = _archive_link
CASES["zip_sparse.sharpeye"] = _sparse
