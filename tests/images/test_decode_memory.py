"""The memory of a decode: the estimate is right, and no command takes more than its budget."""

import io
import json
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from large_images import LARGE, blank_gif, blank_png, blank_webp, png_chunk
from runner import environment
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import decode, decode_with_size
from sharpeye.images.decode_limits import MB, DecodeLimits
from sharpeye.images.decode_memory import estimate_bytes
from sharpeye.images.open_image import open_checked

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux only")
SCRIPT = str(Path(__file__).with_name("peak_memory.py"))


def refusal(data: bytes, limits: DecodeLimits | None = None) -> str:
    with pytest.raises(ImageReadError) as caught:
        decode(data, "x", limits)
    assert not caught.value.transient
    return caught.value.reason


def check_estimates(folder: Path, side: int, names: list[str]) -> None:
    files = []
    for name in names:
        files.append(folder / name)
        files[-1].write_bytes(LARGE[name](side, side - 7))
    done = subprocess.run(
        [sys.executable, SCRIPT, "decode", *map(str, files)],
        capture_output=True,
        text=True,
        check=True,
        env=environment(folder),
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == names
    for row in rows:
        # A few MB of tables and libraries that the first decode of a format loads are no pixels.
        assert row["estimated"] > 0.97 * row["measured"] - 4 * MB, row
        assert row["estimated"] < 1.5 * row["measured"] + 4 * MB, row


def test_the_estimate_is_the_measured_peak(tmp_path: Path) -> None:
    check_estimates(tmp_path, 1500, ["lossless.webp", "rgba.png", "clear.gif", "progressive.jpg"])


@pytest.mark.slow
def test_the_estimate_is_the_measured_peak_for_every_format(tmp_path: Path) -> None:
    check_estimates(tmp_path, 3000, list(LARGE))


@pytest.mark.parametrize("side", [8000])
def test_an_image_of_few_bytes_and_many_pixels_is_refused_by_name(side: int) -> None:
    data = blank_webp(side, side)
    assert len(data) < 40
    started = time.process_time()
    reason = refusal(data)
    assert reason.startswith(f"a WEBP of {side} x {side} pixels with transparency would need ")
    assert "MB to decode; the limit is 400 MB: raise it with --max-decode-memory " in reason
    assert time.process_time() - started < 2  # 1 s and 1.5 GB before there was a limit


def test_the_limit_of_memory_is_exact() -> None:
    data = blank_png(2000, 1000, colour=0)
    needed = int(refusal(data, DecodeLimits(memory_bytes=MB)).split(" MB to decode")[0].split()[-1])
    assert 10 <= needed <= 12  # a byte a pixel, then 4 more of RGB
    assert decode(data, "x", DecodeLimits(memory_bytes=(needed + 1) * MB)).size == (2000, 1000)
    assert "would need" in refusal(data, DecodeLimits(memory_bytes=(needed - 1) * MB))
    grey, _ = decode_with_size(data, "x", DecodeLimits(memory_bytes=4 * MB), keep_grey=True)
    assert grey.mode == "L"


def test_a_large_image_of_one_colour_is_read() -> None:
    assert decode(blank_gif(4000, 3000), "x").getpixel((3999, 2999)) == (255, 255, 255)


def estimate(data: bytes) -> int:
    with open_checked(data, "x", DecodeLimits()) as (image, format_):
        return estimate_bytes(image, data, format_)


def encode(kind: str, mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (300, 200)).save(stream, kind, **options)
    return stream.getvalue()


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
EXIF = Image.Exif()
EXIF[0x0112] = 6
RAW_EXIF = EXIF.tobytes()
RAW_PROFILE = zlib.compress(b"exif\n%8d\n%s\n" % (len(RAW_EXIF), RAW_EXIF.hex().encode()))
PNG_MARKS = {
    "eXIf": png_chunk(b"eXIf", RAW_EXIF[6:]),
    "iTXt": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    "compressed iTXt": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
    "tEXt": png_chunk(b"tEXt", b"XML:com.adobe.xmp\0" + XMP),
    "zTXt": png_chunk(b"zTXt", b"Raw profile type exif\0\0" + RAW_PROFILE),
}


@pytest.mark.parametrize("mark", PNG_MARKS)
def test_an_orientation_counts_wherever_it_stands_in_a_png(mark: str) -> None:
    plain = encode("PNG")
    before, after = plain.index(b"IDAT") - 4, plain.index(b"IEND") - 4
    other = png_chunk(b"eXIf", RAW_EXIF[6:].replace(b"\6", b"\1"))  # the orientation 1
    for data in (
        plain[:before] + PNG_MARKS[mark] + plain[before:],
        plain[:after] + PNG_MARKS[mark] + plain[after:],
        plain[:before] + other + plain[before:after] + PNG_MARKS[mark] + plain[after:],
    ):
        assert turned_bytes(data) == 8 * 60_000
    assert turned_bytes(plain) == 4 * 60_000
    assert turned_bytes(plain[:before] + other + plain[before:]) == 4 * 60_000


def turned_bytes(data: bytes) -> int:
    """What the estimate has for the pixels alone, in bytes."""
    return estimate(data) - len(data) - 1_000_000


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": None}),
        ("PNG", {}),
        ("JPEG", {}),
    ],
)
def test_exif_and_xmp_count_alike(kind: str, options: dict[str, object], mode: str) -> None:
    xmp = {"tiffinfo": {700: XMP}} if kind == "TIFF" else {"xmp": XMP}
    files = [encode(kind, mode, **options, exif=EXIF)]
    if kind != "PNG":
        files.append(encode(kind, mode, **options, **xmp))
    for data in files:
        assert turned_bytes(data) >= 2 * 60_000 * (4 if mode == "RGB" else 1)
        assert decode(data, "x").size == (200, 300)


def boxes(data: bytes, kind: bytes) -> int:
    """The offset of the first box of a kind."""
    return data.index(kind) - 4


def test_other_boxes_do_not_lower_the_estimate_of_a_jpeg_2000() -> None:
    plain, tiled = encode("JPEG2000"), encode("JPEG2000", tile_size=(32, 32))
    assert estimate(tiled) < estimate(plain) - 200_000
    siz = tiled[tiled.index(b"\xff\x4f\xff\x51") :][:80]
    at = boxes(plain, b"jp2c")
    for box in (
        struct.pack(">I", 8 + len(siz)) + b"free" + siz,
        struct.pack(">I4sQ", 1, b"free", 16 + len(siz)) + siz,
        struct.pack(">I", 16 + len(siz)) + b"uuid" + b"....jp2c" + siz,
    ):
        decoy = plain[:at] + box + plain[at:]
        assert decode(decoy, "x").size == (300, 200)
        assert estimate(decoy) >= estimate(plain)


def test_a_jpeg_2000_whose_codestream_has_another_size_is_refused() -> None:
    data = bytearray(encode("JPEG2000"))
    at = data.index(b"\xff\x4f\xff\x51")
    data[at + 8 : at + 12] = (3000).to_bytes(4, "big")
    assert "its header and its codestream differ in size" in refusal(bytes(data))


def test_other_boxes_do_not_lower_the_estimate_of_an_avif() -> None:
    plain = encode("AVIF", subsampling="4:4:4")
    grey = b"av1C\x81\x00\x1c\x00"
    length = int.from_bytes(plain[:4], "big")
    decoy = struct.pack(">I", length + 8) + plain[4:length] + grey + plain[length:]
    assert estimate(decoy) >= estimate(plain)
    small = estimate(encode("AVIF", subsampling="4:2:0"))
    assert small < estimate(plain) - 60_000


# 16 threads of a machine with 16 cores, each with an image of its own.
@pytest.fixture(scope="module")
def large_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 images in 2 classes: some are refused, the others take up to 400 MB each."""
    folder = tmp_path_factory.mktemp("large") / "photos"
    sides = {
        **dict.fromkeys(("tile.jp2", "alpha.avif", "lossy.webp"), 4000),
        **dict.fromkeys(("progressive.jpg", "cmyk.jpg"), 5000),
        **dict.fromkeys(("grey.pgm", "wide.pgm"), 2500),  # Their files are as large as the pixels.
    }
    for number, (name, write) in enumerate(LARGE.items()):
        for copy in range(2):
            side = sides.get(name, (8000, 6000)[copy]) - 8 * number - 3 * copy
            file = folder / f"class{copy}" / f"{number:02d}_{name}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(write(side, side))
    return folder


def command_peak(cores: int, *arguments: str | Path, cache: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, SCRIPT, "run", str(cores), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(cache),
    )
    report = json.loads(done.stderr.splitlines()[-1])
    assert report["code"] in (0, 3), done.stderr
    return report["peak"], done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("cores", [2, 16])
@pytest.mark.parametrize("name", ["check", "predict"])
def test_a_command_stays_within_its_budget(
    name: str, cores: int, large_folder: Path, trained: Path, tmp_path: Path
) -> None:
    budget = max(400, 64 * cores) * MB
    arguments = ["check", large_folder] if name == "check" else ["predict", trained, large_folder]
    peak, output = command_peak(cores, *arguments, cache=tmp_path)
    assert "raise it with --max-decode-memory" in output
    assert peak < budget + 250 * MB, f"{peak / MB:.0f} MB"
