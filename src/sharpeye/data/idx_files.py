"""Read IDX files, the format of MNIST and Fashion-MNIST, also packed by gzip.

    images   00 00 08 03, uint32 count, height, width, big endian; then uint8 pixels, row by row
    labels   00 00 08 01, uint32 count; then uint8 labels

Format: yann.lecun.com/exdb/mnist.
"""

import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np

from sharpeye.core.arrays import Ints, Pixels
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import read_file
from sharpeye.images.decode_limits import DecodeLimits, limits_in_force

# The highest ratio of deflate: a header that promises more than this is wrong.
_MAX_COMPRESSION = 1032
_MAX_BYTES = 4 * 2**30


def read_idx(file: Path) -> tuple[Pixels, Ints]:
    """uint8[N,H,W,1] images of an `idx3` file, and int64[N] labels of the `idx1` file beside it.

    Raises:
        ImageReadError: a file is missing, not an IDX file, or contradicts its header in length.
    """
    name = file.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    candidates = [file.with_name(name), file.with_name(f"{name}.gz")]
    label_file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if label_file is None:
        raise ImageReadError(str(file), f"its labels are missing: no {name}[.gz] beside it")
    pixels = _read(file, axes=3)
    count, height, width = pixels.shape
    if max(width, height) > limits_in_force().side or min(width, height) < 1:
        raise ImageReadError(str(file), f"images of {width} x {height} pixels are not possible")
    labels = _read(label_file, axes=1).astype(np.int64)
    if count != len(labels):
        counts = f"it holds {count:,} images, {label_file.name} {len(labels):,} labels"
        raise ImageReadError(str(file), counts)
    return pixels[..., None], labels


def _read(file: Path, axes: int) -> Pixels:
    data = read_file(file, str(file), DecodeLimits(file_bytes=_MAX_BYTES))
    packed = data.startswith(b"\x1f\x8b")
    stream = gzip.GzipFile(fileobj=io.BytesIO(data)) if packed else io.BytesIO(data)
    try:
        shape = _shape(stream.read(4 + 4 * axes), axes, file)
        count = int(np.prod(shape, dtype=object))
        if count > min(_MAX_BYTES, len(data) * (_MAX_COMPRESSION if packed else 1)):
            raise ImageReadError(
                str(file),
                f"its header promises {count:,} bytes, which {len(data):,} bytes of a file "
                "cannot hold; get the file again",
            )
        values = np.empty(shape, np.uint8)
        unfilled = values.reshape(-1).data
        while unfilled and (count_read := stream.readinto(unfilled)):
            unfilled = unfilled[count_read:]
        if unfilled:
            raise ImageReadError(
                str(file), f"{len(unfilled):,} bytes are missing at its end; get the file again"
            )
        if stream.read(1):
            raise ImageReadError(str(file), "it is longer than its header says; get the file again")
    except (EOFError, OSError, zlib.error) as error:
        raise ImageReadError(str(file), f"damaged gzip: {error}; get the file again") from None
    return values


def _shape(header: bytes, axes: int, file: Path) -> tuple[int, ...]:
    content = "images" if axes == 3 else "labels"
    if header[:4] != bytes((0, 0, 8, axes)):
        raise ImageReadError(
            str(file),
            f"not an IDX file of {content}: it starts with {header[:4].hex(' ') or 'nothing'} "
            f"instead of 00 00 08 {axes:02x}",
        )
    if len(header) < 4 + 4 * axes:
        raise ImageReadError(str(file), "its header ends too early; get the file again")
    return struct.unpack(f">{axes}I", header[4:])
