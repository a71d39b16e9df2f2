"""Fuzz the unpacking of archives: nothing appears outside of the folder, nothing stays after an
error.
"""

import io
import os
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

from battery.fuzz.checked_target import check_message
from sharpeye.collect import archives
from sharpeye.collect.archives import extract_archive
from sharpeye.errors import ModelError

TOKENS = (
    *(b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"\x1f\x8b\x08"),
    *(b"BZh9", b"\xfd7zXZ\0", b"ustar\x0000", b"ustar  \0", b"../", b"..\\", b"/etc/passwd"),
    *(b"GNU.sparse.size=9", b"20 path=../x.png\n", b"././@LongLink", b"up\x09\0\x01", b"\0" * 512),
    *(b"SCHILY.xattr.", b"\x01\0\x10\0", b"C:", b"\xcc\x81", b"hdrcharset=BINARY\n"),
)
# Lower than the limits in force, so that a bomb takes milliseconds.
archives.FREE_BYTES, archives.MAX_BYTES = 2**22, 2**23
_FOLDER = Path(tempfile.mkdtemp(prefix="sharpeye-fuzz-"))
_ARCHIVE, _TARGET = _FOLDER / "archive", _FOLDER / "target"
_ENTRIES = {"rose/1.jpg": b"a" * 500, "rose/garden/2.jpg": b"b" * 40, "Käfer/1.jpg": b""}


def seeds() -> list[bytes]:
    files = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, content in _ENTRIES.items():
                archive.writestr(zipfile.ZipInfo(name), content, method)
        files.append(file.getvalue())
    for mode, format_ in (
        *(("w", tarfile.USTAR_FORMAT), ("w", tarfile.GNU_FORMAT), ("w", tarfile.PAX_FORMAT)),
        *(
            ("w:gz", tarfile.PAX_FORMAT),
            ("w:bz2", tarfile.PAX_FORMAT),
            ("w:xz", tarfile.PAX_FORMAT),
        ),
    ):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode, format=format_) as tar:  # type: ignore[call-overload]
            for name, content in _ENTRIES.items():
                info = tarfile.TarInfo(name)
                info.size, info.pax_headers = len(content), {"comment": "x"}
                tar.addfile(info, io.BytesIO(content))
        files.append(file.getvalue())
    return files


def one_input(data: bytes) -> None:
    _ARCHIVE.write_bytes(data)
    try:
        count = extract_archive(_ARCHIVE, _TARGET)
    except ModelError as error:
        check_message(error)
        assert os.listdir(_FOLDER) == ["archive"], os.listdir(_FOLDER)
        return
    assert sorted(os.listdir(_FOLDER)) == ["archive", "target"], os.listdir(_FOLDER)
    try:
        _check_files(count)
    finally:
        shutil.rmtree(_TARGET)


def _check_files(count: int) -> None:
    paths = list(_TARGET.rglob("*"))
    files = [path for path in paths if path.is_file()]
    assert not [path for path in paths if path.is_symlink()]
    assert len(files) == count
    assert sum(path.stat().st_size for path in files) <= archives.MAX_BYTES
    assert all(path.stat().st_nlink == 1 and path.stat().st_mode & 0o7022 == 0 for path in files)
