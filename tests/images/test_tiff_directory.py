"""TIFF: directories are read before libtiff sees them, and libtiff writes nothing to stderr."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from image_files import decoded_pixels, encoded, quarters, refusal, tiff

BASE = {256: (3, 10), 257: (3, 10), 258: (3, 8), 259: (3, 5), 262: (3, 1), 277: (3, 1)}


def test_a_tiff_of_many_tags_is_refused() -> None:
    many = {40_000 + n: (3, 1) for n in range(600)}
    assert "608 tags in a page; up to 500 are read" in refusal(tiff(BASE | many, bytes(100)))


@pytest.mark.parametrize("tags", [{50706: (4, 0x104)}, {254: (4, 1), 330: (4, 8)}])
def test_a_raw_photo_is_not_taken_for_its_preview(tags: dict[int, tuple[int, int]]) -> None:
    reason = refusal(tiff(BASE | {259: (3, 1)} | tags, bytes(100)))
    assert "raw photo" in reason and "develop it" in reason


def test_libtiff_writes_nothing(tmp_path: Path) -> None:
    entries = b"".join(struct.pack("<HHII", 40_000 + n, 99, 1, 1) for n in range(400))
    damaged = bytearray(tiff(BASE, b"\xff\x3a" * 50))
    at = struct.unpack_from("<I", damaged, 4)[0]
    count = struct.unpack_from("<H", damaged, at)[0]
    unknown = bytes(damaged[:at]) + struct.pack("<H", count + 400)
    unknown += bytes(damaged[at + 2 : at + 2 + 12 * count]) + entries + bytes(4)
    good = encoded(quarters(), "TIFF", compression="tiff_lzw")
    files = []
    for number, data in enumerate((bytes(damaged), unknown, good[:-40], good)):
        files.append(tmp_path / str(number))
        files[-1].write_bytes(data)
    program = """
import sys
from sharpeye.images.decode import decode
from sharpeye.errors import ImageReadError
for name in sys.argv[1:]:
    try:
        decode(open(name, "rb").read(), name)
        print("read")
    except ImageReadError as error:
        print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, files)], capture_output=True, check=True
    )
    assert done.stdout.split() == [b"refused", b"refused", b"refused", b"read"]
    if sys.platform == "linux":
        assert done.stderr == b""


def test_a_big_tiff_is_read() -> None:
    assert (decoded_pixels(encoded(quarters(), "TIFF", big_tiff=True)) == quarters()).all()


@pytest.mark.parametrize("offset", [2**63 - 1, 2**63, 2**64 - 1])
def test_a_big_tiff_whose_directory_lies_behind_every_end_is_refused(offset: int) -> None:
    data = bytearray(encoded(quarters(), "TIFF", big_tiff=True))
    struct.pack_into("<Q", data, 8, offset)
    assert "truncated" in refusal(bytes(data))
