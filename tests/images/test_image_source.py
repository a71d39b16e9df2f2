"""Every source of an image gives the pixels that the decoder gives for its file."""

import base64
import contextlib
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_modes import MODES
from sharpeye.errors import ImageReadError, UsageError
from sharpeye.images.decode import decode
from sharpeye.images.decode_limits import DecodeLimits, limits_in_force, use_limits
from sharpeye.images.image_source import iterate_sources, source_to_image

RANDOM = np.random.default_rng(0)
SIZE = (11, 7)
PHOTO = Image.fromarray(RANDOM.integers(0, 256, (7, 11, 3), dtype=np.uint8))
ORIENTATIONS = range(1, 9)


class PathLike:
    def __init__(self, file: Path) -> None:
        self._file = str(file)

    def __fspath__(self) -> str:
        return self._file


def opened(file: Path) -> Image.Image:
    return Image.open(file)


def loaded(file: Path) -> Image.Image:
    image = Image.open(file)
    image.load()
    return image


def offset(file: Path) -> io.BytesIO:
    stream = io.BytesIO(b"header" + file.read_bytes())
    stream.seek(6)
    return stream


DOORS: dict[str, Callable[[Path], object]] = {
    "path": lambda file: file,
    "text": str,
    "path-like": PathLike,
    "bytes": Path.read_bytes,
    "bytearray": lambda file: bytearray(file.read_bytes()),
    "memoryview": lambda file: memoryview(file.read_bytes()),
    "stream": lambda file: io.BytesIO(file.read_bytes()),
    "stream at its position": offset,
    "open file": lambda file: file.open("rb"),
    "unbuffered file": lambda file: file.open("rb", buffering=0),
    "data URL": lambda file: (
        "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
    ),
    "opened image": opened,
    "loaded image": loaded,
}


@pytest.mark.parametrize("mode", MODES)
def test_all_doors_give_the_pixels_of_the_file(mode: str, tmp_path: Path) -> None:
    file = tmp_path / mode
    file.write_bytes(MODES[mode](PHOTO, np.random.default_rng(1)))
    expected = np.asarray(decode(file.read_bytes(), mode))
    for door, source_of in DOORS.items():
        with contextlib.ExitStack() as stack:
            source = source_of(file)
            stack.callback(getattr(source, "close", lambda: None))
            assert (np.asarray(source_to_image(source)) == expected).all(), door
    assert (np.asarray(source_to_image(expected)) == expected).all()


def image_of_mode(mode: str) -> Image.Image:
    """An image of a mode of Pillow's, in no file."""
    rgba = Image.fromarray(RANDOM.integers(0, 256, (7, 11, 4), dtype=np.uint8))
    if mode.startswith("I;16"):
        image = Image.new(mode, SIZE)
        image.frombytes(RANDOM.integers(0, 256, 2 * 77, dtype=np.uint8).tobytes())
        return image
    if mode in ("I", "F"):
        whole = RANDOM.integers(0, 2**16, (7, 11))
        return Image.fromarray(whole.astype(np.int32 if mode == "I" else np.float32))
    if mode == "LAB":
        return Image.frombytes(mode, SIZE, RANDOM.integers(0, 256, 231, dtype=np.uint8).tobytes())
    if mode == "La":
        return rgba.convert("LA").convert("La")
    steps = {"HSV": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "RGBX": "RGB"}
    return rgba.convert(steps.get(mode, "RGBA")).convert(mode)


def expected_of(image: Image.Image) -> np.ndarray:
    """The RGB image by Pillow's conversions alone, over white."""
    if image.mode[:1] in "IF":
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("La", "RGBa", "LA", "PA", "RGBA"):
        if image.mode == "La":
            image = image.convert("LA")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


PILLOW_MODES = (
    *("1", "L", "P", "RGB", "RGBA", "RGBX", "RGBa", "LA", "La", "PA", "CMYK", "YCbCr", "LAB"),
    *("HSV", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"),
)


@pytest.mark.parametrize("mode", PILLOW_MODES)
def test_an_image_of_any_mode_and_orientation_is_upright_rgb(mode: str) -> None:
    image = image_of_mode(mode)
    assert image.mode == mode
    before, expected = image.tobytes(), expected_of(image)
    turned = {
        1: expected,
        2: expected[:, ::-1],
        3: expected[::-1, ::-1],
        4: expected[::-1],
        5: expected.transpose(1, 0, 2),
        6: np.rot90(expected, -1),
        7: expected[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(expected),
    }
    for orientation in ORIENTATIONS:
        exif = Image.Exif()
        exif[0x0112] = orientation
        copy = image.copy()
        copy.info["exif"] = exif.tobytes()
        result = source_to_image(copy)
        assert result.mode == "RGB"
        assert (np.asarray(result) == turned[orientation]).all(), orientation
    assert image.tobytes() == before


TIFF_MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "I;16")
FILES = (
    *(("TIFF", mode, {}) for mode in TIFF_MODES),
    *(("TIFF", mode, {"compression": "tiff_lzw"}) for mode in TIFF_MODES if mode != "YCbCr"),
    *(("PNG", mode, {}) for mode in ("L", "P", "RGB", "RGBA", "I;16")),
    *(("JPEG", mode, {}) for mode in ("L", "RGB", "CMYK")),
    *(("WEBP", mode, {"lossless": True}) for mode in ("RGB", "RGBA")),
)


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels as an orientation of EXIF says."""
    rows = pixels.transpose(1, 0, 2) if orientation > 4 else pixels
    vertical, horizontal = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return rows[:: -1 if vertical else 1, :: -1 if horizontal else 1]


@pytest.mark.parametrize(("kind", "mode", "options"), FILES)
def test_an_opened_image_is_as_upright_as_its_file(
    kind: str, mode: str, options: dict[str, object], tmp_path: Path
) -> None:
    image, exif, file = image_of_mode(mode), Image.Exif(), tmp_path / "photo"
    stored = None
    for orientation in ORIENTATIONS:
        exif[0x0112] = orientation
        image.save(file, kind, exif=exif, **options)
        data = file.read_bytes()
        result = np.asarray(decode(data, "photo"))
        stored = result if stored is None else stored
        assert (result == turn(stored, orientation)).all(), orientation
        with Image.open(file) as unloaded, Image.open(file) as by_name:
            by_bytes = Image.open(io.BytesIO(data))
            position = unloaded.fp.tell()
            # Twice, as the first use must leave the image as it was; then loaded ones.
            for source in (unloaded, unloaded, by_bytes, by_name, by_bytes):
                if source is by_name:
                    by_name.load()
                    by_bytes.load()
                assert (np.asarray(source_to_image(source)) == result).all(), orientation
            assert unloaded.fp.tell() == position
            copies = (by_bytes.copy(), by_bytes.convert("RGBA"))
            for copy in copies if mode != "I;16" else copies[:1]:
                assert (np.asarray(source_to_image(copy)) == result).all(), orientation
        assert (np.asarray(source_to_image(by_name)) == result).all(), "closed after it was loaded"


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_later_page_of_a_tiff_is_upright(orientation: int, tmp_path: Path) -> None:
    first, page, file = image_of_mode("L"), image_of_mode("L"), tmp_path / "pages.tif"
    exif = Image.Exif()
    exif[0x0112] = orientation
    first.save(file, save_all=True, append_images=[page], exif=exif)
    for source in (file, io.BytesIO(file.read_bytes())):
        with Image.open(source) as image:
            image.seek(1)
            turned = image.tag_v2.get(0x0112, 1)
            expected = turn(np.asarray(page.convert("RGB")), turned)
            assert (np.asarray(source_to_image(image)) == expected).all()
            assert image.tell() == 1


def test_a_tiff_that_was_changed_after_it_was_garbled_is_refused(tmp_path: Path) -> None:
    for orientation in ORIENTATIONS:
        exif = Image.Exif()
        exif[0x0112] = orientation
        image_of_mode("L").save(tmp_path / "a.tif", exif=exif)
        with Image.open(tmp_path / "a.tif") as image:
            image.putpixel((0, 0), 7)
            if orientation > 4 and image.map is not None:
                with pytest.raises(ImageReadError, match="open it from its bytes"):
                    source_to_image(image)
            else:
                assert (np.asarray(source_to_image(image))[:, :, 0] == np.asarray(image)).all()


def test_an_image_opened_at_a_smaller_size_keeps_it(tmp_path: Path) -> None:
    PHOTO.resize((64, 48)).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        image.draft("RGB", (32, 24))
        assert source_to_image(image).size == (32, 24)


def test_an_opened_image_is_within_the_limits_of_its_file(tmp_path: Path) -> None:
    PHOTO.save(tmp_path / "a.png")
    with (
        use_limits(DecodeLimits(pixels=70)),
        Image.open(tmp_path / "a.png") as image,
        pytest.raises(ImageReadError, match="over the limit of 7e-05 megapixels"),
    ):
        source_to_image(image)


def test_a_palette_with_transparency_lies_over_white_also_in_memory() -> None:
    image = PHOTO.quantize(8)
    image.info["transparency"] = bytes(range(0, 256, 32))
    expected = np.asarray(
        Image.alpha_composite(Image.new("RGBA", SIZE, "white"), image.convert("RGBA")).convert(
            "RGB"
        )
    )
    assert (np.asarray(source_to_image(image)) == expected).all()


def test_one_opened_image_in_many_threads(tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    PHOTO.resize((640, 480)).save(file, exif=exif)
    expected = np.asarray(decode(file.read_bytes(), "photo"))
    for _ in range(5):
        with Image.open(file) as shared, ThreadPoolExecutor(8) as pool:
            barrier = threading.Barrier(8)

            def convert(
                _: int, shared: Image.Image = shared, barrier: threading.Barrier = barrier
            ) -> bool:
                barrier.wait()
                return bool((np.asarray(source_to_image(shared)) == expected).all())

            assert all(pool.map(convert, range(8)))


class Broken:
    def read(self, size: int) -> bytes:
        raise ValueError("gone")


class Awaited:
    async def read(self, size: int) -> bytes:
        return b""


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("https://example.org/a.png", UsageError, "an address is not opened; download"),
        ("S3://bucket/a.png", UsageError, "an address is not opened"),
        ("", UsageError, "must name a file"),
        ("a\0b.png", UsageError, "must name a file"),
        ("iVBORw0KGgo" * 30, UsageError, "begin it with data:image/jpeg;base64,"),
        ("data:image/png;base64,!!!!", ImageReadError, "is not base64"),
        ("data:image/png,abc", ImageReadError, "not data:image/TYPE;base64,TEXT"),
        ("~nosuchuser_x/a.png", UsageError, "no home folder ~nosuchuser_x"),
        ("nowhere.png", ImageReadError, "cannot be opened"),
        (b"", ImageReadError, ""),
        (io.BytesIO(b""), ImageReadError, "seek(0)"),
        (io.StringIO("text"), UsageError, "with the mode 'rb'"),
        (Broken(), ImageReadError, "gone"),
        (Awaited(), UsageError, "await file.read()"),
        (None, UsageError, "an image must be a path, a file's bytes, an open file"),
        (3, UsageError, "Received: int"),
        (Image.new("RGB", (0, 3)), UsageError, "has no pixels"),
        (Image.fromarray(np.full((3, 3), 70_000, np.int32)), ImageReadError, "32-bit samples"),
        (Image.fromarray(np.full((3, 3), 0.5, np.float32)), ImageReadError, "32-bit samples"),
        (Image.fromarray(np.full((3, 3), 90, np.int32)), ImageReadError, "may be of 8 bits"),
    ],
)
def test_other_sources_are_refused_in_one_line(
    source: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        source_to_image(source)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_closed_image_is_refused(tmp_path: Path) -> None:
    PHOTO.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pass
    with pytest.raises(ImageReadError, match="damaged or closed"):
        source_to_image(image)


def test_an_open_file_is_read_up_to_the_limit_of_files() -> None:
    class Endless:
        def read(self, size: int) -> bytes:
            return bytes(min(size, 2**20))

    with pytest.raises(ImageReadError, match="over the limit"):
        source_to_image(Endless())
    assert limits_in_force().file_bytes < 2**30


def test_arguments_of_arrays_are_refused_for_other_sources() -> None:
    for options in ({"value_range": (0, 1)}, {"data_format": "channels_first"}):
        with pytest.raises(UsageError, match="are for arrays"):
            source_to_image(PHOTO, **options)


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    PHOTO.save(tmp_path / "a.png")
    assert (np.asarray(source_to_image("~/a.png")) == np.asarray(PHOTO)).all()


def test_lists_of_images_are_told_from_images() -> None:
    names = ["a", "b"]
    for source in (names, tuple(names), iter(names), np.array(names), np.array(names, object)):
        sources = iterate_sources(source)
        assert sources is not None
        assert list(sources) == names
    for source in ("a", b"a", Path("a"), np.zeros((2, 2)), PHOTO, io.BytesIO(), None, 3):
        assert iterate_sources(source) is None
    for source in ({"a": 1}, {"a"}):
        with pytest.raises(UsageError, match="as a list"):
            iterate_sources(source)
