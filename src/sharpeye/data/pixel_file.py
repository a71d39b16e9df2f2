"""Write and read a set of decoded images: the two files that `pixels.py` keeps in the cache.

    <name>.npy    uint8[M,H,W,C], as NumPy writes it, so that it can be memory-mapped
    <name>.json   the digests of its rows, in order, and a checksum for each block of rows

The second is written last: without it, or with a wrong checksum, the set is invalid.
"""

import contextlib
import itertools
import json
import math
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sharpeye.core.arrays import Pixels, map_array
from sharpeye.core.parallel import parallel_map
from sharpeye.core.storage import (
    atomic_open,
    cache_root,
    make_folder,
    os_errors_at,
    write_text,
)
from sharpeye.core.temporaries import remove_stale_temporaries
from sharpeye.core.types import InputSpec
from sharpeye.errors import EnvironmentFault

FORMAT_VERSION = 1

_HEADER_BYTES = 128
_MAX_CACHE_BYTES = 20 * 2**30  # limit for all sets; the least recently used are deleted


def pixels_folder(root: Path | None = None) -> Path:
    return (root or cache_root()) / "pixels"


def read_set(file: Path, spec: InputSpec) -> tuple[Pixels, list[str]]:
    """The memory-mapped pixels and the digests of their rows, after all checks.

    Raises:
        FileNotFoundError: there is no such set.
        OSError, ValueError: it cannot be read, or is damaged; the message says how.
    """
    record_file = file.with_suffix(".json")
    try:
        record = json.loads(record_file.read_text(encoding="ascii"))
        digests = [str(digest) for digest in record["digests"]]
        checks = [(int(length), int(crc)) for length, crc in record["checks"]]
        pixels = _map_checked(file, (len(digests), spec.height, spec.width, spec.channels), checks)
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{record_file.name} is not as it was written") from error
    with contextlib.suppress(OSError):
        os.utime(record_file)  # marks the set as used
    return pixels, digests


def write_set(
    file: Path, spec: InputSpec, max_images: int, *, blocks: Iterable[tuple[Pixels, Sequence[str]]]
) -> tuple[Pixels, list[str]]:
    """Write a set as its images arrive, and read it.

    Args:
        max_images: the number of images if all can be decoded.
        blocks: uint8[n,H,W,C], contiguous, and the digests of its rows.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    size = (spec.height, spec.width, spec.channels)
    make_folder(file.parent)
    _make_space(file.parent, _HEADER_BYTES + max_images * math.prod(size))
    digests: list[str] = []
    checks: list[tuple[int, int]] = []
    with atomic_open(file, "wb") as out:
        out.write(_header((max_images, *size)))
        for block, block_digests in blocks:
            out.write(block.data)
            checks.append((len(block_digests), zlib.crc32(block.data)))
            digests += block_digests
        out.seek(0)
        out.write(_header((len(digests), *size)))
    record = {"input": spec.to_dict(), "checks": checks, "digests": digests}
    write_text(file.with_suffix(".json"), json.dumps(record) + "\n")
    with os_errors_at(file):  # another process may have cleared the cache
        return map_array(file, np.uint8, (len(digests), *size), offset=_HEADER_BYTES), digests


def iter_pixel_sets(root: Path | None = None) -> Iterator[tuple[Path, dict[str, Any], int]]:
    """Each set of the cache: its file, its input and number of images, its size in bytes."""
    for file in sorted(pixels_folder(root).glob("*.npy")):
        try:
            record = json.loads(file.with_suffix(".json").read_text(encoding="ascii"))
            summary = {"input": dict(record["input"]), "pictures": len(record["digests"])}
            size = file.stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            summary, size = {}, 0
        yield file, summary, size


def _map_checked(file: Path, shape: tuple[int, ...], checks: Sequence[tuple[int, int]]) -> Pixels:
    if file.stat().st_size != _HEADER_BYTES + math.prod(shape):
        raise ValueError("its size is wrong")
    if sum(length for length, _ in checks) != shape[0]:
        raise ValueError("its checksums are not complete")
    with file.open("rb") as opened:
        if opened.read(_HEADER_BYTES) != _header(shape):
            raise ValueError("its header is wrong")
    pixels: Pixels = map_array(file, np.uint8, shape, offset=_HEADER_BYTES)
    ends = itertools.accumulate(length for length, _ in checks)

    def is_intact(span: tuple[int, tuple[int, int]]) -> bool:
        end, (length, expected) = span
        return zlib.crc32(pixels[end - length : end].data) == expected

    # A list: if `all` stopped early, the generator would keep its threads until it is collected.
    intact = [ok for _, ok in parallel_map(is_intact, zip(ends, checks, strict=True))]
    if not all(intact):
        raise ValueError("a checksum is wrong")
    return pixels


def _header(shape: tuple[int, ...]) -> bytes:
    """NumPy's, version 1.0; of fixed length, as the number of rows is known at the end only."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    length = _HEADER_BYTES - 10
    padded = text.ljust(length - 1).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + padded


def _make_space(folder: Path, needed: int) -> None:
    """Delete files of killed processes, and the least recently used sets."""
    remove_stale_temporaries(folder)
    sets = []
    for file in folder.glob("*.npy"):
        with contextlib.suppress(OSError):
            record_file = file.with_suffix(".json")
            last_used = (record_file if record_file.exists() else file).stat().st_mtime
            sets.append((last_used, file.stat().st_size, file))
    total = needed
    for _, size, file in sorted(sets, reverse=True):
        total += size
        if total > _MAX_CACHE_BYTES:
            with contextlib.suppress(OSError):
                file.unlink()  # fails on Windows while it is mapped: then its record stays, too
                file.with_suffix(".json").unlink(missing_ok=True)
    with os_errors_at(folder):
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise EnvironmentFault(
            f"{folder} needs {needed / 2**20:,.0f} MiB, {free / 2**20:,.0f} MiB are free; "
            "free some room, or set SHARPEYE_CACHE to another disk"
        )
