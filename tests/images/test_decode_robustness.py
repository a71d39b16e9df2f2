"""Many threads, warnings of Pillow, and mutated files."""

import random
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from image_files import (
    encoded,
    quarters,
)
from sharpeye.core.types import InputSpec
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import (
    decode,
)
from sharpeye.images.resize import fit_image


def test_threads_leave_the_process_its_warning_filters() -> None:
    data = encoded(quarters(), "JPEG")
    before = list(warnings.filters)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            barrier = threading.Barrier(8)

            def work(_: int) -> None:
                barrier.wait()
                for _ in range(30):
                    decode(data, "x")

            list(pool.map(work, range(8)))
    finally:
        sys.setswitchinterval(interval)
    assert list(warnings.filters) == before


def test_warnings_of_pillow_are_not_passed_on() -> None:
    image = Image.new("P", (2, 2), 0)
    image.putpalette([1, 2, 3])
    data = encoded(quarters(), "TIFF")
    torn = data[:-2] + b"\xff\xff"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for image_data in (data, torn, encoded(image, "PNG", transparency=bytes([7]))):
            try:
                decode(image_data, "x")
            except ImageReadError:
                continue
    assert not caught


def seeds() -> list[bytes]:
    noise = np.random.default_rng(2).integers(0, 256, (24, 20, 3), np.uint8)
    frames = [Image.fromarray(noise), Image.fromarray(noise[::-1].copy())]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    return [
        encoded(noise, "JPEG", exif=exif),
        encoded(noise, "JPEG", progressive=True),
        encoded(frames[0].convert("CMYK"), "JPEG"),
        encoded(noise, "PNG", exif=exif),
        encoded(frames[0].quantize(8), "PNG", transparency=bytes([0, 99])),
        encoded((noise[..., 0].astype(np.uint16) << 8), "PNG"),
        encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        encoded(noise, "WEBP", lossless=True),
        encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        encoded(noise, "BMP"),
        encoded(noise, "TIFF", compression="tiff_lzw"),
        encoded(noise, "TIFF", compression="tiff_adobe_deflate"),
        encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
    ]


def flip(data: bytearray, source: random.Random) -> None:
    for _ in range(source.choice((1, 3, 20))):
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)


def cut(data: bytearray, source: random.Random) -> None:
    del data[source.randrange(len(data)) :]


def spoil_header(data: bytearray, source: random.Random) -> None:
    for _ in range(4):
        data[source.randrange(4, min(120, len(data)))] = source.choice((0, 1, 0x7F, 0x80, 0xFF))


def double(data: bytearray, source: random.Random) -> None:
    start = source.randrange(len(data))
    data[start:start] = data[start : start + source.randrange(1, 300)]


def test_mutated_files_end_in_an_image_or_a_refusal() -> None:
    mutations: tuple[Callable[[bytearray, random.Random], None], ...] = (
        flip,
        cut,
        spoil_header,
        double,
    )
    originals, spec = seeds(), InputSpec(16, 16)
    read = refused = 0
    total = 0.0
    for number in range(312):
        source = random.Random(number)
        data = bytearray(originals[number % len(originals)])
        mutations[number // len(originals) % len(mutations)](data, source)
        started = time.process_time()
        try:
            fit_image(decode(bytes(data), "x"), spec)
            read += 1
        except ImageReadError as error:
            assert error.reason and "\n" not in error.reason
            refused += 1
        took = time.process_time() - started
        total += took
        assert took < 2, number
    assert total < 20
    assert read > 30 and refused > 100  # the mutations are neither too mild nor too wild
