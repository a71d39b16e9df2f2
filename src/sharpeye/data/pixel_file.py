"""A set of decoded images on disk: the two files that `pixels.py` keeps in the cache.

    <name>.npy    uint8[M,H,W,C], as NumPy writes it, so that it can be mapped into memory
    <name>.json   the digests of its rows, in order, and a checksum for each few of them

The second is written last: without it, or where a checksum is wrong, there is no set.
"""

import contextlib
import json
import math
import os
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.parallel import parallel_map
from sharpeye.core.storage import (
    TEMPORARY_PREFIX,
    atomic_open,
    cache_root,
    make_folder,
    os_errors_at,
    write_text,
)
from sharpeye.core.types import InputSpec
from sharpeye.errors import EnvironmentFault

Array = npt.NDArray[np.uint8]

VERSION = 1  # of the two files

_HEADER = 128
_STALE_SECONDS = 3600  # a set that is still being made is written to all the time
_KEPT_BYTES = 20 * 2**30  # all sets together; the least recently used ones go


def pixels_folder(root: Path | None = None) -> Path:
    """Where the sets are; it is not created here."""
    return (root or cache_root()) / "pixels"


def read_set(file: Path, spec: InputSpec) -> tuple[Array, list[str]]:
    """The mapped pixels and the digests of their rows, after everything was found right.

    Raises:
        FileNotFoundError: it is not there.
        OSError, ValueError: it cannot be read, or is damaged; the message says how.
    """
    about = file.with_suffix(".json")
    try:
        record = json.loads(about.read_text(encoding="ascii"))
        digests = [str(digest) for digest in record["digests"]]
        checks = [(int(length), int(crc)) for length, crc in record["checks"]]
        pixels = _checked(file, (len(digests), spec.height, spec.width, spec.channels), checks)
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{about.name} is not as it was written") from error
    with contextlib.suppress(OSError):
        os.utime(about)  # tells when it was used
    return pixels, digests


def write_set(
    file: Path, spec: InputSpec, most: int, blocks: Iterable[tuple[Array, Sequence[str]]]
) -> tuple[Array, list[str]]:
    """Write a set as its images come.

    Args:
        most: number of images, if none is left out.
        blocks: uint8[n,H,W,C], contiguous, and the digests of its rows.

    Returns:
        as `read_set`.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    size = (spec.height, spec.width, spec.channels)
    make_folder(file.parent)
    _make_room(file.parent, _HEADER + most * math.prod(size))
    digests: list[str] = []
    checks: list[tuple[int, int]] = []
    with atomic_open(file, "wb") as out:
        out.write(_header((most, *size)))
        for block, names in blocks:
            out.write(block.data)
            checks.append((len(names), zlib.crc32(block.data)))
            digests += names
        out.seek(0)
        out.write(_header((len(digests), *size)))
    record = {"input": spec.to_dict(), "checks": checks, "digests": digests}
    write_text(file.with_suffix(".json"), json.dumps(record) + "\n")
    with os_errors_at(file):  # another process may have cleared the cache
        return _mapped(file), digests


def iter_pixels(root: Path | None = None) -> Iterator[tuple[Path, dict[str, Any], int]]:
    """Each set of the cache: its file, its input and number of images, its size in bytes."""
    for file in sorted(pixels_folder(root).glob("*.npy")):
        try:
            record = json.loads(file.with_suffix(".json").read_text(encoding="ascii"))
            about = {"input": dict(record["input"]), "pictures": len(record["digests"])}
            size = file.stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            about, size = {}, 0
        yield file, about, size


def _checked(file: Path, shape: tuple[int, ...], checks: Sequence[tuple[int, int]]) -> Array:
    if file.stat().st_size != _HEADER + math.prod(shape):
        raise ValueError("its size is wrong")
    if sum(length for length, _ in checks) != shape[0]:
        raise ValueError("its checksums are not complete")
    with file.open("rb") as opened:
        if opened.read(_HEADER) != _header(shape):
            raise ValueError("its header is wrong")
    pixels = _mapped(file)
    ends = np.cumsum([length for length, _ in checks], dtype=np.int64).tolist()

    def right(check: tuple[int, int, int]) -> bool:
        end, length, expected = check
        return zlib.crc32(pixels[end - length : end].data) == expected

    spans = [(end, *check) for end, check in zip(ends, checks, strict=True)]
    # Not `all` over the stream: left early, it would keep its threads until it is collected.
    wrong = [span for span, ok in parallel_map(right, spans) if not ok]
    if wrong:
        raise ValueError("a checksum is wrong")
    return pixels


def _mapped(file: Path) -> Array:
    pixels: Array = np.load(file, mmap_mode="r", allow_pickle=False)
    return pixels


def _header(shape: tuple[int, ...]) -> bytes:
    """NumPy's, version 1.0; always as long, as the number of rows is known at the end only."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    length = _HEADER - 10
    return (
        b"\x93NUMPY\x01\x00"
        + length.to_bytes(2, "little")
        + text.ljust(length - 1).encode()
        + b"\n"
    )


def _make_room(folder: Path, needed: int) -> None:
    """Delete what killed processes left, and the sets that were not used for longest.

    Raises:
        EnvironmentFault: the disk has no room for so many bytes.
    """
    for left in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                left.unlink()
    sets = []
    for file in folder.glob("*.npy"):
        with contextlib.suppress(OSError):
            sets.append((_last_used(file), file.stat().st_size, file))
    kept = needed
    for _, size, file in sorted(sets, reverse=True):
        kept += size
        if kept > _KEPT_BYTES:
            with contextlib.suppress(OSError):
                file.with_suffix(".json").unlink(missing_ok=True)
                file.unlink()
    with os_errors_at(folder):
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise EnvironmentFault(
            f"{folder} needs {needed / 2**20:,.0f} MiB, {free / 2**20:,.0f} MiB are free; "
            "free some room, or set SHARPEYE_CACHE to another disk"
        )


def _last_used(file: Path) -> float:
    about = file.with_suffix(".json")
    return (about if about.exists() else file).stat().st_mtime
