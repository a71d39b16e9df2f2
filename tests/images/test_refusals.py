"""What is no image, is damaged or exceeds a limit is refused by name, with the reason."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_files import (
    at_most,
    decoded_pixels,
    encoded,
    grey_tiff,
    quarters,
    refusal,
    zero_png,
)
from sharpeye.images.decode import (
    decode,
    decode_with_size,
)
from sharpeye.images.decode_limits import DecodeLimits
from sharpeye.images.formats import sniff


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "a")
    return buffer.getvalue()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
OTHER_FILES = [
    (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
    (b"\n  <HTML><head></head>", "HTML"),
    (EPS, "PostScript"),
    (b"\xc5\xd0\xd3\xc6" + bytes(40), "PostScript"),
    (b"%PDF-1.7\n1 0 obj", "PDF"),
    (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    (b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg/>', "SVG"),
    (b'<?xml version="1.0"?><annotation/>', "XML"),
    (b"8BPS\x00\x01" + bytes(40), "PSD"),
    (b"\x00\x00\x00\x18ftypisom" + bytes(40), "video"),
    (b"RIFF\x10\x00\x00\x00AVI LIST", "video"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"II*\0\x10\0\0\0CR\x02\0" + bytes(20), "raw photo (CR2); develop it"),
    (b"\x00\x00\x00\x18ftypcrx " + bytes(40), "raw photo (CR3); develop it"),
    (bytes(128) + b"DICM", "DICOM file; save its image as PNG"),
    (b"\x1aE\xdf\xa3" + bytes(40), "video (MKV or WebM); take its frames"),
    (b"\x00\x00\x01\x00\x01\x00", "icon (ICO or CUR); save it as PNG"),
    (b"gimp xcf v011", "GIMP"),
    (b"DDS |", "texture (DDS)"),
    (b"qoif" + bytes(20), "QOI"),
    (b"P7\nWIDTH 2\n", "PAM image; save it as PNG"),
    (b"Pf\n2 2\n-1.0\n", "floating-point samples (PFM)"),
    (b"#?RADIANCE\n", "floating-point samples (HDR or EXR)"),
    (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    (b"\x1f\x8b\x08" + bytes(20), "compressed archive"),
    (zipped(), "ZIP"),
    (pickle.dumps({"a": 1}), "pickle"),
    (b"\x7fELF\x02\x01\x01" + bytes(40), "a program"),
    (json.dumps({"a": [1]}).encode(), "JSON"),
    (b"SIMPLE  =                    T", "FITS"),
    (b"icns\x00\x00\x00\x08", "icon"),
    (b"", "empty (0 bytes)"),
    (bytes(4096), "zero bytes"),
    (b"\x89", r"b'\x89'"),
    (b"hello, world", "b'hello, world'"),
]


@pytest.mark.parametrize(("data", "word"), OTHER_FILES, ids=[word for _, word in OTHER_FILES])
def test_a_file_that_is_no_image_is_named(data: bytes, word: str) -> None:
    assert sniff(data[:32]) is None
    assert word in refusal(data)


@pytest.mark.skipif(os.name == "nt", reason="the fake interpreter is a shell script")
def test_no_interpreter_starts_for_postscript(tmp_path: Path) -> None:
    canary, tools = tmp_path / "canary", tmp_path / "bin"
    tools.mkdir()
    (tools / "gs").write_text(f"#!/bin/sh\necho started >> {canary}\n")
    (tools / "gs").chmod(0o755)
    (tmp_path / "x.jpg").write_bytes(EPS)
    run = "decode(Path('x.jpg').read_bytes(), 'x.jpg')"
    control = "Image.open('x.jpg').load()"
    before = "from pathlib import Path; from PIL import Image; Image.init();"
    before += "from sharpeye.images.decode import decode;"

    def try_it(action: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", before + action],
            cwd=tmp_path,
            env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stderr

    assert "ImageReadError: cannot read x.jpg: not an image: it is PostScript" in try_it(run)
    assert not canary.exists()
    try_it(control)
    assert canary.exists()  # Pillow by itself would have started it


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_images_are_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    data = encoded(noise, kind)
    for share in (0.3, 0.5, 0.9):
        reason = refusal(data[: int(len(data) * share)])
        assert reason.startswith((f"damaged {kind}: ", f"a truncated {kind}: "))


def test_a_png_with_a_wrong_checksum_is_refused() -> None:
    data = bytearray(encoded(quarters(), "PNG"))
    data[20] ^= 1  # in the header chunk
    assert refusal(bytes(data)).startswith("damaged PNG: ")


def test_a_bomb_is_refused_by_its_header(decoded_files: list[str]) -> None:
    bomb = zero_png(30_000, 30_000)
    assert len(bomb) < 2**20
    assert refusal(bomb) == (
        "a PNG of 30000 x 30000 pixels is over the limit of 179 megapixels; "
        "raise it with --max-megapixels 900"
    )
    assert "megapixels" in refusal(zero_png(20_000, 9_000))  # its sides are within the limit
    assert decoded_files == []
    decode(encoded(quarters(), "PNG"), "x")
    assert "PNG" in decoded_files  # so it would be noticed


def test_a_wrong_size_in_the_header_is_refused(decoded_files: list[str]) -> None:
    data = bytearray(encoded(quarters(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    assert len(data) < 2000
    refusal(bytes(data))
    data[at + 5 : at + 9] = struct.pack(">HH", 7000, 7000)  # within all limits, but not there
    assert "bytes are too few for 7000 x 7000 pixels" in refusal(bytes(data))
    assert decoded_files == []


@pytest.mark.parametrize("progressive", [False, True])
def test_the_emptiest_jpeg_is_read(progressive: bool) -> None:
    plain = np.full((4000, 4000), 128, np.uint8)
    data = encoded(plain, "JPEG", quality=1, optimize=True, progressive=progressive)
    assert decode_with_size(data, "x", display_size=(64, 64))[0].getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("size", [(65_536, 1), (1, 65_536)])
def test_a_side_over_the_limit_is_refused(size: tuple[int, int]) -> None:
    assert "a side is over the limit of 65,535 pixels; make it smaller" in refusal(zero_png(*size))


def test_the_limit_of_pixels_is_exact() -> None:
    reason = refusal(zero_png(8001, 8000), DecodeLimits(pixels=64_000_000))
    assert reason.startswith("a PNG of 8001 x 8000 pixels is over the limit of 64 megapixels; ")
    limits = DecodeLimits(pixels=32 * 48)
    assert decode(encoded(quarters(), "PNG"), "x", limits=limits).size == (48, 32)
    assert "megapixels" in refusal(encoded(quarters(), "PNG"), replace(limits, pixels=32 * 48 - 1))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_too_many_frames_are_refused(kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), np.uint8)
    frames = [Image.fromarray(frame) for frame in noise]
    options = {} if kind == "TIFF" else {"duration": 100}

    def animation(count: int) -> bytes:
        return encoded(frames[0], kind, save_all=True, append_images=frames[1:count], **options)

    assert decode(animation(3), "x", limits=DecodeLimits(frames=3)).size == (8, 8)
    assert "more than the limit of 3 frames" in refusal(animation(4), DecodeLimits(frames=3))
    assert decode(animation(5), "x").size == (8, 8)


def test_a_tiff_whose_directories_form_a_ring_ends() -> None:
    data = bytearray(grey_tiff(8, 1, b"abc", 3))
    data[-4:] = data[4:8]  # the next directory is the first one
    with at_most(10):
        assert decoded_pixels(bytes(data)).shape == (1, 3, 3)


def test_too_many_scans_are_refused() -> None:
    data = encoded(quarters(), "JPEG", progressive=True)
    scans = data.count(b"\xff\xda")
    assert scans > 3
    assert decode(data, "x", limits=DecodeLimits(jpeg_scans=scans)).size == (48, 32)
    assert f"{scans} scans" in refusal(data, DecodeLimits(jpeg_scans=scans - 1))
    assert f"{scans} scans" in refusal(data, DecodeLimits(scan_pixels=scans * 32 * 48 - 1))
    assert decode(encoded(quarters(), "JPEG"), "x", limits=DecodeLimits(jpeg_scans=0)).size == (
        48,
        32,
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_decoding_ends_when_its_time_is_up(kind: str) -> None:
    reason = refusal(encoded(quarters(), kind), DecodeLimits(seconds=0))
    assert reason == "decoding took more than 0 s"


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_truncated_tiff_is_named_so(compression: str | None) -> None:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "TIFF", compression=compression)
    data = stream.getvalue()
    for missing in (1, 2, 9, 60, 110, 125, 131, 500, len(data) // 2, len(data) - 10):
        assert refusal(data[:-missing]) == (
            "damaged TIFF: truncated, it ends before its last pixels or tags; get the file again"
        ), missing


@pytest.mark.parametrize("header", [b"P6 400 300 7", b"P5 400 300 4095", b"P3 400 300 255"])
def test_a_pnm_that_is_read_slowly_names_the_remedy(header: bytes) -> None:
    data = header + b"\n" + (b"1 " if header[:2] == b"P3" else b"\1\2") * 400 * 300 * 3
    assert decode(data, "x").size == (400, 300)
    assert refusal(data, DecodeLimits(seconds=0.01)) == (
        "a PNM of 400 x 300 pixels takes longer than 0.01 s to read, as its samples are plain "
        "numbers or have another largest value than 255; save it as PNG"
    )


def test_scans_are_counted_up_to_the_end_marker() -> None:
    data = encoded(quarters(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    assert decode(data + b"\xff\xda" * 5000, "x").size == (48, 32)
    for between in (b"", b"\xff\x01", b"\xff\xd0", b"\xff\xff\xff", b"\xff\xfe\x00\x04ab"):
        many = data[:-2] + (between + data[last:-2]) * 200 + b"\xff\xd9"
        assert "scans, which take too long to decode" in refusal(many), between
